"""A classifier as ONNX with int8 weights, for CPUs: exported once per machine, and compared with torch on every load.

Quantization is dynamic: the weights of matrix products are int8, and activations are quantized at run time. Its effect
on the scores depends on the model, so it is measured: both versions score the same sentences, and the model is rejected
if a score differs by more than `MOST_AT_ONE`, or if they differ by more than `MOST_ON_AVERAGE` on average.
"""

import inspect
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

from detox_ray.config import InputError
from detox_ray.models.padding import Padding
from detox_ray.models.transformers_internals import attention_in_use
from detox_ray.score.batches import Forward, Inputs, batch_of, by_length, tokenize
from detox_ray.score.onnx_session import open_session, sample_texts
from detox_ray.score.scorers import Failure
from detox_ray.storage import cache_folder, key_of

MOST_AT_ONE, MOST_ON_AVERAGE = 0.10, 0.02  # absolute difference of a probability
SAMPLE_TOKENS = 2048  # padded tokens of a batch of the sample
FILE = "int8.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Int8Agreement(NamedTuple):
    """The absolute difference between int8 and torch, over the probabilities of a sample."""

    texts: int
    largest: float
    mean: float


class Int8Model(NamedTuple):
    """The int8 network, and how well it agrees with the original."""

    forward: Forward
    agreement: Int8Agreement


def quantize(
    model: Any,
    tokenizer: Any,
    most: int,
    padding: Padding,
    key: str,
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> Int8Model:
    """Return the model's int8 version, after comparing the two.

    Args:
        model: The loaded torch model.
        tokenizer: Its tokenizer.
        most: How many tokens of a text it reads.
        padding: How to pad its rows.
        key: Key of its weights.
        activation: Maps logits (B, C) to probabilities.

    Raises:
        InputError: The two differ by more than the limits of this module, or the model cannot be exported.
    """
    takes = inspect.signature(model.forward).parameters
    names = [name for name in INPUTS if name in takes and name in (*tokenizer.model_input_names, "attention_mask")]
    path = exported(model, names, key)
    session = open_session(path)

    def forward(inputs: Inputs) -> torch.Tensor:
        return activation(torch.from_numpy(session.run(["logits"], {name: inputs[name].numpy() for name in names})[0]))

    def original(inputs: Inputs) -> torch.Tensor:
        return activation(model(**{name: inputs[name] for name in names}).logits)

    agreement = compare(forward, original, tokenizer, most, padding)
    if agreement.largest > MOST_AT_ONE or agreement.mean > MOST_ON_AVERAGE:
        raise InputError(
            f"runtime onnx-int8: its scores differ from the model's by up to {agreement.largest:.3f}, on average "
            f"{agreement.mean:.3f}, over {agreement.texts} sentences (the limits are {MOST_AT_ONE} and "
            f"{MOST_ON_AVERAGE}): use runtime torch"
        )
    return Int8Model(forward, agreement)


def exported(model: Any, names: Sequence[str], key: str) -> Path:
    """Return the int8 file in this machine's cache, which is created if necessary."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    versions = {name: metadata.version(name) for name in ("torch", "transformers", "onnx", "onnxruntime")}
    target = (
        cache_folder()
        / "onnx"
        / key_of(model=key, versions=versions, inputs=list(names), pad=model.config.pad_token_id, weight_bits=7)
    )
    if not (target / FILE).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".exporting-"))
        try:
            whole = scratch / "float32.onnx"
            try:
                _export(model, names, whole)
            except (RuntimeError, ValueError) as error:  # RuntimeError: torch's own
                kind = model.config.model_type
                first = (str(error).splitlines() or [""])[0]
                raise InputError(f"runtime onnx-int8 cannot take a {kind} model ({first}): use runtime torch") from None
            # Use only seven of the eight bits. On processors without VNNI (AVX2, older AVX-512), sums of 8-bit products
            # overflow, and scores differed by up to 0.17 for a model that differs by 0.03 on others.
            quantize_dynamic(whole, scratch / FILE, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
            for file in scratch.iterdir():
                if file.name.startswith("float32"):
                    file.unlink()
            scratch.rename(target)
        except OSError:
            if not (target / FILE).is_file():  # otherwise another process was faster and wrote the same content
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return target / FILE


def _export(model: Any, names: Sequence[str], path: Path) -> None:
    import onnx

    inputs = {
        "input_ids": torch.tensor([[0, 5, 6, 7, 2], [0, 5, 6, 2, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]),
        "token_type_ids": torch.zeros(2, 5, dtype=torch.long),
    }
    batch, tokens = torch.export.Dim("batch", min=1, max=2**16), torch.export.Dim("tokens", min=2, max=512)
    attention = attention_in_use(model)
    model.set_attn_implementation("eager")  # the only one that the exporter supports; the numbers are the same
    with warnings.catch_warnings():  # about names of axes, and about future changes of torch
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model).eval(),
            kwargs={name: inputs[name] for name in names},
            f=str(path),
            input_names=list(names),
            output_names=["logits"],
            dynamic_shapes={name: {0: batch, 1: tokens} for name in names},
            dynamo=True,
            verbose=False,
        )
    model.set_attn_implementation(attention)
    # Remove the exporter's inner shapes. They contradict the quantizer, which transposes weights and infers its own.
    exported = onnx.load(str(path))
    del exported.graph.value_info[:]
    onnx.save(exported, str(path), save_as_external_data=True, location=f"{path.name}.data")


class _Logits(torch.nn.Module):
    """A wrapper that returns the logits as a tensor instead of a named structure."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        taken = {name: values for name, values in given.items() if values is not None}
        logits: torch.Tensor = self.model(input_ids=input_ids, **taken).logits
        return logits


def compare(one: Forward, other: Forward, tokenizer: Any, most: int, padding: Padding) -> Int8Agreement:
    """Compare two networks on sentences of all built-in languages."""
    rows = [row for row in tokenize(tokenizer, sample_texts(), most).rows if not isinstance(row, Failure)]
    differences: list[torch.Tensor] = []
    for batch in by_length([len(row.ids) for row in rows], SAMPLE_TOKENS, padded=padding.token is not None):
        inputs = batch_of([rows[place] for place in batch], padding.token)
        with torch.inference_mode():
            differences.append((one(inputs).float() - other(inputs).float()).abs().flatten())
    flat = torch.cat(differences)
    return Int8Agreement(len(rows), round(float(flat.max()), 6), round(float(flat.mean()), 6))
