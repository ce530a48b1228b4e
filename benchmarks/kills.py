"""Random workers killed at random steps; do the runs end with the losses of an undisturbed one?

    python benchmarks/kills.py                                ten runs over ZeRO 1, 2, 3 and LoRA
    python benchmarks/kills.py --runs 4 --shapes zero2 lora   fewer

Two workers train a tiny Llama (random weights, made on the spot) on made-up pairs for 40 steps, with a checkpoint every
5, on a local Ray. First each shape runs undisturbed; then, run by run over the shapes, SIGKILL hits one of the two
worker processes when the run is at a step that was drawn before (`--seed`). Prints one row a run; the exit code is 1
where the losses or weights of any differ, in any digit, from the undisturbed run's.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.storage.tables import CHECKPOINTS

STEPS, EVERY = 40, 5
SHAPES: dict[str, dict[str, Any]] = {
    "zero1": {"deepspeed": "zero1"},
    "zero2": {"deepspeed": "zero2"},
    "zero3": {"deepspeed": "zero3"},
    "lora": {"deepspeed": "zero2", "tuning": "lora", "lora": {"r": 8, "dropout": 0.1}},
}
WORDS = ["the", "a", "quiet", "river", "stone", "walks", "under", "old", "moon", "while", "sings", "of", "and", "bread"]


def write_parent(folder: Path) -> None:
    """A Llama of about 150,000 parameters over whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["<end>", *WORDS])}, "<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", bos_token="<end>")
    torch.manual_seed(0)
    sizes: Any = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def pairs(count: int) -> Any:
    """Random sentences; what is preferred has the word 'bread', so that there is something to learn."""
    import pyarrow as pa

    from detox_ray.storage.tables import PAIRS

    rng = random.Random(0)
    rows = []
    for number in range(count):
        prompt, chosen, rejected = (" ".join(rng.choices(WORDS[:-1], k=rng.randint(3, 12))) for _ in range(3))
        row = {"pair_id": str(number), "prompt": prompt, "chosen": f" {chosen} bread", "rejected": f" {rejected}"}
        rows.append({**row, "language": "en"})
    return pa.Table.from_pylist(rows, schema=PAIRS.columns)


class Killer(threading.Thread):
    """Kills one of the two Ray Train workers of this process's Ray once the board says ``step``."""

    def __init__(self, step: int, rng: random.Random):
        super().__init__(daemon=True)
        self.step, self.rng, self.board, self.at = step, rng, None, 0

    def run(self) -> None:
        import ray

        while not self.at:
            time.sleep(0.02)
            at = ray.get(self.board.state.remote()).step if self.board is not None else 0
            pids = _workers() if at >= self.step else []
            if len(pids) == 2:
                os.kill(self.rng.choice(pids), signal.SIGKILL)
                self.at = at


def _workers() -> list[int]:
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            found += [process.pid] if "RayTrainWorker" in " ".join(process.cmdline()) else []
        except psutil.Error:
            continue
    return sorted(found)


class Result(NamedTuple):
    info: dict[str, Any]
    weights: dict[str, Any]
    seconds: float


def run(shape: str, folder: Path, parent: Path, cluster: Any, killer: Killer | None) -> Result:
    """One training in a run folder of its own."""
    from safetensors.torch import load_file

    from detox_ray import train
    from detox_ray.cluster.progress import Progress
    from detox_ray.config import TrainConfig
    from detox_ray.models import resolve_path
    from detox_ray.storage import Store
    from detox_ray.storage.tables import PAIRS
    from detox_ray.train import progress_board

    block = {"parent": "base", "workers": 2, "max_steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 0,
             "validation_fraction": 0.1, "evaluate_every": 10, "checkpoint_every": EVERY, "max_length": 64}  # fmt: skip
    config = TrainConfig.model_validate({**block, **SHAPES[shape]})
    base, store = resolve_path("base", str(parent), None, "auto"), Store.at(str(folder))
    rows = PAIRS.unit()
    store.commit(rows, "0" * 16, pairs(200))
    key = train.key(config, base.key, "0" * 16, 0)
    start = progress_board.start
    if killer is not None:

        def watched() -> Any:
            killer.board = start()
            return killer.board

        progress_board.start = watched
        killer.start()
    began = time.monotonic()
    try:
        train.train("tuned", config, base, (rows, "0" * 16), 0, key, store, cluster, Progress())
    finally:
        progress_board.start = start
    info = store.info(CHECKPOINTS.unit(model="tuned"), key)
    weights = load_file(Path(store.path("checkpoints/tuned")) / "model.safetensors")
    return Result(info, weights, time.monotonic() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--seed", type=int, default=0, help="of the workers and steps that are drawn")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rng = random.Random(options.seed)
    print(f"{options.runs} runs over {', '.join(options.shapes)}: {STEPS} steps, a checkpoint every {EVERY}")
    print(f"{'shape':6} {'killed at':>9} {'restarts':>8} {'steps':>5} {'largest difference of losses':>28} "
          f"{'weights':>9} {'seconds':>8}")  # fmt: skip
    wrong = 0
    from detox_ray.cluster import connect

    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=2) as cluster:
        parent = Path(folder) / "parent"
        write_parent(parent)
        whole = {}
        for shape in options.shapes[: options.runs]:
            whole[shape] = run(shape, Path(folder) / shape, parent, cluster, None)
            print(f"{shape:6} {'-':>9} {whole[shape].info['restarts']:8} {whole[shape].info['steps']:5} "
                  f"{'undisturbed':>28} {'':9} {whole[shape].seconds:8.0f}", flush=True)  # fmt: skip
        for number in range(options.runs):
            shape = options.shapes[number % len(options.shapes)]
            killer = Killer(rng.randint(1, STEPS - 2), rng)
            found = run(shape, Path(folder) / f"{shape}-{number}", parent, cluster, killer)
            losses, expected = ([row["loss"] for row in each.info["log"]] for each in (found, whole[shape]))
            same = all(found.weights[name].equal(weight) for name, weight in whole[shape].weights.items())
            largest = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
            wrong += not (same and losses == expected and found.info["restarts"] >= 1)
            print(f"{shape:6} {killer.at:9} {found.info['restarts']:8} {found.info['steps']:5} {largest:28.1e} "
                  f"{'equal' if same else 'differ':>9} {found.seconds:8.0f}", flush=True)  # fmt: skip
    print(f"{options.runs - wrong} of {options.runs} ended with the losses and weights of an undisturbed run")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
