"""A text classifier that its publisher exported to ONNX, run unchanged on CPUs.

The file is the model: it is not compared with the weights that it was exported from. Its quality is measured as that of
any scorer (`detox-ray validity`, `detox-ray agreement`).

Shapes: B texts, T tokens, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from detox_ray.config import InputError
from detox_ray.models.padding import Padding, fixed_padding
from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.score.batches import CPU_TOKENS, BatchedClassifier, Inputs, batch_of, by_length, token_budget, tokenize
from detox_ray.score.label_mapping import ClassifierOutputs, OutputConfig
from detox_ray.score.onnx_session import open_session, sample_texts
from detox_ray.score.scorers import Failure, Scores
from detox_ray.score.token_limit import max_tokens

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxScorer:
    """A classifier's ONNX file, with the tokenizer and the config that lie beside it."""

    device = "cpu"

    def __init__(
        self,
        name: str,
        folder: Path,
        file: str,
        *,
        attributes: Mapping[str, OutputConfig] | None,
        output: Literal["logits", "probabilities"],
        batch_tokens: int,
    ):
        """Load the network, and try it on sentences of all built-in languages.

        Args:
            name: Name of the scorer.
            folder: Folder with the ONNX file, the files of its weights if they are separate, config.json and a
                tokenizer.
            file: Name of the ONNX file in the folder.
            attributes: The user's map of the model's labels; None: go by the labels' names.
            output: What the network computes for each label.
            batch_tokens: Most padded tokens in a batch.

        Raises:
            InputError: If ONNX Runtime cannot load the file, if the network is not a text classifier with the config's
                labels, or if its outputs cannot be what ``output`` says.
        """
        import_without_sklearn()
        from transformers import AutoConfig, AutoTokenizer

        self.name, self._file, self._output = name, file, output
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            self._outputs = ClassifierOutputs.of(config, attributes)
        except (InputError, ValueError) as error:  # ValueError: a kind of model that transformers does not know
            raise self._refusal(str(error)) from None
        self.attributes = tuple(self._outputs.attributes)
        self._open(folder / file)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        tokenizer.truncation_side = "right"
        most, padding = max_tokens(config, tokenizer), fixed_padding(config)
        self._try(tokenizer, most, padding)
        self.notes: dict[str, Any] = {"file": file, "outputs": self._outputs.spelled()}
        budget = token_budget(batch_tokens, "cpu")
        self._batches = BatchedClassifier(
            tokenizer, most, self._probabilities, self._outputs.attributes, padding, budget
        )

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        results = self._batches.score(texts)
        self.notes["truncated_texts"] = self._batches.truncated
        return results

    def _open(self, path: Path) -> None:
        """Open the session, and check the shapes of its inputs and of its output."""
        try:
            self._session = open_session(path)
        except Exception as error:  # those of ONNX Runtime have no common base
            raise self._refusal(f"ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
        inputs = self._session.get_inputs()
        if foreign := sorted({each.name for each in inputs} - INPUTS):
            raise self._refusal(f"its network wants {', '.join(foreign)} beside {', '.join(sorted(INPUTS))}")
        if fixed := [each for each in inputs if any(isinstance(size, int) for size in each.shape)]:
            shape = "x".join(map(str, fixed[0].shape))
            raise self._refusal(f"{fixed[0].name} has the fixed shape {shape}: export it with dynamic axes")
        if any(each.type not in INTEGERS for each in inputs):
            raise self._refusal("its inputs are not integers")
        self._inputs = {each.name: INTEGERS[each.type] for each in inputs}
        outputs = [each.name for each in self._session.get_outputs()]
        if len(outputs) > 1 and "logits" not in outputs:
            raise self._refusal(f"it has several outputs and none is called logits: {', '.join(outputs)}")
        self._of = "logits" if "logits" in outputs else outputs[0]

    def _run(self, inputs: Inputs) -> torch.Tensor:
        """Return what the network computes for a batch, (B, C)."""
        given = {name: inputs[name].numpy().astype(kind) for name, kind in self._inputs.items() if name in inputs}
        if "token_type_ids" in self._inputs and "token_type_ids" not in given:
            given["token_type_ids"] = np.zeros_like(given["input_ids"])
        values_BC = torch.from_numpy(self._session.run([self._of], given)[0])
        if values_BC.ndim != 2 or values_BC.shape[1] != len(self._outputs.labels):
            labels = f"{len(self._outputs.labels)} labels ({', '.join(self._outputs.labels[:5])})"
            raise self._refusal(f"it gives {tuple(values_BC.shape)} numbers, and its config.json has {labels}")
        return values_BC.float()

    def _probabilities(self, inputs: Inputs) -> torch.Tensor:
        values_BC = self._run(inputs)
        return values_BC if self._output == "probabilities" else self._outputs.probabilities(values_BC)

    def _try(self, tokenizer: Any, most: int, padding: Padding) -> None:
        """Run the network over sentences, and check that it computes what ``output`` says."""
        rows = [row for row in tokenize(tokenizer, sample_texts(), most).rows if not isinstance(row, Failure)]
        batches = by_length([len(row.ids) for row in rows], CPU_TOKENS, padded=padding.token is not None)
        try:
            values = torch.cat(
                [self._run(batch_of([rows[place] for place in batch], padding.token)) for batch in batches]
            )
        except Exception as error:
            raise self._refusal(f"it cannot score a text: {str(error).splitlines()[0]}") from None
        low, high = float(values.min()), float(values.max())
        within = low >= 0 and high <= 1
        if within and self._output == "logits":
            raise self._refusal(
                f"all its outputs for {len(values)} sentences lie between {low:.3g} and {high:.3g}, which is unlikely "
                "for logits: set output: probabilities if the network ends in a softmax or sigmoid"
            )
        if not within and self._output == "probabilities":
            raise self._refusal(f"its outputs lie between {low:.3g} and {high:.3g}: these are not probabilities")

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"scorer {self.name}: {self._file}: {reason}")
