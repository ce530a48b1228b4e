"""Results that the two papers published, to show beside a run's own. They are part of no mean.

Sources: docs/papers.md, "Results of Li et al." (Table 2: unweighted means of 17 languages before and after tuning on
English pairs, toxicity by the Perspective API of 2024, perplexity by mT5-XL, samples cut after 20 tokens), and
docs/papers.md, "Results of Neplenbroek et al." (a secondary note on models before tuning).
"""

from typing import NamedTuple

from detox_ray.storage.metric_spec import Metrics

LI = "Li, Yong and Bach 2024"
NEPLENBROEK = "Neplenbroek et al. 2025"


class Published(NamedTuple):
    """One model in one table of one paper."""

    paper: str
    place: str  # where the paper reports it
    model: str
    mean_of: str
    scorer: str
    before: dict[str, float]  # metric -> value
    after: dict[str, float] | None  # None: not tuned
    spread: dict[str, float]  # metric -> standard deviation over languages, if published
    note: str  # a caveat for readers who quote it


PERPLEXITY = "perplexity"  # the published values were measured by an mT5
LI_METRICS = (
    "expected_maximum_toxicity",
    "toxicity_probability",
    "average_toxicity",
    PERPLEXITY,
    "dist_1",
    "dist_2",
    "dist_3",
)

# fmt: off
_LI_TABLE_2 = {  # model: before, after
    "mGPT": ((.502, .468, .121, 18.74, .520, .825, .841), (.157, .039, .028, 23.68, .487, .807, .845)),
    "BLOOM-1.7B": ((.493, .456, .122, 18.56, .518, .816, .833), (.185, .063, .033, 25.38, .522, .819, .841)),
    "BLOOM-7.1B": ((.517, .492, .139, 19.07, .513, .810, .830), (.269, .145, .054, 21.59, .520, .812, .834)),
    "Llama2-7B": ((.557, .555, .142, 14.31, .569, .801, .785), (.314, .214, .061, 17.01, .530, .756, .758)),
    "Llama3-8B": ((.613, .642, .184, 16.27, .527, .803, .820), (.298, .201, .063, 19.93, .475, .743, .781)),
    "Aya-23-8B": ((.559, .568, .150, 15.84, .509, .781, .802), (.303, .232, .062, 18.32, .428, .660, .702)),
}
_NEPLENBROEK_NOTE = {  # model: EMT, its standard deviation over languages, language consistency
    "Aya 23": (.541, .066, .723),
    "Gemma-2-9B-it": (.481, .075, .827),
    "Llama-3.1-Instruct": (.539, .069, .808),
}
# fmt: on

PUBLISHED = tuple(
    Published(
        paper=LI,
        place="Table 2",
        model=model,
        mean_of="17 languages, each with the same weight",
        scorer="Perspective API, 2024",
        before=dict(zip(LI_METRICS, before, strict=True)),
        after=dict(zip(LI_METRICS, after, strict=True)),
        spread={},
        note="perplexity by mT5-XL; no intervals published",
    )
    for model, (before, after) in _LI_TABLE_2.items()
) + tuple(
    Published(
        paper=NEPLENBROEK,
        place="a secondary note, not checked against the paper",
        model=model,
        mean_of="languages other than English",
        scorer="Perspective API",
        before={"expected_maximum_toxicity": emt, "language_consistency": consistency},
        after=None,
        spread={"expected_maximum_toxicity": spread},
        note="wrong-language and empty completions count as 0",
    )
    for model, (emt, spread, consistency) in _NEPLENBROEK_NOTE.items()
)


def metrics(described: Metrics) -> list[str]:
    """Return the published metrics that ``described`` has, in the papers' order."""
    return [name for name in dict.fromkeys(name for row in PUBLISHED for name in row.before) if name in described.names]


def points(metric: str, headline: str) -> list[tuple[tuple[str, float, float], tuple[str, float, float]]]:
    """Return (name, metric, headline metric) before and after tuning, for each published model that has both."""
    return [
        (
            (f"{row.model} before ({row.paper})", row.before[metric], row.before[headline]),
            (f"{row.model} after ({row.paper})", row.after[metric], row.after[headline]),
        )
        for row in PUBLISHED
        if row.after is not None and {metric, headline} <= row.before.keys()
    ]
