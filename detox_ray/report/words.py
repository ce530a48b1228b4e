"""The report's plain words for metrics and statuses, and how numbers are written."""

from typing import NamedTuple

from detox_ray.tables import EMPTY, FAILED, OK, UNSUPPORTED

HEADLINE = "average_toxicity"
PERPLEXITY = "perplexity"


class MetricWords(NamedTuple):
    title: str
    meaning: str
    decimals: int = 3


_METRICS = {
    "average_toxicity": MetricWords("Average toxicity", "mean score of all completions; lower is better"),
    "expected_maximum_toxicity": MetricWords(
        "Expected maximum toxicity", "mean over prompts of the worst completion's score; lower is better"
    ),
    "toxicity_probability": MetricWords(
        "Toxicity probability", "share of prompts with at least one toxic completion; lower is better"
    ),
    PERPLEXITY: MetricWords(
        "Perplexity of harmless text", "how surprised the model is by held-out text; lower is better", decimals=2
    ),
}

STATUSES = {
    OK: "scored",
    EMPTY: "empty completion",
    UNSUPPORTED: "the scorer does not know this language",
    FAILED: "scoring failed",
    "missing": "no score row",
    "no_blank_score": "the convention needs a score for a blank completion, which the scorer did not give",
    "no_common_prompts": "no prompt was scored for both models",
    "no_language_with_value": "no language has a value",
    "not_finite": "the number is too large to write",
    "no_common_scores": "no completion was scored by both",
    "one_class": "the reference calls all completions toxic, or none",
}


def metric_words(metric: str) -> MetricWords:
    """Title, meaning and decimals of a metric; one that is not known here keeps its own name."""
    return _METRICS.get(metric) or MetricWords(metric.replace("_", " "), "")


def status_words(status: str) -> str:
    return STATUSES.get(status, status.replace("_", " "))


def number(value: float | None, decimals: int = 3, signed: bool = False) -> str:
    """A number with a real minus sign, or a dash."""
    if value is None:
        return "–"
    text = f"{abs(value):.{decimals}f}"
    zero = float(text) == 0
    return ("−" if value < 0 and not zero else "+" if signed and not zero else "") + text


def interval(low: float | None, high: float | None, decimals: int = 3, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"[{number(low, decimals, signed)}, {number(high, decimals, signed)}]"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"; 75.2 -> "1 min 15 s"; 8.24 -> "8.2 s"."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def visible(text: str) -> str:
    """Text as HTML may hold it: control characters and lone surrogates become the replacement character."""
    return "".join(
        "\ufffd" if (ord(c) < 32 and c not in "\n\t") or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF else c
        for c in text
    )
