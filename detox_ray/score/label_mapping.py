"""Decide which of a classifier's outputs are toxicity, by the user's mapping or by the labels' names.

Names are compared without case, spaces, hyphens and underscores. A label is known to be toxic, known to be harmless, or
unknown. If one of several labels is unknown, the user must decide; nothing is guessed. One convention needs no names:
of two unnamed labels (LABEL_0 and LABEL_1), the second means yes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from detox_ray.config import InputError, Problem, Strict
from detox_ray.config.base import distinct
from detox_ray.models.padding import check_text_alone

# The names of Detoxify's classes, and their older names (Jigsaw's).
ATTRIBUTES = {
    "toxic": "toxicity",
    "toxicity": "toxicity",
    "severe_toxic": "severe_toxicity",
    "severe_toxicity": "severe_toxicity",
    "obscene": "obscene",
    "threat": "threat",
    "insult": "insult",
    "identity_hate": "identity_attack",
    "identity_attack": "identity_attack",
    "sexual_explicit": "sexual_explicit",
}
# Labels that mean toxic by themselves, written without separators.
_TOXIC = (
    "toxic|toxicity|hate|hateful|hatespeech|offensive|offensivelanguage|offense|abusive|abusivelanguage|abuse|harmful|"
    "unsafe"
)
# Kinds of toxicity. They count if there is also a harmless label, but one of them alone is not all of toxicity.
_KINDS = (
    "insult|insulting|threat|threatening|obscene|obscenity|identityhate|identityattack|personalattack|sexualexplicit|"
    "sexuallyexplicit|profanity|profane|vulgar|slur|harassment|harassing|bullying|cyberbullying|racist|racism|sexist|"
    "sexism|misogyny|misogynistic|homophobic|homophobia|transphobic|transphobia|xenophobic|xenophobia|derogatory|"
    "derogation|dehumanization|violence|violent"
)
_GRADE = "(very|severe|severely|extreme|extremely|highly|strongly|moderate|moderately|mild|mildly|slightly|somewhat)?"
_GRADED = re.compile(f"{_GRADE}(implicit|explicit)?({_TOXIC}|{_KINDS})")
_HARMLESS = re.compile(
    "neutral|neither|none|noneoftheabove|normal|clean|safe|ok|okay|benign|acceptable|appropriate|harmless|civil|polite|"
    f"inoffensive|(is)?(not|non|no)(a|an)?({_TOXIC}|{_KINDS})"
)
_UNNAMED = ("label0", "label1")


class OutputConfig(Strict):
    """The source of an attribute: the sum of some labels' probabilities, or one minus the sum if they are harmless.

    A label, or a list of labels, is short for ``{labels: …}``.
    """

    labels: list[str] = Field(default_factory=list)
    harmless: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: [inner] if isinstance(inner, str) else inner for name, inner in value.items()}
        if isinstance(value, str | list):
            return {"labels": [value] if isinstance(value, str) else value}
        return value

    @model_validator(mode="after")
    def _either(self) -> "OutputConfig":
        if bool(self.labels) == bool(self.harmless):
            raise ValueError("must be a label, a list of labels, or {harmless: LABEL} if a high value is harmless")
        distinct(self.labels + self.harmless)
        return self


class Output(NamedTuple):
    """The outputs that make up an attribute's value."""

    columns: tuple[int, ...]  # outputs to sum
    inverted: bool = False  # True if they are harmless: the value is one minus the sum

    def value(self, probabilities: Sequence[float]) -> float:
        """Return the value of a text, from the probabilities of all outputs."""
        total = sum(probabilities[column] for column in self.columns)
        if 1 < total < 1 + 1e-5:  # rounding
            total = 1.0
        return 1 - total if self.inverted else total

    def spelled(self, labels: Sequence[str]) -> str:
        """Write the outputs as a sum of labels, for the unit's marker."""
        total = " + ".join(labels[column] for column in self.columns)
        return f"1 - ({total})" if self.inverted else total


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the outputs, in order, that transformers reads from a config.json."""
    named = config.get("id2label")
    if not isinstance(named, Mapping) or not named:
        return [f"LABEL_{column}" for column in range(int(config.get("num_labels") or 2))]
    return [str(label) for _, label in sorted(named.items(), key=lambda item: int(item[0]))]


def outputs_of(labels: Sequence[str], multi: bool, wanted: Mapping[str, OutputConfig] | None) -> dict[str, Output]:
    """Return the outputs that make up each attribute.

    Args:
        labels: Names of the outputs, in order.
        multi: Whether the outputs are independent of each other (`is_multi_label`).
        wanted: The user's mapping; None: decide by the labels' names.

    Raises:
        InputError: It is not clear which labels are toxicity. The message names them.
    """
    if wanted is not None:
        return {attribute: _mapped(attribute, output, labels, multi) for attribute, output in wanted.items()}
    return _named_apart(labels) if multi else _exclusive(labels)


def config_problems(config: Mapping[str, Any], path: str, wanted: Mapping[str, OutputConfig] | None) -> list[Problem]:
    """Check what a classifier's config.json shows: does the model read texts, and which outputs are toxicity?

    Args:
        config: The content of the file.
        path: The user's name for the model.
        wanted: The user's map of its labels; None: go by the labels' names.
    """
    labels = labels_of(config)
    try:
        check_text_alone(str(config.get("model_type")))
        multi = is_multi_label(config.get("problem_type"), labels)
    except InputError as error:
        return [Problem("path", path, str(error))]
    if not names_toxicity(wanted):
        return []  # attribute_problems reports it
    try:
        outputs_of(labels, multi, wanted)
    except InputError as error:
        given = {name: output.model_dump() for name, output in (wanted or {}).items()}
        return [Problem("attributes", given or None, str(error))]
    return []


def attribute_problems(wanted: Mapping[str, OutputConfig] | None) -> list[Problem]:
    """Check that the user's map of a model's labels, if there is one, names toxicity."""
    if names_toxicity(wanted):
        return []
    return [Problem("attributes", sorted(wanted or ()), "must say which label is toxicity: {toxicity: LABEL}")]


def names_toxicity(wanted: Mapping[str, OutputConfig] | None) -> bool:
    """Return whether a map names toxicity, or there is none and the labels' names decide."""
    return wanted is None or "toxicity" in wanted


class ClassifierOutputs(NamedTuple):
    """The outputs of a classification model, as its config describes them."""

    labels: list[str]
    multi: bool  # whether each is a sigmoid of its own; else all are one softmax
    attributes: dict[str, Output]

    @classmethod
    def of(cls, config: Any, wanted: Mapping[str, OutputConfig] | None) -> "ClassifierOutputs":
        """Read a transformers config.

        Raises:
            InputError: If the model takes more than text, is a regression, or leaves a doubt what is toxicity.
        """
        labels = [str(config.id2label[column]) for column in range(config.num_labels)]
        check_text_alone(config.model_type)
        multi = is_multi_label(config.problem_type, labels)
        return cls(labels, multi, outputs_of(labels, multi, wanted))

    def probabilities(self, logits_BC: Any) -> Any:
        """Return the probabilities (B, C) of a tensor of logits (B, C)."""
        return logits_BC.float().sigmoid() if self.multi else logits_BC.float().softmax(-1)

    def spelled(self) -> dict[str, str]:
        """Write each attribute's outputs as a sum of labels, for the unit's marker."""
        return {name: output.spelled(self.labels) for name, output in self.attributes.items()}


def is_multi_label(problem_type: str | None, labels: Sequence[str]) -> bool:
    """Return whether each output is a sigmoid by itself. Raises InputError for a regression, which has none."""
    if problem_type == "regression":
        raise InputError("a regression model's outputs are not probabilities: it cannot be a scorer")
    if len(labels) == 1:
        return True  # the softmax of one output is 1 whatever the text
    if problem_type is not None:
        return problem_type == "multi_label_classification"
    # The config does not say. Kinds of toxicity do not exclude each other, but all of them exclude harmlessness.
    kinds = sum(_spaced(label) in ATTRIBUTES for label in labels)
    return kinds > 1 and not any(_is_harmless(label) for label in labels)


def _mapped(attribute: str, output: OutputConfig, labels: Sequence[str], multi: bool) -> Output:
    names = output.labels or output.harmless
    if missing := [name for name in names if name not in labels]:
        raise InputError(f"no label is named {', '.join(missing)}; {_shown(labels)}")
    if multi and len(names) > 1:
        raise InputError(
            f"{attribute}: the model's labels do not exclude each other, so their probabilities cannot be summed: "
            f"choose one of {', '.join(names)}"
        )
    return Output(tuple(list(labels).index(name) for name in names), bool(output.harmless))


def _named_apart(labels: Sequence[str]) -> dict[str, Output]:
    """Return the attributes of independent outputs: all of them if one is toxicity itself, else the only toxic one."""
    names = [ATTRIBUTES.get(_spaced(label), _spaced(label)) for label in labels]
    if names.count("toxicity") == 1 and len(set(names)) == len(names):
        return {name: Output((column,)) for column, name in enumerate(names)}
    toxic = [column for column, label in enumerate(labels) if _GRADED.fullmatch(_bare(label))]
    if len(toxic) != 1 or not re.fullmatch(_TOXIC, _bare(labels[toxic[0]])):
        raise _doubt(labels)
    return {"toxicity": Output((toxic[0],))}


def _exclusive(labels: Sequence[str]) -> dict[str, Output]:
    """Return the toxicity of outputs that exclude each other: the sum of the toxic ones."""
    bare = [_bare(label) for label in labels]
    if tuple(bare) == _UNNAMED:
        return {"toxicity": Output((1,))}
    toxic = tuple(column for column, name in enumerate(bare) if _GRADED.fullmatch(name))
    harmless = [label for label in labels if _is_harmless(label)]
    if len(labels) == 2 and len(toxic) == 1 and (harmless or re.fullmatch(_TOXIC, bare[toxic[0]])):
        return {"toxicity": Output(toxic)}
    if not toxic or not harmless or len(toxic) + len(harmless) < len(labels):
        raise _doubt(labels)
    return {"toxicity": Output(toxic)}


def _doubt(labels: Sequence[str]) -> InputError:
    if len(labels) == 1:
        (label,) = labels
        return InputError(
            f"does a high value of the model's only output, {label}, mean toxic? If so, set attributes: {{toxicity: "
            f"{label}}}; if a high value is harmless, {{toxicity: {{harmless: {label}}}}}"
        )
    return InputError(
        f"which labels are toxicity? {_shown(labels)}. Set attributes: {{toxicity: LABEL}}, {{toxicity: [LABEL, "
        "LABEL]} (their sum) or {toxicity: {harmless: LABEL}} (one minus it)"
    )


def _shown(labels: Sequence[str]) -> str:
    return f"the model's labels are {', '.join(labels)}"


def _is_harmless(label: str) -> bool:
    return bool(_HARMLESS.fullmatch(_bare(label)))


def _spaced(label: str) -> str:
    return "_".join(re.split(r"[\W_]+", label.casefold().strip()))


def _bare(label: str) -> str:
    return re.sub(r"[\W_]+", "", label.casefold())
