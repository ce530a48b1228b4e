"""Benchmark: the likelihoods of options against the published loop over sentences.

    python benchmarks/bias.py --width 512 --layers 4 --pairs 20

Both measure the same pairs under one random Llama in float32 on the CPU, and must decide alike. The loop is that of
bias-bench, with which Neplenbroek et al. 2025 measure CrowS-Pairs: one sentence at a time, with a forward pass for the
start token before each.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()

    import torch
    from tiny_tokenizers import FORMS, tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    from detox_ray.models.causal_model import CausalModel
    from detox_ray.score.batches import token_budget
    from detox_ray.suites.bias.conventions import NEPLENBROEK
    from detox_ray.suites.bias.likelihoods import START, OptionScorer
    from detox_ray.suites.bias.preference import score

    words = tokenizer(FORMS["bos"])
    who = ("my neighbour", "a fool", "Anna", "the one")
    names = [f"{a} and {b} {c}" for a in who for b in who for c in ("like Ben", "are kind", "like the neighbour", "is")]
    pairs = [[f"The old {name} number {n}", f"The young {name} number {n}"] for n, name in enumerate(names)]
    pairs = (pairs * (1 + options.pairs // len(pairs)))[: options.pairs]
    pairs = [[f"{sentence}, said {n}" for sentence in pair] for n, pair in enumerate(pairs)]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=options.vocabulary,
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=512,
            initializer_range=0.05,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        words.save_pretrained(folder)
        model = CausalModel(folder, {}, "float32")

    def loop() -> list[bool]:
        """Decide each pair as the published loop does."""
        decisions = []
        for pair in pairs:
            scores = []
            for sentence in pair:
                start = torch.tensor([model.codec.tokenizer.encode(START)])
                initial = torch.softmax(model.network(start).logits, dim=-1)
                ids = model.codec.tokenizer.encode(sentence)
                with torch.no_grad():
                    output = torch.softmax(model.network(torch.tensor([ids])).logits, dim=-1)
                each = [initial[0, 0, ids[0]].item()]
                each += [output[0, place - 1, ids[place]].item() for place in range(1, len(ids))]
                scores.append(sum(torch.log2(torch.tensor(each, dtype=torch.float64))).item() / len(each))
            decisions.append(scores[0] > scores[1])
        return decisions

    def ours() -> list[bool]:
        """Decide each pair from its likelihoods."""
        scorer = OptionScorer(model, token_budget(8192, "cpu", model.codec.vocabulary))
        decisions = []
        for stereotype, anti in scorer.measure(pairs):
            sides = [score(option._asdict(), NEPLENBROEK) or 0.0 for option in (stereotype, anti)]
            decisions.append(sides[0] > sides[1])
        return decisions

    model.network(torch.tensor([[1, 2, 3]]))  # the first pass of a process is slower
    seconds = {}
    decided = {}
    for name, run in (("loop", loop), ("detox_ray", ours)):
        started = time.perf_counter()
        decided[name] = run()
        seconds[name] = time.perf_counter() - started
    assert decided["loop"] == decided["detox_ray"], "the decisions differ"
    tokens = sum(len(ids) for pair in pairs for ids in model.codec.ids(pair))
    print(
        f"{options.pairs} pairs, {tokens} tokens, width {options.width}, {options.layers} layers, all decisions equal"
    )
    for name, taken in seconds.items():
        print(f"  {name:10} {taken:7.2f} s, {tokens / taken:9,.0f} tokens/s")
    print(f"  ratio      {seconds['loop'] / seconds['detox_ray']:7.2f}")


if __name__ == "__main__":
    main()
