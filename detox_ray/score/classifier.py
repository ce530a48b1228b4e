"""Any Hugging Face text-classification model as a scorer: which label is toxicity, and how its outputs are read.

Outputs of a multi-label model are sigmoids, each label by itself; of another model a softmax over its labels. The label
that means toxic is what the user's map says; else it is known by its name; where that leaves a doubt, we ask.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from detox_ray.config import ClassifierConfig, InputError
from detox_ray.score.batches import CPU_TOKENS, BatchedClassifier, Forward
from detox_ray.score.scorers import Failure, Scores

MAX_TOKENS = 512
# What Detoxify calls its classes, and their older names (Jigsaw's).
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
# Labels that mean toxic in a model that has one such label.
TOXIC = ("toxic", "toxicity", "hate", "hateful", "hate_speech", "offensive", "abusive", "harmful", "unsafe")
UNNAMED = ("label_0", "label_1")  # of a model whose labels nobody named: no and yes


def classes_of(labels: Sequence[str], multi: bool, wanted: Mapping[str, str] | None) -> dict[str, int]:
    """Attribute -> output. ``labels``: of the outputs in order; ``wanted``: the user's map of attributes to labels.

    Raises InputError, naming the labels, where no label or more than one could be toxicity.
    """
    known = f"the model's labels are {', '.join(labels)}"
    if wanted is not None:
        if missing := sorted(set(wanted.values()) - set(labels)):
            raise InputError(f"attributes: no label is called {', '.join(missing)}; {known}")
        return {attribute: list(labels).index(label) for attribute, label in wanted.items()}
    names = ["_".join(label.casefold().replace("-", " ").replace("_", " ").split()) for label in labels]
    if multi and len(labels) > 1:
        found = {ATTRIBUTES.get(name, name): column for column, name in enumerate(names)}
        if "toxicity" in found:
            return found
    toxic = [column for column, name in enumerate(names) if name in TOXIC]
    if not toxic and (len(labels) == 1 or tuple(names) == UNNAMED):
        toxic = [len(labels) - 1]
    if len(toxic) != 1:
        raise InputError(f"which label is toxicity? {known}: say so by attributes: {{toxicity: LABEL}}")
    return {"toxicity": toxic[0]}


def is_multi_label(problem_type: str | None, labels: Sequence[str]) -> bool:
    """Whether each output stands by itself. Raises InputError for a regression, whose outputs are no probabilities."""
    if problem_type == "regression":
        raise InputError("a regression model's outputs are not probabilities: it cannot be a scorer")
    if problem_type is not None:
        return problem_type == "multi_label_classification"
    # Unsaid: kinds of toxicity do not exclude each other.
    return len(labels) == 1 or sum(label.casefold() in ATTRIBUTES for label in labels) > 1


class ClassifierScorer:
    """A text-classification model from a folder or hub id.

    ``loading``: for from_pretrained (revision). Raises InputError where weights are missing, the labels leave a doubt,
    or int8 is too far from the model.
    """

    def __init__(self, config: ClassifierConfig, path: str, loading: Mapping[str, Any], key: str, batch_tokens: int):
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.name = config.name
        on = "cuda" if torch.cuda.is_available() else "cpu"
        if config.runtime == "onnx-int8" and on == "cuda":
            raise InputError(f"scorer {self.name}: runtime onnx-int8 is for CPUs; on a GPU use torch")
        dtype = ("bfloat16" if on == "cuda" else "float32") if config.dtype == "auto" else config.dtype
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **loading
        )
        if absent := [*report["missing_keys"], *report["mismatched_keys"]]:
            shown = ", ".join(map(str, absent[:3]))
            raise InputError(f"scorer {self.name}: {path} has no weights for {shown}: they would be random")
        tokenizer = AutoTokenizer.from_pretrained(path, **loading)
        tokenizer.truncation_side = "right"
        self.device = torch.cuda.get_device_name() if on == "cuda" else "cpu"
        self.notes: dict[str, Any] = {"dtype": dtype}
        self._model: torch.nn.Module = model.eval().to(on)
        labels = [str(model.config.id2label[column]) for column in range(model.config.num_labels)]
        try:
            self._multi = is_multi_label(model.config.problem_type, labels)
            classes = classes_of(labels, self._multi, config.attributes)
        except InputError as error:
            raise InputError(f"scorer {self.name}: {error}") from None
        self.attributes = tuple(classes)
        forward: Forward = self._probabilities
        most = max_tokens(model.config, tokenizer)
        if config.runtime == "onnx-int8":
            from detox_ray.score.onnx import quantised

            int8 = quantised(model, tokenizer, most, key, self._activation)
            forward, self.notes = int8.forward, {"dtype": "int8", "agreement": int8.agreement._asdict()}
            del self._model
        budget = batch_tokens if on == "cuda" else min(batch_tokens, CPU_TOKENS)
        self._batches = BatchedClassifier(tokenizer, most, forward, classes, budget)

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        results = self._batches.score(texts)
        self.notes["truncated_texts"] = self._batches.truncated
        return results

    def _activation(self, logits_BC: Any) -> Any:
        return logits_BC.float().sigmoid() if self._multi else logits_BC.float().softmax(-1)

    def _probabilities(self, ids_BT: Any, mask_BT: Any) -> Any:
        on = next(self._model.parameters()).device
        return self._activation(self._model(input_ids=ids_BT.to(on), attention_mask=mask_BT.to(on)).logits)


def max_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens of a text that the model reads, `MAX_TOKENS` at most."""
    positions = getattr(config, "max_position_embeddings", None) or MAX_TOKENS
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet", "longformer"):
        positions -= config.pad_token_id + 1  # positions begin after the padding index
    return min(MAX_TOKENS, positions, tokenizer.model_max_length)
