"""A worker's memory: hand-worked parts, DeepSpeed's own estimators, and measured peaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture, Tuning
from detox_ray.estimate.training_memory import Memory, Part, micro_batch, worker_memory
from detox_ray.train.settings import lora_of

MODEL = {
    "model_type": "llama", "vocab_size": 1000, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False,
}  # fmt: skip
STATES = ("weights", "gradients", "float32 gradients", "float32 weights", "optimizer states")


def block(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"parent": "base", "batching": "padded", **changes})


def sizes(config: TrainConfig, gpu: bool = True) -> dict[str, int]:
    built = Architecture(MODEL, Tuning(None if config.tuning == "full" else lora_of(config)), config.dtype)
    return {part.name: part.bytes for part in worker_memory(built, config, gpu).parts}


def test_needed_is_what_is_always_held_and_the_largest_phase() -> None:
    phases = [("always", 10), ("forward and backward", 3), ("forward and backward", 4), ("step", 6), ("save", 1)]
    parts = tuple(Part("", size, "device", phase, "") for phase, size in phases)  # type: ignore[arg-type]
    assert Memory((*parts, Part("", 100, "host", "always", ""))).needed("device") == 17


def test_stages_share_out_optimizer_then_gradients_then_weights() -> None:
    count = Architecture(MODEL).parameters
    quarter = -(-count // 4)
    found = {stage: sizes(block(workers=4, deepspeed=f"zero{stage}", reference="cached")) for stage in range(4)}
    assert [found[stage]["weights"] for stage in range(4)] == [4 * count] * 3 + [4 * count // 4]
    assert [found[stage]["gradients"] for stage in range(4)] == [4 * count] * 2 + [4 * quarter] * 2
    assert [found[stage]["optimizer states"] for stage in range(4)] == [4 * count] + [4 * quarter] * 3
    assert [found[stage].get("float32 weights", 0) for stage in range(4)] == [0, 4 * quarter, 4 * quarter, 0]


def test_reference_is_a_second_model_only_where_it_runs_beside_a_fully_tuned_policy() -> None:
    count = Architecture(MODEL).parameters
    assert sizes(block(reference="live"))["reference"] == 4 * count
    assert sizes(block(reference="live", deepspeed="zero3", workers=4))["reference"] == 4 * count // 4
    assert "reference" not in sizes(block(reference="cached"))
    assert "reference" not in sizes(block(reference="live", tuning="lora"))
    assert sizes(block(method="kto", batching=None))["reference"] == 4 * count


def test_offload_moves_states_and_then_weights_to_the_node() -> None:
    built = Architecture(MODEL)
    states = worker_memory(built, block(offload="optimizer"), gpu=True)
    where = {part.name: part.where for part in states.parts}
    assert (where["optimizer states"], where["float32 weights"], where["weights"]) == ("host", "host", "device")
    everything = worker_memory(built, block(offload="parameters", deepspeed="zero3"), gpu=True)
    assert {part.name: part.where for part in everything.parts}["weights"] == "host"
    on_cpu = worker_memory(built, block(offload="parameters", deepspeed="zero3"), gpu=False)
    assert on_cpu.needed("host") == 0  # one memory


def test_four_bit_weights_are_an_eighth_of_float32_in_the_linear_layers() -> None:
    built = Architecture(MODEL, Tuning(lora_of(block(tuning="lora"))))
    whole, four_bit = (sizes(block(tuning=tuning))["weights"] for tuning in ("lora", "qlora"))
    assert whole - four_bit == pytest.approx(built.linear * (4 - 0.516), rel=1e-3)


def test_groups_hold_batch_tokens_but_no_more_pairs_than_a_step() -> None:
    grouped = block(batching="length-grouped", batch_tokens=4096, max_length=256, batch_size=32)
    assert micro_batch(grouped)[:2] == (16, 256)
    assert micro_batch(grouped, longest=64)[:2] == (64, 64)
    assert micro_batch(block(batch_size=4))[:2] == (8, 256)
    assert micro_batch(block(batch_size=4, method="sft", batching=None))[:2] == (4, 256)


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_states_agree_with_deepspeeds_own_estimators(workers: int) -> None:
    """Theirs count 16-bit weights, and 16 bytes of Adam (float32 copy, gradient, two moments).

    ZeRO 2: theirs leaves the 16-bit gradients to the 16 bytes when all is on the GPU. ZeRO 3: theirs adds the largest
    layer, ours what DeepSpeed keeps gathered, which is another part.
    """
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    count = Architecture(MODEL).parameters
    settings = {"dtype": "bfloat16", "optimizer": "adamw", "workers": workers, "reference": "cached"}
    two = sizes(block(deepspeed="zero2", **settings))
    _, theirs = estimate_zero2_model_states_mem_needs(count, workers, 1, cpu_offload=False)
    assert sum(two[name] for name in STATES) == pytest.approx(theirs, rel=0.15)
    three = sizes(block(deepspeed="zero3", **settings))
    _, theirs, layer = estimate_zero3_model_states_mem_needs(count, 0, workers, 1, False, False)
    assert sum(three[name] for name in STATES) == pytest.approx(theirs - layer, rel=0.15)
    offloaded = sizes(block(deepspeed="zero3", offload="parameters", **settings))
    on_host, _, _ = estimate_zero3_model_states_mem_needs(count, 0, workers, 1, True, True, additional_buffer_factor=1)
    assert workers * sum(offloaded[name] for name in STATES) == pytest.approx(on_host, rel=0.15)


@pytest.mark.integration
@pytest.mark.slow
def test_estimate_lies_between_ten_percent_below_and_forty_above_the_measured_peak() -> None:
    """Real trainings of 24 M parameters. All cases: `python benchmarks/memory.py`."""
    script = Path(__file__).parents[2] / "benchmarks" / "memory.py"
    command = [sys.executable, "-W", "ignore", str(script), "zero2", "lora", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, env=dict(os.environ), check=True)
    rows = json.loads(answer.stdout.splitlines()[-1])
    ratios = {row["case"]: row["estimated"] / row["measured"] for row in rows}
    assert len(ratios) == 2
    assert all(0.9 <= ratio <= 1.4 for ratio in ratios.values()), ratios
