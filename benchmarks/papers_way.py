"""The steps of the papers' way of evaluating, each a process of its own, as benchmarks/chain.py runs them.

    python benchmarks/papers_way.py STEP FOLDER OUT [--model NAME] [--languages en,de] [--samples 10] [--engine default]

Facts are those of docs/papers.md: "Sampling in both papers", "Toxicity metrics of Li et al.", "Fluency of Li et al.",
"Diversity of Li et al.". No code is theirs. FOLDER holds the models, the classifier, the prompts and the texts; a step
writes its files into OUT.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODELS = ("base", "noisy")  # the first one is the evaluator of fluency, too
TEMPERATURE, TOP_P, MAX_TOKENS, CONTEXT, KV_CACHE_GB = 0.9, 0.8, 20, 512, 1
GENERATED, BARE = "generations", "bare"


def engine(path: Path, flags: str) -> Any:
    """Start a `vllm.LLM`, with vLLM's defaults or with the flags of our engine."""
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(KV_CACHE_GB)  # by default 92 % of the memory
    if flags == "ours":
        from detox_ray.models import vllm_options

        limits = {"tensor_parallel": 1, "gpu_memory_utilization": 0.9, "cpu_kv_cache_gb": KV_CACHE_GB}
        return vllm_options.start(str(path), {"revision": None}, "float32", CONTEXT, **limits)
    from vllm import LLM

    return LLM(str(path), dtype="float32")


def complete(folder: Path, out: Path, model: str, languages: list[str], samples: int, flags: str) -> None:
    """Draw the completions of some languages, and write a file per language."""
    from vllm import SamplingParams

    llm = engine(folder / model, flags)
    sampling = SamplingParams(n=samples, temperature=TEMPERATURE, top_p=TOP_P, max_tokens=MAX_TOKENS)
    for language in languages:
        prompts = json.loads((folder / "prompts.json").read_text())[language]
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        rows = [
            {"prompt": prompt, "completions": [sample.text for sample in output.outputs]}
            for prompt, output in zip(prompts, outputs, strict=True)
        ]
        (out / f"{GENERATED}-{model}-{language}.json").write_text(json.dumps(rows))


def complete_bare(folder: Path, out: Path, model: str, languages: list[str], samples: int) -> None:
    """Draw the completions as our engine does, a language per call, and write tokens and seconds after the start."""
    llm = engine(folder / model, "ours")
    from vllm import SamplingParams

    from detox_ray.generate import prompt_seed

    started, tokens = time.perf_counter(), 0
    for language in languages:
        prompts = json.loads((folder / "prompts.json").read_text())[language]
        shared = {"n": samples, "temperature": TEMPERATURE, "top_p": TOP_P, "max_tokens": MAX_TOKENS}
        seeds = [prompt_seed(0, f"{language}-{index}") for index in range(len(prompts))]
        outputs = llm.generate(prompts, [SamplingParams(**shared, seed=seed) for seed in seeds], use_tqdm=False)
        tokens += sum(len(sample.token_ids) for output in outputs for sample in output.outputs)
    (out / f"{BARE}-{model}.json").write_text(json.dumps([tokens, time.perf_counter() - started]))


def generations(out: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield model, language, prompt and completions from the files."""
    for file in sorted(out.glob(f"{GENERATED}-*.json")):
        _, model, language = file.stem.split("-")
        for row in json.loads(file.read_text()):
            yield model, language, row["prompt"], row["completions"]


def toxicity(folder: Path, out: Path) -> Any:
    """Score completions one by one, and return expected maximum and average toxicity by model and language."""
    from detoxify import Detoxify

    os.chdir(folder / "classifier")  # where the checkpoint looks for its tokenizer
    model = Detoxify(checkpoint="detoxify.ckpt", huggingface_config_path=".")
    scores: dict[str, list[list[float]]] = {}
    for name, language, _, completions in generations(out):
        of_prompt = [float(model.predict(completion or " ")["toxicity"]) for completion in completions]
        scores.setdefault(f"{name} {language}", []).append(of_prompt)
    return {
        place: [statistics.fmean(map(max, rows)), statistics.fmean(score for row in rows for score in row)]
        for place, rows in scores.items()
    }


def likelihood(folder: Path, model: str) -> Callable[[str], tuple[float, int]]:
    """Return a function that gives a text's mean loss and its tokens, by one forward pass."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / model)
    network = AutoModelForCausalLM.from_pretrained(folder / model, dtype=torch.float32).eval()

    @torch.inference_mode()
    def loss(text: str) -> tuple[float, int]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        return float(network(input_ids=ids, labels=ids).loss), ids.shape[1]

    return loss


def fluency(folder: Path, out: Path) -> Any:
    """Return the median perplexity of completions given their prompts, by the first model."""
    loss = likelihood(folder, MODELS[0])
    values: dict[str, list[float]] = {}
    for name, language, prompt, completions in generations(out):
        for completion in filter(str.strip, completions):
            (whole, n_whole), (given, n_given) = loss(prompt + completion), loss(prompt)
            if n_whole > n_given:
                exponent = (whole * (n_whole - 1) - given * (n_given - 1)) / (n_whole - n_given)
                values.setdefault(f"{name} {language}", []).append(math.exp(min(exponent, 700)))
    return {place: statistics.median(of_place) for place, of_place in values.items()}


def held_out(folder: Path, out: Path) -> Any:
    """Return each model's perplexity of the held-out texts of each language."""
    values = {}
    for name in filter(lambda name: (folder / name).is_dir(), MODELS):
        loss = likelihood(folder, name)
        for language, texts in json.loads((folder / "texts.json").read_text()).items():
            losses = [(mean * (tokens - 1), tokens - 1) for mean, tokens in map(loss, texts) if tokens > 1]
            values[f"{name} {language}"] = math.exp(sum(nll for nll, _ in losses) / sum(count for _, count in losses))
    return values


def diversity(folder: Path, out: Path) -> Any:
    """Return dist-1, -2, -3: distinct n-grams of a prompt's completions by all of them, averaged over prompts."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / MODELS[0])
    values: dict[str, list[list[float]]] = {}
    for name, language, _, completions in generations(out):
        ngrams: list[list[str]] = [[], [], []]
        for completion in completions:
            ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
            pieces = list(filter(None, (tokenizer.decode([piece], skip_special_tokens=True) for piece in ids)))
            for size, known in enumerate(ngrams, 1):
                known += ["_".join(pieces[at : at + size]) for at in range(len(pieces) - size + 1)]
        distinct = [len(set(known)) / max(1, len(known)) for known in ngrams]
        values.setdefault(f"{name} {language}", []).append(distinct)
    return {place: [statistics.fmean(column) for column in zip(*rows, strict=True)] for place, rows in values.items()}


def language(folder: Path, out: Path) -> Any:
    """Return the share of completions that are in their prompt's language."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    right: dict[str, list[bool]] = {}
    for name, asked, _, completions in generations(out):
        right.setdefault(f"{name} {asked}", []).extend(identifier.classify(text)[0] == asked for text in completions)
    return {place: statistics.fmean(values) for place, values in right.items()}


MEASURES = {
    "toxicity": toxicity,
    "fluency": fluency,
    "held-out": held_out,
    "diversity": diversity,
    "language": language,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=(GENERATED, BARE, *MEASURES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default=MODELS[0])
    parser.add_argument("--languages", default="en", help="of completions, with commas")
    parser.add_argument("--samples", type=int, default=10, help="of each prompt")
    parser.add_argument("--engine", choices=("default", "ours"), default="default", help="flags of the engine")
    options = parser.parse_args()
    folder, out = options.folder.resolve(), options.out.resolve()
    languages = options.languages.split(",")
    if options.step == GENERATED:
        complete(folder, out, options.model, languages, options.samples, options.engine)
    elif options.step == BARE:
        complete_bare(folder, out, options.model, languages, options.samples)
    else:
        (out / f"{options.step}.json").write_text(json.dumps(MEASURES[options.step](folder, out)))


if __name__ == "__main__":
    main()
