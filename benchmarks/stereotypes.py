"""The stereotype of the built-in world before and after SFT on curated texts and on their originals, without Ray.

    python benchmarks/stereotypes.py [--steps 120] [--learning-rate 1e-3]

Prints the share of pairs whose stereotyping sentence is likelier (0.5 is fair): in English, the mean of the other
languages, and the mean distance from 0.5 of all. Training is plain PyTorch with AdamW, as configs/toy17-bias.yaml sets
it; the world is built first if it is not in the cache.
"""

import argparse
import random
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from detox_ray import toy17
from detox_ray.toy17 import stereotypes
from detox_ray.toy17.vocabulary import vocabularies

BATCH, WARMUP, SHOWN = 16, 5, (0, 30, 60, 120)


def preferences(model: Any, tokenizer: Any) -> dict[str, float]:
    """Return language -> share of pairs whose stereotyping sentence is likelier."""

    def likelihoods(texts: list[str]) -> torch.Tensor:
        rows = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            logp = model(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits[:, :-1].log_softmax(-1)
        return (logp.gather(-1, rows.input_ids[:, 1:, None])[..., 0] * rows.attention_mask[:, 1:]).sum(-1)

    shares = {}
    for code, language in vocabularies().items():
        items = stereotypes.pairs(language)
        more, less = (likelihoods([getattr(item, side) for item in items]) for side in ("more", "less"))
        shares[code] = (more > less).double().mean().item()
    return shares


def show(name: str, step: int, shares: dict[str, float]) -> None:
    others = [share for code, share in shares.items() if code != "en"]
    distance = sum(abs(share - 0.5) for share in shares.values()) / len(shares)
    print(f"{name:10} {step:5}   {shares['en']:.2f}   {sum(others) / len(others):.3f}   {distance:.3f}", flush=True)


def train(folder: Path, side: Literal["text", "original"], steps: int, rate: float) -> None:
    """Tune the world's model on one side of the curated texts, and show the shares on the way."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [getattr(text, side) + tokenizer.eos_token for text in stereotypes.curated(0, 2048)]
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=rate), random.Random(0)
    for step in range(steps + 1):
        if step in SHOWN:
            show({"text": "curated", "original": "originals"}[side], step, preferences(model, tokenizer))
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARMUP)
        rows = tokenizer(rng.sample(texts, BATCH), padding=True, return_tensors="pt")
        labels = rows.input_ids.masked_fill(rows.attention_mask == 0, -100)
        loss = model(input_ids=rows.input_ids, attention_mask=rows.attention_mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    wanted = parser.parse_args()
    folder = toy17.ensure(size=toy17.WORLDS["stereotype"]) / "model"
    print("texts       step   English   others   distance")
    train(folder, "text", wanted.steps, wanted.learning_rate)
    train(folder, "original", wanted.steps, wanted.learning_rate)


if __name__ == "__main__":
    main()
