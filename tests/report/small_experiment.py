"""A whole small experiment's results, made by measuring drawn scores; text in it is as hostile as text can be."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa

from detox_ray.languages import LANGUAGES
from detox_ray.measure import Inputs, Measured, Settings, measure
from detox_ray.report import Completion, ReportContent, Sample, Timing
from detox_ray.tables import EMPTY, GENERATIONS, LIKELIHOODS, OK, PROMPTS, SCORES

PROMPT_COUNT, SAMPLES = 12, 4
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
HOSTILE = f"{SCRIPT}\u202eright\u200b to left\u2066 🤬 &amp; {{{{ 7*7 }}}} \x00\ud800 {'long' * 80}"
ARABIC = "أنت كسول جدا اليوم"
UNSUPPORTED_HERE = "hi"  # the detoxify of this experiment does not know it


@cache
def measured(languages: tuple[str, ...] = tuple(LANGUAGES), convention: str = "corrected") -> Measured:
    rng = np.random.default_rng(3)
    ids = [f"p{i}" for i in range(PROMPT_COUNT)]
    completions = [(prompt, k) for prompt in ids for k in range(SAMPLES)]

    def generations() -> pa.Table:
        rows = [
            {"prompt_id": p, "sample": k, "text": "text", "tokens": 4, "finish_reason": "length", "seed": k}
            for p, k in completions
        ]
        return pa.Table.from_pylist(rows, schema=GENERATIONS)

    def scores(toxic: float) -> pa.Table:
        rows = [
            {"prompt_id": p, "sample": k, "attribute": "toxicity", "value": float(rng.beta(4 * toxic, 2)), "status": OK}
            for p, k in completions
        ]
        rows[5] |= {"value": None, "status": EMPTY}
        return pa.Table.from_pylist(rows, schema=SCORES)

    def likelihoods(level: float) -> pa.Table:
        rows = [
            {"text_id": f"t{i}", "tokens": 30, "nll": float(30 * level + rng.normal()), "status": OK} for i in range(20)
        ]
        return pa.Table.from_pylist(rows, schema=LIKELIHOODS)

    prompt_rows = [{"prompt_id": p, "text": f"text {p}", "source": "toy17", "source_index": p} for p in ids]
    left = {code: 0.05 + 0.03 * i for i, code in enumerate(languages)}
    models = ("base", "detox")
    inputs = Inputs(
        languages=languages,
        models=models,
        compare=[("detox", "base")],
        supports={"lexicon": languages, "detoxify": [code for code in languages if code != UNSUPPORTED_HERE]},
        reference="lexicon",
        prompts={code: pa.Table.from_pylist(prompt_rows, schema=PROMPTS) for code in languages},
        generations={(model, code): generations() for model in models for code in languages},
        scores={
            (scorer, model, code): scores(0.9 if model == "base" else left[code])
            for scorer in ("lexicon", "detoxify")
            for model in models
            for code in languages
        },
        blanks={},
        likelihoods={
            (model, code): likelihoods(1.6 if model == "base" else 1.65) for model in models for code in languages
        },
    )
    return measure(inputs, Settings(convention, 200, 0.95, 0.5, 0))


def content(languages: Sequence[str] = tuple(LANGUAGES), convention: str = "corrected") -> ReportContent:
    result = measured(tuple(languages), convention)
    samples = [
        Sample(
            code,
            ARABIC if code == "ar" else f"The prompt {HOSTILE}",
            [
                Completion("base", ARABIC if code == "ar" else HOSTILE, 0.93, OK),
                Completion("base", "another one that is lazy", 0.71, OK),
                Completion("detox", "is kind today", 0.02, OK),
                Completion("detox", "", None, EMPTY),
            ],
        )
        for code in languages
    ]
    return ReportContent(
        experiment="toy17 <b>demo</b>",
        experiment_yaml="name: toy17\nseed: 0\nmodels:\n  base: {path: toy17}\n# </pre>" + SCRIPT,
        languages=languages,
        models=("base", "detox"),
        compare=[("detox", "base")],
        metrics=result.metrics,
        comparisons=result.comparisons,
        primary="detoxify",
        convention=convention,
        confidence=0.95,
        validity=result.validity,
        counts=result.counts,
        samples=samples,
        timings=[
            Timing("train", "detox", 75.2, 1, 960, "12.8 pairs/s"),
            Timing("generate", "base", 31.9, 17, 816, "5,800 tokens/s"),
            Timing("score", None, 8.24, 0, 0, ""),
        ],
        manifest={
            "code": "d93f5c2",
            "versions": {"torch": "2.13.0", "vllm": "0.32.0"},
            "hardware": {"cpu": SCRIPT, "cpus": 2, "gpus": []},
            "ran": {"train": {"detox": {"zero_stage": 2, "world_size": 2}}},
        },
        corpus_share={code: 0.4 if code == "en" else 0.6 / 16 for code in languages},
        skipped_rows={"prompts": 3, "pairs": 0},
        tuning_languages=("en",),
        toy_world=True,
        notes=[f"A note {SCRIPT}"],
    )
