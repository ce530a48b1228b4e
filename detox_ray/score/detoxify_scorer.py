"""The Detoxify scorer: the real package, without its pitfalls.

The package loads model and tokenizer, which then run in our batches (batches.py) and give the same scores as its
``predict``. The package itself does not batch, crashes on long text, returns a float for a list of one, reads
checkpoints as full pickles, and, if a checkpoint's names do not match, prints a report and continues with random
weights.
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
            name: Name of the scorer.
            checkpoint: File in Detoxify's format.
            config_folder: Folder of config.json and the tokenizer; None: the checkpoint names a hub id.
            batch_tokens: Most padded tokens of a forward pass.

        Raises:
            InputError: The file is not a checkpoint, or its weights do not fit the architecture.
        """
        self.name = name
        on, self.device = device()
        loaded = _weights_only(checkpoint)
        with tempfile.TemporaryDirectory() as scratch:
            if config_folder is not None:  # the checkpoint's own path to it may be that of another machine
                loaded["config"]["arch"]["args"]["model_type"] = str(config_folder.resolve())
                checkpoint = Path(scratch) / "checkpoint.ckpt"
                torch.save(loaded, checkpoint)
            folder = None if config_folder is None else str(config_folder.resolve())
            # Detoxify unpickles the file, which is safe after the weights-only load above.
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
        """Compute the same probabilities as Detoxify.predict."""
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
            f"{checkpoint}: lacks {len(wrong)} of the model's {len(model)} weights by the names that the architecture "
            f"gives them ({', '.join(wrong[:3])}), which would be random: use a checkpoint of this architecture"
        )
