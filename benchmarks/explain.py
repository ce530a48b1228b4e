"""Benchmark: the parts of the explain stage against the method of the papers' scripts, in one run.

- collection: mean activations of chosen neurons over a greedy generation. Baseline: a full forward pass for every step,
  without a KV cache, in batches of 10, of whose hooks each value goes through a Python list; 36 neurons.
- probe: 20 epochs of a linear head. Baseline: the frozen language model runs on every batch of every epoch.
- predictors: aligned cosines of all languages with English. Baseline: four batches of sentences, for each of which the
  model is loaded and English is encoded again with each language.

The model is a random Llama of ``--layers`` layers; toy17's tokenizer and sentences are used. A baseline runs on part of
the work if ``--share`` is below 1, and its time is divided by it: what it does grows linearly.

    python benchmarks/explain.py
    python benchmarks/explain.py --layers 2 --prompts 20 --epochs 2
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from detox_ray.config.explain import ParallelConfig
from detox_ray.explain.alignment import alignment
from detox_ray.explain.continuation import greedy
from detox_ray.explain.parallel import parallel_sentences
from detox_ray.explain.probe import ReferenceTraining, fit
from detox_ray.explain.reading import Row, read
from detox_ray.explain.states import pooled
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.mlp import Mlps
from detox_ray.toy17.model import build_tokenizer
from detox_ray.toy17.world_size import WorldSize

NEW_TOKENS, BATCH, NEURONS = 20, 10, 36
LANGUAGES = ("ar", "de", "en", "fr", "hi", "ja")
LOADING: dict[str, Any] = {"revision": None, "trust_remote_code": False}


def timed(label: str, work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.monotonic()
    result = work()
    seconds = time.monotonic() - started
    print(f"  {label:<34} {seconds:8.2f} s")
    return seconds, result


def collected(model: CausalModel, mlps: Mlps, prompts: list[list[int]], neurons: list[tuple[int, int]]) -> np.ndarray:
    """Run every step again, with hooks that keep lists, as the scripts do."""
    kept: dict[tuple[int, int], list[float]] = {neuron: [] for neuron in neurons}
    layers = sorted({layer for layer, _ in neurons})

    def hook(layer: int) -> Callable[[Any, Any], None]:
        def keep(_: Any, inputs: Any) -> None:
            for at, index in neurons:
                if at == layer:
                    kept[at, index] += inputs[0][:, -1, index].tolist()

        return keep

    handles = [mlps.downs[layer].register_forward_pre_hook(hook(layer)) for layer in layers]
    for begin in range(0, len(prompts), BATCH):
        batch = prompts[begin : begin + BATCH]
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch])
        for _ in range(NEW_TOKENS):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            with torch.no_grad():
                logits = model.network(input_ids=ids, attention_mask=mask, position_ids=positions).logits
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
            mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
    for handle in handles:
        handle.remove()
    return np.array([np.mean(kept[neuron]) for neuron in neurons])


def collection(model: CausalModel, mlps: Mlps, prompts: list[list[int]], share: float) -> float:
    rng = np.random.default_rng(0)
    drawn = rng.choice(sum(mlps.sizes), NEURONS, replace=False)
    neurons = [divmod(int(place), mlps.sizes[0]) for place in drawn]
    chosen: list[list[int]] = [[index for layer, index in neurons if layer == at] for at in range(len(mlps))]
    part = prompts[: max(BATCH, round(share * len(prompts)))]
    base, means = timed(f"full passes, {NEURONS} neurons", lambda: collected(model, mlps, part, neurons))

    def ours(which: list[list[int]]) -> Any:
        rows = [Row(p, c) for p, c in zip(which, greedy(model, which, NEW_TOKENS, after_end=True), strict=True)]
        return read(mlps, rows, chosen, 0, 8192)

    fast, _ = timed("cached, one pass, all neurons", lambda: ours(prompts))
    reading = ours(part)
    found = np.array([reading.means(layer)[index] for layer, index in neurons])
    print(f"  largest difference of a mean {np.abs(found - means).max():.1e}")
    return base * len(prompts) / len(part) / fast


def probe(model: CausalModel, mlps: Mlps, texts: list[list[int]], epochs: int, share: float) -> float:
    toxic = np.arange(len(texts)) % 2 == 0
    run = max(1, round(share * epochs))

    def reference() -> None:
        head = torch.nn.Linear(mlps.value_vectors(0).shape[1], 1, bias=False)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)
        for _ in range(run):
            for batch in torch.randperm(len(texts)).split(BATCH):
                with torch.no_grad():
                    states = torch.tensor(pooled(mlps, [texts[place] for place in batch.tolist()], 0, 10**9)[:, 0])
                labels = torch.tensor(toxic[batch.numpy()], dtype=torch.float32)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(head(states)[:, 0], labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    base, _ = timed(f"model in each of {run} epochs", reference)

    def ours() -> None:
        states = pooled(mlps, texts, 0, 8192)[:, 0]
        fit("reference", states, toxic, 0, ReferenceTraining(1e-4, epochs, BATCH))

    fast, _ = timed(f"states kept, {epochs} epochs", ours)
    return base * epochs / run / fast


def predictors(path: str, model: CausalModel, mlps: Mlps, sentences: dict[str, list[str]], share: float) -> float:
    ids = {language: model.codec.ids(lines) for language, lines in sentences.items()}
    others = [language for language in sentences if language != "en"]
    quarter = len(ids["en"]) // 4
    batches = max(1, round(4 * share))

    def reference() -> None:
        for batch in range(batches):
            part = slice(batch * quarter, (batch + 1) * quarter)
            for language in others:
                loaded = CausalModel(path, LOADING, "auto")
                states = []
                for rows in (ids["en"][part], ids[language][part]):
                    for row in rows:
                        hidden = loaded.network(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states
                        states.append(torch.stack([layer[0].mean(0) for layer in hidden]))

    with torch.no_grad():
        base, _ = timed(f"loaded for each language, {batches} of 4", reference)

    def ours() -> None:
        english = pooled(mlps, ids["en"], 0, 8192, layer="all")
        for language in others:
            alignment(english, pooled(mlps, ids[language], 0, 8192, layer="all"))

    fast, _ = timed("loaded once, English once", ours)
    return base * 4 / batches / fast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.25, help="part of the baselines' work that is timed")
    args = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WorldSize())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.width,
        intermediate_size=4 * args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model = CausalModel(folder, LOADING, "auto")
        mlps = Mlps(model.network)
        chosen = ParallelConfig(source="toy17", sentences=max(args.sentences, args.prompts, args.texts))
        sentences = parallel_sentences(chosen, LANGUAGES, 0)
        ids = model.codec.ids(sentences["en"])
        print(f"{args.layers} layers, width {args.width}, {torch.get_num_threads()} threads; {Path(folder).name}")
        print("collection")
        ratios = {"collection": collection(model, mlps, ids[: args.prompts], args.share)}
        print("probe")
        ratios["probe"] = probe(model, mlps, ids[: args.texts], args.epochs, args.share)
        print("predictors")
        shorter = {language: lines[: args.sentences] for language, lines in sentences.items()}
        ratios["predictors"] = predictors(folder, model, mlps, shorter, args.share)
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f} times the baseline's speed")


if __name__ == "__main__":
    main()
