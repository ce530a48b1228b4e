"""Texts per second of our Detoxify scorer against Detoxify.predict, on the same texts, checkpoint and machine.

    python benchmarks/scoring.py                          5,000 texts, tiny and base-sized XLM-R, slices of 64
    python benchmarks/scoring.py --texts 300 --sizes tiny --int8
    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/scoring.py --texts 100 --sizes small base --int8 --no-baseline
                                                          what one core does, without the baseline

Baselines, as the package is used: `predict` on consecutive slices of the list (it does not batch by itself; on the
whole list at once it would take tens of GB), and on one text at a time. Weights are random and made on the spot in
Detoxify's checkpoint format: time depends on shapes, not on weights. The vocabulary is small (a lookup costs the same
in a large one). Lengths in tokens are log-normal, mean about 40, a few above 300, in random order.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

MU, SIGMA = 3.19, 1.0  # of log(tokens): mean 40, median 24, one text in 170 above 300
LONGEST = 510  # words: Detoxify.predict as it is fails beyond what the model takes
WORDS = 8000
CLASSES = ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit"]
# width, layers, heads; "small" is that of Multilingual-MiniLM-L12-H384, "base" that of XLM-R base
SIZES = {"tiny": (64, 2, 4), "small": (384, 12, 12), "base": (768, 12, 12)}


def words(rng: random.Random) -> list[str]:
    """Distinct ones, of two to four syllables; each is one token."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    found: dict[str, None] = {}
    while len(found) < WORDS:
        found["".join(rng.choices(syllables, k=rng.randint(2, 4)))] = None
    return list(found)


def make_texts(rng: random.Random, vocabulary: Sequence[str], count: int) -> list[str]:
    """Words by Zipf's law, as many as a log-normal variable says."""
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    lengths = [min(LONGEST, max(1, round(rng.lognormvariate(MU, SIGMA)))) for _ in range(count)]
    return [" ".join(rng.choices(vocabulary, weights, k=length)) for length in lengths]


def build(folder: Path, vocabulary: Sequence[str], size: str) -> Path:
    """A random model in Detoxify's format; returns its checkpoint."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizer

    pieces: list[tuple[str, float]] = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", -8.0) for word in vocabulary]
    pieces += [(letter, -12.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    tokenizer = XLMRobertaTokenizer(vocab=[*pieces, ("<mask>", 0.0)], model_max_length=512)
    width, layers, heads = SIZES[size]
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(CLASSES)),
        initializer_range=2 / width,  # so that scores differ between texts, and int8 stays near them
    )
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    arguments = {
        "model_type": str(folder),
        "model_name": "XLMRobertaForSequenceClassification",
        "tokenizer_name": "XLMRobertaTokenizer",
        "num_classes": len(CLASSES),
    }
    checkpoint = folder / "checkpoint.ckpt"
    content = {"config": {"arch": {"args": arguments}, "dataset": {"args": {"classes": CLASSES}}}}
    torch.save({**content, "state_dict": model.state_dict()}, checkpoint)
    return checkpoint


def predict(model: Any, slice_size: int, texts: Sequence[str]) -> list[dict[str, float]]:
    """Detoxify.predict on consecutive slices."""
    rows: list[dict[str, float]] = []
    for begin in range(0, len(texts), slice_size):
        part = list(texts[begin : begin + slice_size])
        columns = model.predict(part)
        if len(part) == 1:
            columns = {name: [value] for name, value in columns.items()}
        rows += [{name: columns[name][row] for name in CLASSES} for row in range(len(part))]
    return rows


class Seconds(NamedTuple):
    """The time that something took. On a machine that others use, the process's CPU seconds say more."""

    wall: float
    cpu: float


def timed(work: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> tuple[Seconds, Any]:
    """Seconds over all texts, after a warm-up."""
    work(texts[:8])
    started, cpu = time.perf_counter(), time.process_time()
    result = work(texts)
    return Seconds(time.perf_counter() - started, time.process_time() - cpu), result


def largest_difference(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Over all texts and attributes."""
    return max(abs(a[name] - b[name]) for a, b in zip(one, other, strict=True) for name in CLASSES)


def measure(size: str, texts: Sequence[str], vocabulary: Sequence[str], options: argparse.Namespace) -> None:
    """Print one size's lines."""
    import torch
    from detoxify import Detoxify

    from detox_ray.score.detoxify_scorer import DetoxifyScorer

    def line(name: str, seconds: Seconds, note: str = "") -> None:
        rates = f"{len(texts) / seconds.wall:10.1f} texts/s {len(texts) / seconds.cpu:10.1f} per CPU second"
        print(f"{size:5} {name:42} {rates}  {seconds.wall:8.1f} s  {note}", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = build(Path(scratch), vocabulary, size)
        scorer = DetoxifyScorer(size, checkpoint, Path(scratch), options.batch_tokens)
        ours, scores = timed(lambda some: scorer.score(some, "en"), texts)
        line("ours", ours)
        model = Detoxify(checkpoint=str(checkpoint), huggingface_config_path=scratch, device=scorer._model.device)
        slices = dict.fromkeys([options.slice, *([] if options.no_single else [1])])
        for slice_size in () if options.no_baseline else slices:
            seconds, theirs = timed(partial(predict, model, slice_size), texts)
            named = "one text at a time" if slice_size == 1 else f"slices of {slice_size}"
            same = f"largest score difference {largest_difference(scores, theirs):.1e}"
            line(f"Detoxify.predict, {named}", seconds, f"ours is {seconds.wall / ours.wall:.1f}x; {same}")
        if options.int8:
            from detox_ray.models.padding import padding_of
            from detox_ray.score import onnx_int8
            from detox_ray.score.batches import CPU_TOKENS, BatchedClassifier
            from detox_ray.score.label_mapping import Output

            network = model.model.float().cpu().eval()
            key = f"benchmark {size} {WORDS} {network.config.initializer_range}"
            padding = padding_of(network)
            made = onnx_int8.quantize(network, model.tokenizer, 512, padding, key, torch.sigmoid)
            outputs = {name: Output((column,)) for column, name in enumerate(CLASSES)}
            int8 = BatchedClassifier(model.tokenizer, 512, made.forward, outputs, padding, CPU_TOKENS)
            seconds, quantised = timed(int8.score, texts)
            far = largest_difference(scores, quantised)
            faster = f"{ours.wall / seconds.wall:.1f}x ours"
            note = f"{faster}; largest score difference {far:.1e}; when loaded: {made.agreement}"
            line("ours, onnx-int8 (not the same scores)", seconds, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["tiny", "base"])
    parser.add_argument("--slice", type=int, default=64, help="texts per call of the baseline")
    parser.add_argument("--batch-tokens", type=int, default=None, help="ours, at most; default: the configuration's")
    parser.add_argument("--no-single", action="store_true", help="without the baseline of one text at a time")
    parser.add_argument("--no-baseline", action="store_true", help="ours only")
    parser.add_argument("--int8", action="store_true", help="also ONNX int8 (CPU only), with its agreement")
    options = parser.parse_args()

    import torch

    from detox_ray.config import ScoreConfig
    from detox_ray.run.manifest import hardware

    options.batch_tokens = options.batch_tokens or ScoreConfig.model_fields["batch_tokens"].default
    rng = random.Random(0)
    vocabulary = words(rng)
    texts = make_texts(rng, vocabulary, options.texts)
    lengths = sorted(len(text.split()) + 2 for text in texts)
    on = torch.cuda.get_device_name() if torch.cuda.is_available() else hardware()["cpu"]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "detoxify"))
    print(f"{on}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads; {versions}")
    print(
        f"{len(texts)} texts, tokens: mean {sum(lengths) / len(lengths):.0f}, median {lengths[len(lengths) // 2]}, "
        f"longest {lengths[-1]}, {sum(length > 300 for length in lengths)} above 300"
    )
    for size in options.sizes:
        measure(size, texts, vocabulary, options)


if __name__ == "__main__":
    main()
