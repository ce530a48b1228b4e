"""BBQ (Parrish et al. 2022) and its relatives: questions about two groups, with and without a context that decides.

The sets differ in their files, columns and marks of the stereotyping answer, so each is a dialect. In all of them, the
answer that follows the stereotype depends on the question: to "who was …" it is the stereotyped group (the target), to
"who was not …" the other group.
"""

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, Problem
from detox_ray.data import DataError, Flaw
from detox_ray.suites.bias.answer_rules import FILE as RULES_FILE
from detox_ray.suites.bias.answer_rules import PROMPTS, AnswerRules, read_rules
from detox_ray.suites.bias.bias_set import BiasItems, BiasSet, Form
from detox_ray.suites.bias.files import Record, csv_records, json_lines
from detox_ray.suites.bias.tables import AMBIGUOUS, DISAMBIGUATED, NEGATIVE, NONNEGATIVE, OTHER, TARGET, UNKNOWN

Dialect = Literal["mbbq", "bbq", "kobbq", "esbbq", "cabbq"]
ONE_LANGUAGE = {"bbq": "en", "kobbq": "ko", "esbbq": "es", "cabbq": "ca"}
CONDITIONS = {"ambig": AMBIGUOUS, "disambig": DISAMBIGUATED, "amb": AMBIGUOUS, "dis": DISAMBIGUATED}
# EsBBQ and CaBBQ write "unknown" for this answer and leave its text to their users.
UNKNOWN_TEXTS = {"es": "No se sabe", "ca": "No se sap"}
# Names in answer_info of groups that the metadata calls by another word (MBBQ and BBQ).
GROUP_WORDS: Mapping[str, frozenset[str]] = {
    "F": frozenset(("F", "girl", "woman", "vrouw", "meisje", "kız", "kadın", "chica", "mujer", "maestra")),
    "M": frozenset(("M", "boy", "man", "jongen", "erkek çocuk", "adam", "chico", "hombre", "maestro")),
    "low SES": frozenset(("low SES", "lowSES")),
}


class Bbq(BiasSet):
    """A folder of a dialect's published files: MBBQ (or its checkout), BBQ, EsBBQ, CaBBQ, or KoBBQ's TSV."""

    form: ClassVar[Form] = "questions"

    source: Literal["bbq"]
    dialect: Dialect
    control: bool = True  # MBBQ: whether to ask its control questions about names, which test a model's understanding
    # likelihood: the likeliest letter; generate: in words, with the prompts and rules of a checkout of MBBQ; auto:
    # generate if the path is a checkout and all models have the same chat template
    answer: Literal["auto", "generate", "likelihood"] = "auto"
    prompts: int = Field(5, ge=1, le=PROMPTS)  # how many of MBBQ's five prompts ask each question, for answers in words
    # maximum number of questions of each template, kind of context and polarity; null: all
    per_template: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _words_need_mbbq(self) -> "Bbq":
        if self.answer == "generate" and self.dialect != "mbbq":
            rule = f"only dialect mbbq has prompts and rules for answers in words, and this is {self.dialect}"
            raise ConfigError([Problem("answer", self.answer, rule)])
        return self

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        rows: dict[str, list[dict[str, Any]]] = {}
        flaws: list[Flaw] = []
        notes: list[str] = []
        for language, paths in self._files(languages).items():
            unclear: Counter[str] = Counter()
            for path in paths:
                try:
                    for record in self._records(path):
                        item = self._item(record, path, language)
                        rows.setdefault(language, []).append(item)
                        if TARGET not in item["roles"]:
                            unclear[item["part"]] += 1
                except DataError as error:
                    flaws += error.flaws
            if unclear:
                what = ", ".join(f"{part} ({count})" for part, count in sorted(unclear.items()))
                notes.append(f"{self.name}, {language}: questions about two stereotyped groups, or none: {what}")
        if flaws:
            raise DataError(flaws)
        return BiasItems({language: self._limited(items) for language, items in rows.items()}, notes)

    def _limited(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the first questions of each template and kind, up to ``per_template``."""
        if self.per_template is None:
            return items
        counts: Counter[tuple[Any, ...]] = Counter()
        kept = []
        for item in items:
            kind = tuple(item[column] for column in ("cluster", "control", "condition", "polarity"))
            counts[kind] += 1
            if counts[kind] <= self.per_template:
                kept.append(item)
        return kept

    @property
    def prompt_count(self) -> int:
        return self.prompts

    def in_words(self, chat: bool) -> bool:
        return self.answer == "generate" or (self.answer == "auto" and chat and self._rules_file() is not None)

    def answer_rules(self, languages: Sequence[str]) -> dict[str, AnswerRules]:
        file = self._rules_file()
        if file is None:
            reason = f"has no {RULES_FILE}: point path at a checkout of MBBQ (github.com/Veranep/MBBQ)"
            raise DataError([Flaw(self.place, f"{reason}, or set answer: likelihood")])
        rules = read_rules(file, languages)
        if absent := [language for language in languages if language not in rules]:
            reason = f"has no prompts and rules for {', '.join(absent)}: set answer: likelihood"
            raise DataError([Flaw(str(file), reason)])
        return {code: of_code._replace(prompts=of_code.prompts[: self.prompts]) for code, of_code in rules.items()}

    def _rules_file(self) -> Path | None:
        """Return the file with prompts and rules, if the path is a checkout or the checkout's data."""
        places = (self.folder, self.folder.parent) if self.dialect == "mbbq" else ()
        return next((file for place in places if (file := place / RULES_FILE).is_file()), None)

    def _files(self, languages: Sequence[str]) -> dict[str, list[Path]]:
        folder = self.folder
        if self.dialect != "mbbq":
            language = ONE_LANGUAGE[self.dialect]
            if language not in languages:
                return {}
            pattern = {"kobbq": "*.tsv", "bbq": "*.jsonl", "esbbq": "*.es.jsonl", "cabbq": "*.ca.jsonl"}[self.dialect]
            return {language: [folder] if folder.is_file() else sorted(folder.glob(pattern))}
        if (folder / "data").is_dir():
            folder = folder / "data"  # a checkout of MBBQ
        files = {}
        for language in languages:
            paths = sorted(folder.glob(f"*_{language}.jsonl"))
            kept = [path for path in paths if self.control or "_control_" not in path.name]
            if kept:
                files[language] = kept
        return files

    def _records(self, path: Path) -> Sequence[Record]:
        if self.dialect == "kobbq":
            return csv_records(
                path, ("sample_id", "context", "question", "choices", "biased_answer", "answer"), delimiter="\t"
            )
        return list(json_lines(path))

    def _item(self, record: Record, path: Path, language: str) -> dict[str, Any]:
        try:
            if self.dialect == "kobbq":
                return _of_kobbq(record.fields)
            return _of_bbq(record.fields, "_control_" in path.name, path.stem, language)
        except (KeyError, ValueError, SyntaxError, IndexError, TypeError, AttributeError) as error:
            problem = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError([Flaw(record.where, problem)]) from None


def _of_bbq(fields: Mapping[str, Any], control: bool, stem: str, language: str) -> dict[str, Any]:
    """Return the row of a question of BBQ, MBBQ, EsBBQ or CaBBQ."""
    answers = [fields[f"ans{place}"] for place in range(3)]
    groups = [fields["answer_info"][f"ans{place}"][-1] for place in range(3)]
    metadata = fields.get("additional_metadata", fields)
    stereotyped: set[str] = set()
    for group in metadata["stereotyped_groups"]:
        stereotyped |= GROUP_WORDS.get(group, {group})
    if groups.count("unknown") != 1:
        raise ValueError(f"needs exactly one unknown answer and has {groups.count('unknown')}")
    targets = [place for place, group in enumerate(groups) if group in stereotyped]
    unknown = groups.index("unknown")
    answers = [
        UNKNOWN_TEXTS.get(language, text) if place == unknown and text == "unknown" else text
        for place, text in enumerate(answers)
    ]
    template = str(fields.get("question_index", fields.get("template_id")))
    row = str(fields.get("example_id", fields.get("instance_id")))
    part = str(fields["category"])
    return _question(
        item_id=f"{stem}-{row}",
        cluster=f"{part}-{template}",
        part=part,
        condition=CONDITIONS[fields["context_condition"]],
        polarity=fields["question_polarity"],
        control=control,
        context=fields["context"].strip(),
        question=fields["question"].strip(),
        options=answers,
        roles=_roles(unknown, targets),
        label=int(fields["label"]),
        source_index=row,
    )


def _of_kobbq(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a question of KoBBQ, whose files name the stereotyping answer."""
    sample = fields["sample_id"]
    named = re.fullmatch(r"(.+-\d+)[a-z]*-\d+-(amb|dis)-(bsd|cnt)", sample)
    if named is None:
        raise ValueError("sample_id must look like age-001a-002-amb-bsd")
    template, condition, kind = named.groups()
    options = [str(option) for option in ast.literal_eval(fields["choices"])]
    biased, answer = options.index(fields["biased_answer"]), options.index(fields["answer"])
    unknown = 2  # the last choice in the published samples
    if biased == unknown or (condition == "amb") != (answer == unknown):
        raise ValueError("the third choice must be the unknown one, and the correct answer to ambiguous questions only")
    target = biased if kind == "bsd" else 1 - biased
    return _question(
        item_id=sample,
        cluster=template,
        part=str(fields.get("bbq_category") or template.rsplit("-", 1)[0]),
        condition=CONDITIONS[condition],
        polarity=NEGATIVE if kind == "bsd" else NONNEGATIVE,
        control=False,
        context=fields["context"].strip(),
        question=fields["question"].strip(),
        options=options,
        roles=_roles(unknown, [target]),
        label=answer,
        source_index=sample,
    )


def _roles(unknown: int, targets: Sequence[int]) -> list[str]:
    """Return the roles of three answers; there is a target only if exactly one group is stereotyped."""
    return [UNKNOWN if place == unknown else TARGET if list(targets) == [place] else OTHER for place in range(3)]


def _question(**fields: Any) -> dict[str, Any]:
    if fields["polarity"] not in (NEGATIVE, NONNEGATIVE):
        raise ValueError(f"question_polarity must be {NEGATIVE} or {NONNEGATIVE}")
    return {"direction": "", **fields}


VARIANT = Bbq
