"""Estimated against measured peak memory of small trainings on this machine: `python benchmarks/memory.py [CASE …]`.

Each case is a training of three steps of one small model (24 M parameters, tied embeddings) whose sequences all fill
max_length; they run one after another in the same processes, imports paid once. Measured: the kernel's high-water mark
of rank 0's process, reset before each training, less what the process held then. Prints a table, or with --json a list.
"""

import argparse
import contextlib
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEPS = 3
CASES: dict[str, dict[str, Any]] = {  # one worker, full tuning, RMSprop, live reference, but for what is said
    "zero0": {"deepspeed": "zero0"},
    "zero1": {"deepspeed": "zero1"},
    "zero2": {},
    "zero3": {"deepspeed": "zero3"},
    "adamw": {"optimizer": "adamw"},
    "accumulation": {"gradient_accumulation": 2},
    "checkpointing": {"gradient_checkpointing": True},
    "cached": {"reference": "cached"},
    "lora": {"tuning": "lora"},
    "trainable": {"trainable": ["layers\\.0\\."]},
    "sft": {"method": "sft", "reference": None, "batching": None},
    "kto": {"method": "kto", "reference": None, "batching": None},
    "orpo": {"method": "orpo", "reference": None, "batching": None},
    "zero1 x 2": {"deepspeed": "zero1", "workers": 2},
    "zero2 x 2": {"workers": 2},
    "zero3 x 2": {"deepspeed": "zero3", "workers": 2},
}
BASE = {
    "parent": "base", "batch_size": 2, "max_steps": STEPS, "max_length": 192, "validation_fraction": 0,
    "reference": "live", "batching": "padded", "warmup_steps": 0, "checkpoint_every": 1000, "tracking": [],
}  # fmt: skip
MODEL = {
    "model_type": "llama", "vocab_size": 8192, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6,
    "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip


def measure(names: list[str], folder: Path) -> list[dict[str, Any]]:
    """For each case: estimated and measured bytes."""
    from detox_ray.config import TrainConfig
    from detox_ray.estimate.architecture import Tuning, architecture
    from detox_ray.estimate.memory import of_worker
    from detox_ray.models import resolve_path
    from detox_ray.storage import Store
    from detox_ray.storage.tables import PAIRS
    from detox_ray.train.settings import lora_of
    from detox_ray.train.training_job import TrainingJob

    _write_model(folder / "model")
    store = Store.at(str(folder / "run"))
    store.commit(PAIRS.unit(), "0" * 16, _pairs(PAIRS.columns))
    parent = resolve_path("base", str(folder / "model"), None, "auto")
    found = []
    for world in (1, 2):
        jobs, estimates = [], []
        for name in names:
            config = TrainConfig.model_validate({k: v for k, v in {**BASE, **CASES[name]}.items() if v is not None})
            if config.workers != world:
                continue
            jobs.append(
                TrainingJob(name.replace(" ", ""), "0" * 16, config, parent, (PAIRS.unit(), "0" * 16), 0, store, False)
            )
            tuning = Tuning(
                None if config.tuning == "full" else lora_of(config),
                None if config.trainable is None else tuple(config.trainable),
            )
            memory = of_worker(architecture(MODEL, tuning), config, gpu=False)
            parts = tuple(part for part in memory.parts if part.phase != "save")  # it is not waited for
            estimates.append((name, memory._replace(parts=parts)))
        if jobs:
            for (name, memory), peak in zip(estimates, _peaks(jobs, world), strict=True):
                parts = {f"{part.name} ({part.phase})": part.bytes for part in memory.parts}
                found.append({"case": name, "estimated": memory.needed("device"), "measured": peak, "parts": parts})
    return found


def _write_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<end>": 0, "<unknown>": 1} | {f"w{number}": number + 2 for number in range(500)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**{k: v for k, v in MODEL.items() if k != "model_type"})).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unknown>").save_pretrained(folder)


def _pairs(schema: Any) -> Any:
    import pyarrow as pa

    draw = random.Random(0)

    def text(count: int) -> str:
        return " ".join(f"w{draw.randrange(500)}" for _ in range(count))

    rows = [
        {
            "pair_id": f"p{n}",
            "prompt": text(30),
            "chosen": f" {text(200)}",
            "rejected": f" {text(200)}",
            "language": "en",
        }
        for n in range(64)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _peaks(jobs: list[Any], world: int) -> list[int]:
    """Bytes by which each training raised rank 0's memory, until its last step was done."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "jobs").write_bytes(pickle.dumps(jobs))
        # Freed memory goes back to the system at once, so that what is held is what is counted.
        malloc = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
        environment = {**os.environ, **malloc, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", __file__, "--worker", folder, str(world)]
        started = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(world)]
        try:
            codes = [process.wait(600) for process in started]
        finally:
            for process in started:
                process.kill()
                process.wait()
        assert not any(codes), f"exit codes {codes}"
        peaks: list[int] = pickle.loads((Path(folder) / "peaks").read_bytes())
        return peaks


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def work(folder: Path, world: int, rank: int) -> None:
    from detox_ray.train import deepspeed_cpu

    deepspeed_cpu.before_imports()
    os.environ |= {"TQDM_DISABLE": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    import gc

    import torch
    from transformers import TrainerCallback

    from detox_ray.train.train_loop import run_train_loop
    from detox_ray.train.training_job import TrainWorker

    class Enough(Exception):
        pass

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_train_end(self, *_: object, **__: object) -> None:
            raise Enough  # saving and verification are no part of it

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
    peaks = []
    for job in pickle.loads((folder / "jobs").read_bytes()):
        gc.collect()
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        with contextlib.suppress(Enough):
            run_train_loop(job, TrainWorker(rank, rank, world), [Stop()], None, 0)
        peaks.append(_memory("VmHWM") - before)
    if rank == 0:
        (folder / "peaks").write_bytes(pickle.dumps(peaks))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        return work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.cases or list(CASES), Path(folder))
    if arguments.json:
        return print(json.dumps(found))
    print(f"{'case':15} {'estimated':>10} {'measured':>10} {'estimated/measured':>19}")
    for row in found:
        ratio = row["estimated"] / row["measured"]
        print(f"{row['case']:15} {row['estimated'] / 2**20:6.0f} MiB {row['measured'] / 2**20:6.0f} MiB {ratio:19.2f}")
        print("                " + ", ".join(f"{name} {size / 2**20:.0f}" for name, size in row["parts"].items()))


if __name__ == "__main__":
    main()
