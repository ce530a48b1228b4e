"""The Detoxify scorer: the real package, without its pitfalls.

The package loads model and tokenizer; they then run in our batches (batches.py), with the scores of its ``predict``.
By itself it does not batch, crashes on long text, returns a float for a list of one, reads checkpoints as full pickles,
and goes on with random weights (and a printed report only) if the checkpoint's names do not fit.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detoxify import Detoxify
from detoxify.detoxify import MODEL_URLS

from detox_ray.config import InputError
from detox_ray.models.device import device
from detox_ray.models.padding import padding_of
from detox_ray.score.batches import BatchedClassifier, Inputs, token_budget
from detox_ray.score.label_mapping import Output
from detox_ray.score.scorers import Failure, Scores
from detox_ray.score.token_limit import max_tokens


class DetoxifyScorer:
    """Detoxify from a checkpoint file."""

    def __init__(self, name: str, checkpoint: Path, config_folder: Path | None, batch_tokens: int):
        """Load the model.

        Args:
            name: The scorer's.
            checkpoint: In Detoxify's format.
            config_folder: Holds config.json and the tokenizer; None: the checkpoint names a hub id.
            batch_tokens: Padded tokens of a forward pass, at most.

        Raises:
            InputError: If the checkpoint is none, or its weights do not fit the architecture.
        """
        self.name = name
        on, self.device = device()
        loaded = _weights_only(checkpoint)
        with tempfile.TemporaryDirectory() as scratch:
            if config_folder is not None:  # the checkpoint names its folder by a path of another machine
                loaded["config"]["arch"]["args"]["model_type"] = str(config_folder.resolve())
                checkpoint = Path(scratch) / "checkpoint.ckpt"
                torch.save(loaded, checkpoint)
            folder = None if config_folder is None else str(config_folder.resolve())
            # What Detoxify unpickles here has passed the weights-only load above.
            self._model = Detoxify(checkpoint=str(checkpoint), huggingface_config_path=folder, device=on)
        _check_weights(checkpoint, self._model.model.state_dict(), loaded["state_dict"])
        tokenizer, config = self._model.tokenizer, self._model.model.config
        most = tokenizer.model_max_length = max_tokens(config, tokenizer)
        self.attributes = tuple(self._model.class_names)
        if "toxicity" not in self.attributes:
            raise InputError(f"{checkpoint}: a scorer needs the attribute toxicity (it has {self.attributes})")
        if on == "cuda":
            self._model.model.to(torch.bfloat16)
        self._model.model.eval()
        self.notes: dict[str, Any] = {"dtype": str(self._model.model.dtype).removeprefix("torch.")}
        budget = token_budget(batch_tokens, on)
        outputs = {attribute: Output((column,)) for column, attribute in enumerate(self.attributes)}
        padding = padding_of(self._model.model)
        self._batches = BatchedClassifier(tokenizer, most, self._probabilities, outputs, padding, budget)

    @classmethod
    def from_hub(cls, name: str, variant: str, batch_tokens: int) -> "DetoxifyScorer":
        """Load a published model: ``original``, ``unbiased`` or ``multilingual``."""
        url = MODEL_URLS[variant]
        torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
        return cls(name, Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], None, batch_tokens)

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        results = self._batches.score(texts)
        self.notes["truncated_texts"] = self._batches.truncated
        return results

    def _probabilities(self, inputs: Inputs) -> torch.Tensor:
        """Compute what Detoxify.predict does."""
        model = self._model.model
        logits_BC: torch.Tensor = model(**{name: values.to(model.device) for name, values in inputs.items()})[0]
        return logits_BC.float().sigmoid()


def _weights_only(checkpoint: Path) -> dict[str, Any]:
    try:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{checkpoint}: not a checkpoint that can be loaded as weights only: {error}") from None
    try:
        assert loaded["config"]["arch"]["args"] and loaded["config"]["dataset"]["args"]["classes"]
        assert loaded["state_dict"]
    except (AssertionError, KeyError, TypeError):
        raise InputError(
            f"{checkpoint}: not in Detoxify's format (config.arch.args, config.dataset.args.classes, state_dict)"
        ) from None
    return loaded


def _check_weights(checkpoint: Path, model: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    wrong = [
        n for n, value in model.items() if n not in saved or not torch.equal(value.cpu(), saved[n].to(value.dtype))
    ]
    if wrong:
        raise InputError(
            f"{checkpoint}: {len(wrong)} of the model's {len(model)} weights are not in it under the names that the "
            f"architecture gives them ({', '.join(wrong[:3])}): they would be random"
        )
