"""A classifier as ONNX with int8 weights, for CPUs: exported once per machine, measured against torch on every load.

Dynamic quantisation: weights of matrix products are int8, activations are quantised as they come. What that does to
the scores depends on the model, so it is measured: the same sentences through both, and what differs by more than
`MOST_AT_ONE` anywhere or `MOST_ON_AVERAGE` is refused.
"""

import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from detox_ray.config import InputError
from detox_ray.score.batches import Forward, by_length, encode
from detox_ray.score.scorers import Failure
from detox_ray.store import cache_folder, key_of

MOST_AT_ONE, MOST_ON_AVERAGE = 0.10, 0.02  # absolute difference of a probability
DOCUMENTS = 8  # of each built-in language in the sample
SAMPLE_TOKENS = 2048  # padded, of a batch
FILE = "int8.onnx"


class Agreement(NamedTuple):
    """int8 against torch, over a sample's probabilities."""

    texts: int
    largest: float
    mean: float


class Quantised(NamedTuple):
    """The int8 network, and how far it is from the model it was made of."""

    forward: Forward
    agreement: Agreement


def quantised(
    model: Any, tokenizer: Any, most: int, key: str, activation: Callable[[torch.Tensor], torch.Tensor]
) -> Quantised:
    """``key``: of the model's weights; ``activation``: logits (B, C) -> probabilities.

    Raises InputError where the two differ by more than the bounds above.
    """
    path = exported(model, key)
    session = open_session(path)

    def forward(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        feed = {"input_ids": ids_BT.numpy(), "attention_mask": mask_BT.numpy()}
        return activation(torch.from_numpy(session.run(["logits"], feed)[0]))

    def original(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        return activation(model(input_ids=ids_BT, attention_mask=mask_BT).logits)

    agreement = compare(forward, original, tokenizer, most)
    if agreement.largest > MOST_AT_ONE or agreement.mean > MOST_ON_AVERAGE:
        raise InputError(
            f"runtime onnx-int8: its scores differ from the model's by up to {agreement.largest:.3f}, on average "
            f"{agreement.mean:.3f}, over {agreement.texts} sentences (at most {MOST_AT_ONE} and {MOST_ON_AVERAGE} are "
            "allowed): use runtime torch"
        )
    return Quantised(forward, agreement)


def exported(model: Any, key: str) -> Path:
    """The int8 file in this machine's cache, made if it is not there."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    versions = {name: metadata.version(name) for name in ("torch", "transformers", "onnx", "onnxruntime")}
    target = cache_folder() / "onnx" / key_of(model=key, versions=versions)
    if not (target / FILE).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".exporting-"))
        try:
            whole = scratch / "float32.onnx"
            _export(model, whole)
            quantize_dynamic(whole, scratch / FILE, weight_type=QuantType.QInt8, per_channel=True)
            for file in scratch.iterdir():
                if file.name.startswith("float32"):
                    file.unlink()
            scratch.rename(target)
        except OSError:
            if not (target / FILE).is_file():  # else another process was first, with the same content
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target / FILE


def _export(model: Any, path: Path) -> None:
    import onnx

    ids_BT = torch.tensor([[0, 5, 6, 7, 2], [0, 5, 6, 2, 1]])
    mask_BT = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    batch, tokens = torch.export.Dim("batch", min=1, max=2**16), torch.export.Dim("tokens", min=2, max=512)
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")  # what the exporter knows; the numbers are the same
    with warnings.catch_warnings():  # of names of axes, and of what will change in torch
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model).eval(),
            (ids_BT, mask_BT),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": {0: batch, 1: tokens}, "attention_mask": {0: batch, 1: tokens}},
            dynamo=True,
            verbose=False,
        )
    model.set_attn_implementation(attention)
    # The exporter's notes of inner shapes contradict the quantiser's once weights are transposed: it infers its own.
    exported = onnx.load(str(path))
    del exported.graph.value_info[:]
    onnx.save(exported, str(path), save_as_external_data=True, location=f"{path.name}.data")


class _Logits(torch.nn.Module):
    """A tensor out, not a named structure."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def open_session(path: Path) -> Any:
    """An inference session with as many threads as torch has here: Ray gives an actor its share by OMP_NUM_THREADS."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others use the same CPUs
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compare(one: Forward, other: Forward, tokenizer: Any, most: int) -> Agreement:
    """Both over sentences of all built-in languages."""
    texts = sample()
    encoded = encode(tokenizer, texts, most)
    ids = [row for row in encoded.ids if not isinstance(row, Failure)]
    differences: list[torch.Tensor] = []
    pad = tokenizer.pad_token_id or 0
    for batch in by_length([len(row) for row in ids], SAMPLE_TOKENS):
        longest = max(len(ids[row]) for row in batch)
        ids_BT = torch.tensor([ids[row] + [pad] * (longest - len(ids[row])) for row in batch])
        mask_BT = torch.tensor([[1] * len(ids[row]) + [0] * (longest - len(ids[row])) for row in batch])
        with torch.inference_mode():
            differences.append((one(ids_BT, mask_BT).float() - other(ids_BT, mask_BT).float()).abs().flatten())
    flat = torch.cat(differences)
    return Agreement(len(ids), round(float(flat.max()), 6), round(float(flat.mean()), 6))


def sample() -> list[str]:
    """Harmless and hostile sentences in each built-in language: real words, and the same ones every time."""
    from detox_ray.toy17.grammar import document
    from detox_ray.toy17.size import WorldSize
    from detox_ray.toy17.vocabulary import vocabularies

    rng = random.Random("onnx")
    mixture = WorldSize().mixture
    return [
        document(rng, mixture, language, language, number % 2 == 0).text
        for language in vocabularies()
        for number in range(DOCUMENTS)
    ]
