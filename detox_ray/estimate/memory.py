"""What one training worker holds, part by part, each with the assumption that its number rests on.

Parts that are never held at the same time have different phases; what a worker needs is what it always holds and the
largest phase. Bytes are of the device (a GPU, or the process where there is none), of the node's memory, or of a disk.
What DeepSpeed and TRL hold was read in their code (deepspeed 0.19, trl 1.16) and compared with measured peaks
(benchmarks/memory.py: 0.9 to 1.4 times the measured peak, over ZeRO 0 to 3, adapters and methods).
"""

from typing import Any, Literal, NamedTuple

from detox_ray.config import TrainConfig
from detox_ray.estimate.architecture import Architecture, KeptActivations
from detox_ray.train import deepspeed_config

Where = Literal["device", "host", "nvme"]
Phase = Literal["always", "forward and backward", "step", "save"]

STATES = {"rmsprop": 1, "adamw": 2}  # float32 numbers that an optimizer keeps per trained parameter
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # bitsandbytes: 4 bits, a byte per 64, a float32 per 256 of those bytes
HEAD_TOKENS, HEAD_COLUMNS = 4096, 32768  # the tile of logits that TRL's fused head holds
HEAD_COPIES_ON_CPU = 7  # there its kernel is written in torch operations, each with a tile of its own
LOGIT_COPIES = 4  # orpo and cpo: logits, their shifted copy and softmax, and their gradient
LIVE_PARAMETERS = 1_000_000_000  # gathered by ZeRO-3 at once, at most (stage3_max_live_parameters)
SUB_GROUP = 1_000_000_000  # parameters that ZeRO-3 updates at once
ALLREDUCE_BUCKET = 500_000_000  # elements that DeepSpeed flattens to exchange where there is no ZeRO
NVME_BUFFERS = 5 * 100_000_000  # elements of DeepSpeed's pinned buffers


class Part(NamedTuple):
    name: str
    bytes: int
    where: Where
    phase: Phase
    assumption: str


class Memory(NamedTuple):
    parts: tuple[Part, ...]

    def needed(self, where: Where) -> int:
        """Bytes: what is always held, and the largest phase."""
        phases: dict[str, int] = {}
        for part in self.parts:
            if part.where == where:
                phases[part.phase] = phases.get(part.phase, 0) + part.bytes
        always = phases.pop("always", 0)
        return always + max(phases.values(), default=0)


class MicroBatch(NamedTuple):
    """The largest batch that one forward and backward pass holds."""

    rows: int  # sequences
    length: int  # tokens, padded
    assumption: str


def micro_batch(config: TrainConfig, longest: int | None = None) -> MicroBatch:
    """``longest``: tokens of the longest sequence, where the data has been looked at."""
    length = min(config.max_length, longest or config.max_length)
    each = 2 if config.method in ("dpo", "orpo", "cpo") else 1
    rows = each * config.batch_size
    how = f"{rows} sequences" + (f" ({config.batch_size} pairs)" if each == 2 else "")
    if config.batching == "length-grouped":
        assert config.batch_tokens is not None
        grouped = 2 * max(1, config.batch_tokens // length // 2)
        rows = min(grouped, rows * config.gradient_accumulation)
        how = f"{rows} sequences (batch_tokens {config.batch_tokens:,}, and no more pairs than a step has)"
    source = "the longest in the data" if longest and longest <= config.max_length else "max_length"
    return MicroBatch(rows, length, f"{how} of {length} tokens ({source})")


def of_worker(built: Architecture, config: TrainConfig, gpu: bool, longest: int | None = None) -> Memory:
    """What one of the block's workers holds, rank 0's where ranks differ."""
    settings = deepspeed_config.read(config.deepspeed)["zero_optimization"]
    batch = micro_batch(config, longest)
    parts = [
        *_weights(built, config, settings),
        *_reference(built, config, settings),
        *_gradients(built, config, settings, gpu),
        *_optimizer(built, config, settings),
        *_activations(built, config, batch),
        *_head(built, config, batch, gpu),
        *_saving(built, config, settings),
    ]
    if not gpu:  # one memory for all
        parts = [part._replace(where="device") if part.where == "host" else part for part in parts]
    return Memory(tuple(part for part in parts if part.bytes))


def offloads(config: TrainConfig, settings: dict[str, Any]) -> tuple[Where, Where]:
    """Where the optimizer's states and the weights' partitions stay."""

    def own(name: str) -> Where:
        device = (settings.get(name) or {}).get("device", "none")
        return {"cpu": "host", "nvme": "nvme"}.get(device, "device")  # type: ignore[return-value]

    if config.offload is None:
        return own("offload_optimizer"), own("offload_param")
    place: Where = "nvme" if config.nvme_path else "host"
    return place, place if config.offload == "parameters" else "device"


def _weights(built: Architecture, config: TrainConfig, settings: dict[str, Any]) -> list[Part]:
    each, total, stage = _bytes_each(config), built.parameters, settings["stage"]
    size, how = total * each, f"{_count(total)} parameters x {each} bytes ({config.dtype})"
    if config.tuning == "qlora":
        size = int(built.linear * NF4_BYTES + (total - built.linear) * each)
        how = f"{_count(built.linear)} of {_count(total)} parameters in 4 bits, the others in {each} bytes"
    if config.tuning != "full":
        size += built.trained * each
        how += f", and an adapter of {_count(built.trained)}"
    parts = []
    if stage < 3:
        parts.append(Part("weights", size, "device", "always", f"{how}; whole on every worker (ZeRO {stage})"))
    else:
        where = offloads(config, settings)[1]
        parts.append(
            Part("weights", size // config.workers, where, "always", f"{how}; shared by {config.workers} (ZeRO 3)")
        )
        parts.append(_gathered(total, size, settings))
        if where == "nvme":
            parts.append(
                Part("buffers of the offload", NVME_BUFFERS * each, "host", "always", "DeepSpeed's default, pinned")
            )
    if config.autocast is not None:
        how = f"16-bit copies of {_count(built.trained)} trained parameters (autocast {config.autocast})"
        parts.append(Part("autocast copies", 2 * built.trained, "device", "forward and backward", how))
    return parts


def _gathered(total: int, size: int, settings: dict[str, Any]) -> Part:
    live = settings.get("stage3_max_live_parameters", LIVE_PARAMETERS)
    live = LIVE_PARAMETERS if live == "auto" else int(live)
    part = min(total, live)
    how = f"ZeRO 3 keeps up to {_count(live)} parameters whole at a time (stage3_max_live_parameters)"
    return Part("gathered weights", size * part // total, "device", "forward and backward", how)


def _reference(built: Architecture, config: TrainConfig, settings: dict[str, Any]) -> list[Part]:
    if config.reference != "live" and config.method != "kto":
        return []
    if config.tuning != "full":
        return []  # the policy without its adapter
    each, stage = _bytes_each(config), settings["stage"]
    how = f"a second model beside the policy, {_count(built.parameters)} parameters x {each} bytes"
    if stage < 3:
        return [Part("reference", built.parameters * each, "device", "always", f"{how}; whole on every worker")]
    size = built.parameters * each // config.workers
    return [Part("reference", size, offloads(config, settings)[1], "always", f"{how}; shared by {config.workers}")]


def _gradients(built: Architecture, config: TrainConfig, settings: dict[str, Any], gpu: bool) -> list[Part]:
    each, trained, workers, stage = _bytes_each(config), built.trained, config.workers, settings["stage"]
    where, share = offloads(config, settings)[0], -(-trained // workers)
    grad_at: Where = "device" if where == "device" else "host"
    parts = []
    if stage < 2 and where == "device":
        how = f"{_count(trained)} trained parameters x {each} bytes, whole on every worker (ZeRO {stage})"
        parts.append(Part("gradients", trained * each, "device", "always", how))
    else:
        how = f"{_count(trained)} trained parameters x {each} bytes, shared by {workers} (ZeRO {stage})"
        parts.append(Part("gradients", share * each, grad_at, "always", how))
    if each < 4 or where != "device":
        of = "their float32 copy for the optimizer" + (
            " (a sub-group at a time)" if stage == 3 and where == "device" else ""
        )
        size = min(share, SUB_GROUP) if stage == 3 and where == "device" else trained if stage == 0 else share
        parts.append(Part("float32 gradients", 4 * size, grad_at, "step", of))
    elif stage in (1, 2):
        parts.append(Part("flat gradients", 4 * share, "device", "step", "a worker's share once more, in one piece"))
    if stage == 0 and workers > 1:
        bucket, of = min(trained, ALLREDUCE_BUCKET), "DeepSpeed's default without ZeRO"
    elif stage == 0:
        return parts
    else:
        bucket = settings.get("reduce_bucket_size", ALLREDUCE_BUCKET)
        bucket = built.width**2 if bucket == "auto" else int(bucket)
        of = "reduce_bucket_size"
        if not gpu:  # memory that is never written is never given
            bucket = min(bucket, trained)
        bucket *= 2 if settings.get("overlap_comm") else 1
    how = f"{_count(bucket)} gradients on their way ({of}) x {each} bytes"
    return [*parts, Part("exchange buffer", bucket * each, "device", "forward and backward", how)]


def _optimizer(built: Architecture, config: TrainConfig, settings: dict[str, Any]) -> list[Part]:
    stage, trained = settings["stage"], built.trained
    share = trained if stage == 0 else -(-trained // config.workers)
    where, states = offloads(config, settings)[0], STATES[config.optimizer]
    of = f"of {_count(trained)} trained parameters" + (f", shared by {config.workers} (ZeRO {stage})" if stage else "")
    parts = [
        Part("optimizer states", 4 * states * share, where, "always", f"{config.optimizer}: {states} x float32 {of}"),
        # The square root of the second moment; more would be held, one tensor at a time.
        Part("step's temporary", 4 * min(share, SUB_GROUP), "host" if where != "device" else where, "step",
             "one float32 per updated parameter"),
    ]  # fmt: skip
    own_copy = stage in (1, 2) or config.dtype != "float32" or where != "device"
    if own_copy:
        parts.append(Part("float32 weights", 4 * share, where, "always", f"the optimizer's own copy {of}"))
    if where == "nvme":
        how = "float32 weights, states and gradients of one sub-group, in pinned memory"
        parts.append(Part("buffers of the optimizer", 4 * (states + 2) * min(share, SUB_GROUP), "host", "step", how))
    return parts


def _activations(built: Architecture, config: TrainConfig, batch: MicroBatch) -> list[Part]:
    kept: KeptActivations = built.kept(batch.rows, batch.length)
    size = kept.checkpointed if config.gradient_checkpointing else kept.whole
    how = f"{batch.assumption}: what autograd keeps of {built.layers} layers, counted on a forward pass over shapes"
    if config.gradient_checkpointing:
        how = f"{batch.assumption}: the input of each of {built.layers} layers, and one layer's tensors (checkpointing)"
    if config.autocast is not None:
        size, how = size * 3 // 4, f"{how}; half of it in 16 bits (autocast)"
    size += max(kept.layers)
    return [Part("activations", size, "device", "forward and backward", f"{how}, and the gradients of one layer's")]


def _head(built: Architecture, config: TrainConfig, batch: MicroBatch, gpu: bool) -> list[Part]:
    each, tokens = 2 if config.autocast else _bytes_each(config), batch.rows * batch.length
    if config.method in ("orpo", "cpo"):
        size = LOGIT_COPIES * tokens * built.vocabulary * each
        how = f"{tokens:,} tokens x {built.vocabulary:,} x {each} bytes, about {LOGIT_COPIES} times ({config.method})"
        return [Part("logits", size, "device", "forward and backward", how)]
    columns = HEAD_COLUMNS if gpu else min(HEAD_COLUMNS, built.vocabulary)
    copies = 1 if gpu else HEAD_COPIES_ON_CPU
    size = min(tokens, HEAD_TOKENS) * columns * each * copies + tokens * built.width * (each + 4)
    how = f"a tile of {min(tokens, HEAD_TOKENS):,} x {columns:,} logits (TRL's fused head), {copies} of it"
    if built.head_trained:
        size += 4 * built.head
        how += f", and a float32 gradient of {_count(built.head)} weights"
    return [Part("head", size, "device", "forward and backward", how)]


def _saving(built: Architecture, config: TrainConfig, settings: dict[str, Any]) -> list[Part]:
    each, parts = _bytes_each(config), []
    if settings["stage"] == 3:
        how = "rank 0 gathers the whole weights when it saves"
        parts.append(Part("weights to save", built.parameters * each, "host", "save", how))
    how = "rank 0 loads the parent, then the result, to compare them"
    return [*parts, Part("verification", built.parameters * each, "host", "save", how)]


def _bytes_each(config: TrainConfig) -> int:
    return 2 if config.dtype == "bfloat16" else 4


def _count(number: int) -> str:
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)
