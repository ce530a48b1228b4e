"""Any Hugging Face text-classification model as a scorer.

The outputs of a multi-label model are sigmoids, each label by itself; those of another model are a softmax over all
labels.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detox_ray.config import InputError
from detox_ray.models.device import device
from detox_ray.models.padding import padding_of
from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.score.batches import BatchedClassifier, Forward, Inputs, token_budget
from detox_ray.score.label_mapping import ClassifierOutputs, OutputConfig
from detox_ray.score.scorers import Failure, Scores
from detox_ray.score.token_limit import max_tokens


class ClassifierScorer:
    """A text-classification model from a folder or hub id."""

    def __init__(
        self,
        name: str,
        path: str,
        loading: Mapping[str, Any],
        *,
        attributes: Mapping[str, OutputConfig] | None,
        dtype: str,
        int8_key: str | None,
        batch_tokens: int,
    ):
        """Load the model, and score a text to make sure that it works.

        Args:
            name: Name of the scorer.
            path: Folder or hub id.
            loading: Keyword arguments of from_pretrained (revision).
            attributes: The user's mapping of the model's labels; None: decide by the labels' names.
            dtype: Dtype of the weights; "auto": bfloat16 on a GPU, else float32.
            int8_key: The model's key, to run it in ONNX Runtime's int8 on a CPU; None: run it in torch.
            batch_tokens: Most padded tokens of a forward pass.

        Raises:
            InputError: Weights are missing, the labels are ambiguous, or int8 differs too much from the model.
        """
        import_without_sklearn()
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        self.name = name
        on, self.device = device()
        if int8_key is not None and on == "cuda":
            raise InputError(f"scorer {self.name}: runtime onnx-int8 is for CPUs; on a GPU use torch")
        if dtype == "auto":
            dtype = "bfloat16" if on == "cuda" else "float32"
        try:
            settings = AutoConfig.from_pretrained(path, **loading)
        except ValueError as error:
            raise InputError(f"scorer {self.name}: transformers cannot read the config of {path}: {error}") from None
        try:
            outputs = ClassifierOutputs.of(settings, attributes)
        except InputError as error:
            raise InputError(f"scorer {self.name}: {error}") from None
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **loading
        )
        if absent := [*report["missing_keys"], *report["mismatched_keys"]]:
            shown = ", ".join(map(str, absent[:3]))
            raise InputError(
                f"scorer {self.name}: {path} has no weights for {shown}, which would be random: use another model"
            )
        tokenizer = AutoTokenizer.from_pretrained(path, **loading)
        tokenizer.truncation_side = "right"
        self.attributes = tuple(outputs.attributes)
        padding = padding_of(model)
        model.eval().to(on)
        forward = forward_of(model, outputs.probabilities)
        most = max_tokens(model.config, tokenizer)
        self.notes: dict[str, Any] = {"dtype": dtype}
        if int8_key is not None:
            from detox_ray.score.onnx_int8 import quantize

            int8 = quantize(model, tokenizer, most, padding, int8_key, outputs.probabilities)
            forward, self.notes = int8.forward, {"dtype": "int8", "agreement": int8.agreement._asdict()}
            del model
        self.notes["outputs"] = outputs.spelled()
        budget = token_budget(batch_tokens, on)
        self._batches = BatchedClassifier(tokenizer, most, forward, outputs.attributes, padding, budget)
        (result,) = self._batches.score(["A text."])
        if isinstance(result, Failure):
            reason = result.reason.splitlines()[0]
            raise InputError(f"scorer {self.name}: {path} ({settings.model_type}) cannot score a text: {reason}")

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        results = self._batches.score(texts)
        self.notes["truncated_texts"] = self._batches.truncated
        return results


def forward_of(model: Any, activation: Callable[[Any], Any]) -> Forward:
    """Return a function that calls the model with those inputs that it takes, on the model's device."""
    takes = set(inspect.signature(model.forward).parameters)

    def forward(inputs: Inputs) -> Any:
        on = next(model.parameters()).device
        taken = {name: values.to(on) for name, values in inputs.items() if name in takes}
        return activation(model(**taken).logits)

    return forward
