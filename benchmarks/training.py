"""Pairs per second of the recipe `fast` against TRL's plain DPOTrainer, on the same model, pairs and machine.

    python benchmarks/training.py                         512 pairs, 3 epochs, five sides
    python benchmarks/training.py --pairs 128 --epochs 2 --sides trl fast

Sides, each in its own process: `trl` is `trl.DPOTrainer` with its defaults (batches of 8, gradient checkpointing on),
but for bfloat16, which a CPU has not, and the learning rate, at which a model with random weights would not move. The
others are ours under DeepSpeed: `neither` is TRL's way without gradient checkpointing, `reference` only caches the
reference's log-probabilities, `grouping` only computes pairs of like length together, `fast` does both.

Seconds are those of `train()`, to which those of the reference pass are added. All sides see the same pairs in the same
steps, so their losses must agree: the largest difference over all steps is held against a tolerance for float32 sums
taken in another order. Pairs are drawn: prompts are log-normal with median 16 words and sigma 0.6, completions
log-normal with median 32 and sigma 0.8, where a pair shares half of the variance, all cut so that 256 tokens hold a
pair; words by Zipf's law, other ones in chosen than in rejected completions, so that there is something to learn.
"""

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from detox_ray.storage.tables import REFERENCE_LOGPS

SIDES = ("trl", "neither", "reference", "grouping", "fast")
BATCH, MAX_LENGTH, SEED = 8, 256, 42
WORDS = 2000
END = "<end>"
TOLERANCE = 1e-3  # of a step's loss
CURVE_ROWS = 12


def make_pairs(count: int) -> list[dict[str, str]]:
    """See above."""
    draw = random.Random(0)
    half = WORDS // 2
    weights = [1 / rank for rank in range(1, half + 1)]

    def text(first: int, length: int) -> str:
        return " ".join(f"w{first + word}" for word in draw.choices(range(half), weights, k=length))

    pairs = []
    for index in range(count):
        shared = draw.gauss(0, 0.8)
        prompt = min(100, max(1, round(math.exp(math.log(16) + draw.gauss(0, 0.6)))))
        lengths = [
            min(MAX_LENGTH - 1 - prompt, max(1, round(32 * math.exp(math.sqrt(0.5) * (shared + draw.gauss(0, 0.8))))))
            for _ in range(2)
        ]
        chosen, rejected = (" " + text(first, length) for first, length in zip((0, half), lengths, strict=True))
        first = draw.choice((0, half))
        pairs.append(
            {
                "pair_id": f"p{index:05d}",
                "prompt": text(first, prompt),
                "chosen": chosen,
                "rejected": rejected,
                "language": "en",
            }
        )
    return pairs


def build_model(folder: Path, width: int, layers: int) -> None:
    """A Llama with random weights; a word is a token."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {f"w{word}": word for word in range(WORDS)} | {END: WORDS}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(wrapped),
        hidden_size=width,
        intermediate_size=8 * width // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=MAX_LENGTH,
        eos_token_id=WORDS,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)


class Counting:
    """A collator that counts tokens: real ones, and with padding."""

    def __init__(self, inner: Any):
        self._inner, self.real, self.padded = inner, 0, 0

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self._inner(rows)
        self.real += int(batch["attention_mask"].sum())
        self.padded += batch["attention_mask"].numel()
        return batch


def plain_trainer(folder: Path, options: argparse.Namespace) -> Any:
    """TRL's, with its defaults."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    pairs = json.loads((folder / "pairs.json").read_text())
    rows = [{name: pair[name] for name in ("prompt", "chosen", "rejected")} for pair in pairs]
    arguments = DPOConfig(
        output_dir=str(folder / "trl"),
        learning_rate=options.learning_rate,
        num_train_epochs=options.epochs,
        seed=SEED,
        data_seed=SEED,
        bf16=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    return DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "model"),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder / "model"),
    )


def our_trainer(folder: Path, side: str, options: argparse.Namespace) -> Any:
    """The trainer that a worker of a run would have, alone."""
    import pyarrow as pa
    import torch
    from transformers import AutoTokenizer

    from detox_ray.config import TrainConfig
    from detox_ray.models import resolve_path
    from detox_ray.storage import Store
    from detox_ray.storage.tables import PAIRS
    from detox_ray.train import data_split, trl_trainers
    from detox_ray.train.training_job import TrainingJob, TrainWorker

    config = TrainConfig(
        parent="base",
        recipe="fast",
        reference="cached" if side in ("reference", "fast") else "live",
        batching="length-grouped" if side in ("grouping", "fast") else "padded",
        optimizer="adamw",
        scheduler="linear",
        warmup_steps=0,
        max_grad_norm=1.0,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch_size=BATCH,
        max_length=MAX_LENGTH,
        validation_fraction=0,
        data_fraction=1,
        checkpoint_every=10**6,
        deepspeed="zero2",
    )
    store, unit = Store.at(str(folder / side)), PAIRS.unit()
    rows = pa.Table.from_pylist(json.loads((folder / "pairs.json").read_text()), schema=PAIRS.columns)
    store.commit(unit, "0", rows)
    parent = resolve_path("base", str(folder / "model"), None, "auto")
    job = TrainingJob(side, "0", config, parent, (unit, "0"), SEED, store, gpu=torch.cuda.is_available())
    torch.distributed.init_process_group(
        "nccl" if job.gpu else "gloo", init_method=f"file://{folder}/{side}-group", rank=0, world_size=1
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.pad_token = tokenizer.eos_token
    split = data_split.split(rows, tokenizer, config, 1, "train")
    # TRL takes the rows in the order of the table; ours come shuffled by split_seed.
    split = split._replace(train=sorted(split.train, key=lambda row: row["pair_id"]))
    trainer = trl_trainers.trainer(job, TrainWorker(0, 0, 1), str(folder / "model"), tokenizer, split, [])
    trainer.reference_seconds = sum(
        store.info(unit, key)["seconds"] for unit, key in store.committed(REFERENCE_LOGPS).items()
    )
    return trainer


def run_side(folder: Path, side: str, options: argparse.Namespace) -> None:
    """Train, and leave the numbers in the folder."""
    import torch

    from detox_ray.train import deepspeed_cpu

    os.environ["TQDM_DISABLE"] = "1"
    if side != "trl":
        os.environ |= {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
        }
        if not torch.cuda.is_available():
            deepspeed_cpu.before_imports()
    import transformers
    from transformers.trainer_callback import PrinterCallback

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    before = memory()
    trainer = plain_trainer(folder, options) if side == "trl" else our_trainer(folder, side, options)
    trainer.remove_callback(PrinterCallback)
    trainer.args.logging_steps = 1
    trainer.data_collator = counting = Counting(trainer.data_collator)
    started, processor = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    log = [row for row in trainer.state.log_history if "loss" in row]
    numbers = {
        "seconds": seconds + getattr(trainer, "reference_seconds", 0.0),
        "processor_seconds": processor,
        "reference_seconds": getattr(trainer, "reference_seconds", 0.0),
        "pairs": len(trainer.train_dataset) * options.epochs,
        "real": counting.real,
        "padded": counting.padded,
        "memory": memory() - before,
        "groups": trainer.args.gradient_accumulation_steps,
        "losses": [row["loss"] for row in log],
        "checkpointing": trainer.args.gradient_checkpointing,
    }
    (folder / f"{side}.json").write_text(json.dumps(numbers))


def memory() -> float:
    """Peak so far, GB: the GPU's, or this process's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(numbers: dict[str, dict[str, Any]]) -> None:
    """The table, and the curves of the first side against each of the others."""
    print(
        f"{'':10} {'pairs/s':>8} {'tokens/s':>9} {'padding':>8} {'memory':>8} "
        f"{'seconds':>8} {'reference':>9} {'CPU':>8}"
    )
    first, *others = numbers
    for side, one in numbers.items():
        faster = numbers[first]["seconds"] / one["seconds"]
        print(
            f"{side:10} {one['pairs'] / one['seconds']:8.1f} {one['real'] / one['seconds']:9.0f} "
            f"{1 - one['real'] / one['padded']:8.0%} {one['memory']:6.2f}GB {one['seconds']:8.1f}  "
            f"{one['reference_seconds']:8.1f} {one['processor_seconds']:8.1f}  {faster:.2f}x {first}"
            f"{', gradient checkpointing' if one['checkpointing'] else ''}"
            f"{', ' + str(one['groups']) + ' groups a step' if one['groups'] > 1 else ''}"
        )
    print("tokens/s: without padding; memory: peak above what the process held before the model was loaded; reference:")
    print(
        "seconds of its pass, in the seconds; CPU: processor seconds of train(), which other processes do not disturb"
    )
    curves = {side: one["losses"] for side, one in numbers.items()}
    steps = len(curves[first])
    print(f"\nloss, mean of the steps up to{'':2}" + "".join(f"{side:>11}" for side in curves))
    for row in range(CURVE_ROWS):
        begin, end = row * steps // CURVE_ROWS, (row + 1) * steps // CURVE_ROWS
        if begin < end:
            means = (sum(curve[begin:end]) / (end - begin) for curve in curves.values())
            print(f"{end:>29}  " + "".join(f"{mean:11.6f}" for mean in means))
    for side in others:
        assert len(curves[side]) == steps, f"{side} took {len(curves[side])} steps, {first} {steps}"
        far = max(abs(one - other) for one, other in zip(curves[first], curves[side], strict=True))
        verdict = "equal" if far <= TOLERANCE else "NOT EQUAL"
        print(
            f"{side}: largest difference of a step's loss from {first}: {far:.1e} (tolerance {TOLERANCE:g}: {verdict})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="the first is compared with")
    parser.add_argument("--run", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_side(Path(options.run[1]), options.run[0], options)
        return
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "trl", "deepspeed"))
    from detox_ray.run.manifest import hardware

    print(f"{hardware()['cpu']}, {os.cpu_count()} CPUs, {options.threads} threads; {versions}")
    pairs = make_pairs(options.pairs)
    lengths = sorted(
        len(pair["prompt"].split()) + max(len(pair[side].split()) for side in ("chosen", "rejected")) + 1
        for pair in pairs
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pairs.json").write_text(json.dumps(pairs))
        build_model(folder / "model", options.width, options.layers)
        print(
            f"{len(pairs)} pairs, tokens: mean {sum(lengths) / len(lengths):.0f}, median {lengths[len(lengths) // 2]}, "
            f"longest {lengths[-1]}; {options.epochs} epochs in steps of {BATCH}; Llama of width {options.width}, "
            f"{options.layers} layers, {WORDS} words",
            flush=True,
        )
        numbers = {}
        for side in options.sides:
            subprocess.run(
                [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--run", side, scratch],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            numbers[side] = json.loads((folder / f"{side}.json").read_text())
    report(numbers)


if __name__ == "__main__":
    main()
