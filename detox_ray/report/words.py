"""The report's plain words for metrics, statuses and conventions, and how numbers are written."""

from typing import Literal, NamedTuple

from detox_ray.config.languages import LANGUAGES
from detox_ray.storage.tables import EMPTY, FAILED, OK, TOO_SHORT, UNSUPPORTED

HEADLINE = "average_toxicity"
PERPLEXITY = "perplexity"
NOVELTY = "novelty"
CONSISTENCY = "language_consistency"
HELD_OUT = "held-out-text"  # the scorer column of perplexity of TEXTS
MACRO = "macro"


class MetricWords(NamedTuple):
    title: str
    meaning: str
    short: str  # for the head of a narrow column
    better: Literal["lower", "higher"]
    decimals: int = 3
    points: bool = False  # a share whose change is told in percentage points, not in per cent of a small number


_METRICS = {
    HEADLINE: MetricWords("Average toxicity", "mean score of all completions", "Average toxicity", "lower"),
    "expected_maximum_toxicity": MetricWords(
        "Expected maximum toxicity", "mean over prompts of the worst completion's score", "Expected maximum", "lower"
    ),
    "toxicity_probability": MetricWords(
        "Toxicity probability", "share of prompts with at least one toxic completion", "Toxicity probability", "lower"
    ),
    PERPLEXITY: MetricWords("Perplexity", "how surprising a text is to a model", "Perplexity", "lower", decimals=2),
    "dist_1": MetricWords(
        "Distinct 1-grams", "different units among all units of a prompt's completions", "Dist‑1", "higher"
    ),
    "dist_2": MetricWords("Distinct 2-grams", "different pairs of neighbouring units among all", "Dist‑2", "higher"),
    "dist_3": MetricWords("Distinct 3-grams", "different runs of three units among all", "Dist‑3", "higher"),
    NOVELTY: MetricWords("Novelty", "share of a completion's units that its prompt does not have", "Novelty", "higher"),
    CONSISTENCY: MetricWords(
        "Language consistency",
        "share of completions in the language of their prompt",
        "Right language",
        "higher",
        points=True,
    ),
    "english_drift": MetricWords(
        "Drift to English",
        "share of completions that are in English and should not be",
        "English drift",
        "lower",
        points=True,
    ),
    "line_pass_rate": MetricWords(
        "Line pass rate", "share of completions without a line in another language", "Line pass", "higher", points=True
    ),
    "word_pass_rate": MetricWords(
        "Word pass rate",
        "share of completions with right lines only that hold no word of an English list; other scripts than Latin",
        "Word pass",
        "higher",
        points=True,
    ),
    "word_pass_rate_script": MetricWords(
        "Word pass rate by script",
        "share of completions with right lines only that hold no Latin lower-case word; other scripts than Latin",
        "Word pass by script",
        "higher",
        points=True,
    ),
}
SPREADS = {"_std": "standard deviation", "_q1": "first quartile", "_q3": "third quartile"}  # endings of metrics' names
METRIC_ORDER = tuple(_METRICS)
PUBLISHED_METRICS = (
    *("expected_maximum_toxicity", "toxicity_probability", "average_toxicity", PERPLEXITY),
    *("dist_1", "dist_2", "dist_3", CONSISTENCY),
)

STATUSES = {
    OK: "scored",
    EMPTY: "empty completion",
    UNSUPPORTED: "the scorer does not know this language",
    FAILED: "scoring failed",
    TOO_SHORT: "too short to tell its language",
    "missing": "no score row",
    "no_blank_score": "a completion of white space, which the convention counts and the scorer gave no score",
    "no_identification": "no completion's language could be told",
    "no_evidence": "nothing shows that the scorer works in this language",
    "no_common_prompts": "no prompt was scored for both models",
    "no_language_with_value": "no language has a value",
    "not_finite": "the number is too large to write",
    "no_common_scores": "no text was scored by both",
    "no_labels": "no labelled text in this language",
    "no_language_with_evidence": "the scorer has evidence in no language with a value",
    "no_long_lines": "no line is long enough to be judged",
    "none_passed": "no completion has right lines only",
    "no_tokens": "no token beyond the prompt",
    "no_units": "nothing to count in any completion",
    "over_perplexity_cap": "left out: over the convention's perplexity cap",
    "wrong_language": "left out: in another language",
    "constant_scores": "a scorer gives everything the same value",
    "one_class": "the reference calls all texts toxic, or none",
    "too_few": "too few texts to tell",
    "not_asked": "not asked of this language",
}

_SWITCHES = {
    ("pooling", "string"): "prompts of the same text count as one",
    ("pooling", "row"): "each prompt row counts once",
    ("at_threshold", "toxic"): "a score of exactly the threshold is toxic",
    ("at_threshold", "harmless"): "a score of exactly the threshold is harmless",
    ("empty", "blank"): "a completion of white space is scored as it is, and no text at all as one space",
    ("empty", "zero"): "an empty completion counts as 0",
    ("empty", "skip"): "an empty completion is left out and counted",
    ("wrong_language", "count"): "a completion in another language counts like any other",
    (
        "wrong_language",
        "zero",
    ): "a completion in another language counts as 0, so that drifting to English looks harmless",
    ("wrong_language", "exclude"): "a completion in another language is left out",
    ("perplexity_terms", "n"): "perplexity sums the loss of n tokens",
    ("perplexity_terms", "n-1"): "perplexity multiplies a mean loss by n − 1 tokens",
    ("fluency", "median"): "perplexity of completions is the median of theirs",
    ("fluency", "token-weighted"): "perplexity of completions weighs each token the same",
    ("fluency_blank", "count"): "perplexity counts a completion of white space that has tokens",
    ("fluency_blank", "skip"): "perplexity leaves out completions of white space",
    ("quality_of", "all"): "",
    (
        "quality_of",
        "right-language",
    ): "perplexity and novelty are of completions in the right language, in both models for a difference",
    ("spreads", "none"): "",
    ("spreads", "shown"): "standard deviations and quartiles are shown beside, as the scripts print them",
    ("dist_denominator", "unigrams"): "distinct n-grams are divided by the number of 1-grams",
    ("dist_denominator", "ngrams"): "distinct n-grams are divided by the number of n-grams",
}

_CONVENTIONS = {
    "paper": "computes what the scripts of Li, Yong and Bach (2024) compute, quirks included, and rounds as they do",
    "neplenbroek2025": "computes what the scripts of Neplenbroek, Bisazza and Fernández (2025) compute",
    "corrected": "is this project's own: nothing is rounded before it is shown, and no failure becomes a number",
}

CORRECTIONS = {"holm": "Holm", "benjamini-hochberg": "Benjamini–Hochberg"}
INTERVALS = {"percentile": "percentile", "bca": "bias-corrected and accelerated (BCa)"}


def metric_words(metric: str) -> MetricWords:
    """Title, meaning and decimals of a metric; one that is not known here keeps its own name."""
    if metric in _METRICS:
        return _METRICS[metric]
    if is_spread(metric):  # written as the metric is
        name, mark, ending = metric.rpartition("_")
        whole, kind = _METRICS[name], SPREADS[mark + ending]
        return whole._replace(title=f"{whole.title}, {kind}", meaning="", short=f"{whole.short}, {kind}", points=False)
    own = metric.replace("_", " ")
    return MetricWords(own, "", own, "lower")


def is_spread(metric: str) -> bool:
    """Whether a number says how another metric spreads, and stands beside it."""
    name, mark, ending = metric.rpartition("_")
    return name in _METRICS and mark + ending in SPREADS


def meaning(metric: str) -> str:
    """What a metric is and which way is better; empty where it is not known."""
    words = _METRICS.get(metric)
    return f"{words.meaning}; {words.better} is better" if words else ""


def by(metric: str, scorer: str) -> str:
    """A series in words: "Perplexity of harmless text", "Distinct 2-grams of words"."""
    title = metric_words(metric).title
    if metric == PERPLEXITY:
        return f"{title} of harmless text" if scorer == HELD_OUT else f"{title} of completions under {scorer}"
    return f"{title} ({scorer})" if metric.startswith("dist_") or metric == NOVELTY else f"{title} by {scorer}"


def status_words(status: str) -> str:
    return STATUSES.get(status, status.replace("_", " "))


def convention_words(label: str) -> str:
    """What a convention is, from its name before the changed switches."""
    return _CONVENTIONS.get(label.partition("+")[0], "")


def switch_words(name: str, value: object) -> str:
    """One switch of a convention in words; empty where there is nothing to say."""
    if name == "name":
        return ""
    if name in ("decimals", "perplexity_decimals"):
        of = "toxicity and distinct n-grams" if name == "decimals" else "perplexity"
        return "" if value is None else f"{of}: rounded to {value} decimals before anything is made of them"
    if name == "perplexity_cap":
        return "" if value is None else f"completions with a perplexity of {value:g} or more are left out"
    return _SWITCHES.get((name, str(value)), "" if value is None else f"{name.replace('_', ' ')}: {value}")


def language_name(code: str) -> str:
    if code == MACRO:
        return "Mean of languages"
    return LANGUAGES[code].name if code in LANGUAGES else code


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


def signed_percent(share: float) -> str:
    """0.25 -> "+25 %", with a real minus sign."""
    rounded = round(100 * share)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded)}\u00a0%"


def signed_points(share: float) -> str:
    """0.032 -> "+3.2 pp": percentage points."""
    text = number(100 * share, 1, signed=True)
    return f"{text if float(text.lstrip('+−')) else '±0.0'}\u00a0pp"


def p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"; 75.2 -> "1 min 15 s"; 8.24 -> "8.2 s"."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shortened(name: str, limit: int = 38) -> str:
    """A name for a figure."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def visible(text: str) -> str:
    """Text as HTML may hold it: control characters and lone surrogates become the replacement character."""
    return "".join(
        "\ufffd" if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or 0xD800 <= ord(c) <= 0xDFFF else c
        for c in text
    )
