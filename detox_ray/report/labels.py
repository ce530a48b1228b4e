"""The report's words for statuses, conventions and kinds of metrics, and the formats of its numbers."""

from detox_ray.config.languages import LANGUAGES
from detox_ray.storage.tables import EMPTY, FAILED, OK, TOO_SHORT, UNSUPPORTED

MACRO = "macro"
ENGLISH = "en"

STATUSES = {
    OK: "scored",
    EMPTY: "empty completion",
    UNSUPPORTED: "the scorer does not know this language",
    FAILED: "scoring failed",
    TOO_SHORT: "too short to identify its language",
    "missing": "no score row",
    "no_blank_score": "a completion of white space, which the convention counts and the scorer gave no score",
    "no_identification": "no completion's language was identified",
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
    "too_few": "too few texts",
    "not_asked": "not asked of this language",
    "no_start_token": "the tokenizer has no token for <|endoftext|>, which this convention starts from",
    "no_template_understood": "no template of questions is understood well enough in every language",
    "nothing_to_measure": "no item gives this number",
    "other_type": "left out: a bias type beside the nine of CrowS-Pairs",
    "target_unclear": "not counted for bias: two stereotyped groups, or none",
    "too_few_in_the_right_language": "too few completions are in the right language in both models",
    "too_long": "longer than the model's context",
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

KINDS = {  # heading of the tables of each kind of metric
    "toxicity": "Toxicity",
    "cost": "What it cost",
    "bias": "Bias",
    "ability": "Ability",
    "knowledge": "Knowledge",
    "mechanism": "Mechanism",
}

CORRECTIONS = {"holm": "Holm", "benjamini-hochberg": "Benjamini–Hochberg"}
INTERVALS = {"percentile": "percentile", "bca": "bias-corrected and accelerated (BCa)"}


def status_text(status: str) -> str:
    """Return in words why there is no value. An unknown status keeps its name."""
    return STATUSES.get(status, status.replace("_", " "))


def convention_text(label: str) -> str:
    """Describe a convention by its name, without any changed switches."""
    return _CONVENTIONS.get(label.partition("+")[0], "")


def switch_text(name: str, value: object) -> str:
    """Describe one switch of a convention; "" if there is nothing to say."""
    if name == "name":
        return ""
    if name in ("decimals", "perplexity_decimals"):
        of = "toxicity and distinct n-grams" if name == "decimals" else "perplexity"
        return "" if value is None else f"{of}: rounded to {value} decimals before anything is made of them"
    if name == "perplexity_cap":
        return "" if value is None else f"completions with a perplexity of {value:g} or more are left out"
    return _SWITCHES.get((name, str(value)), "" if value is None else f"{name.replace('_', ' ')}: {value}")


def language_name(code: str) -> str:
    """Return the English name of a language, or its code if it is unknown."""
    if code == MACRO:
        return "Mean of languages"
    return LANGUAGES[code].name if code in LANGUAGES else code


def number(value: float | None, decimals: int = 3, signed: bool = False) -> str:
    """Format a number with a real minus sign; None becomes a dash."""
    if value is None:
        return "–"
    text = f"{abs(value):.{decimals}f}"
    zero = float(text) == 0
    return ("−" if value < 0 and not zero else "+" if signed and not zero else "") + text


def interval(low: float | None, high: float | None, decimals: int = 3, signed: bool = False) -> str:
    """Format an interval in brackets; "" if there is none."""
    if low is None or high is None:
        return ""
    return f"[{number(low, decimals, signed)}, {number(high, decimals, signed)}]"


def signed_percent(share: float) -> str:
    """Format a share in per cent with a real sign: 0.25 -> "+25 %"; a change of 0 has none, because ± is a spread."""
    return f"{number(100 * share, 0, signed=True)}\u00a0%"


def signed_points(share: float) -> str:
    """Format a difference of shares in percentage points: 0.032 -> "+3.2 pp"."""
    return f"{number(100 * share, 1, signed=True)}\u00a0pp"


def p_value(p: float | None) -> str:
    """Format a p-value; None becomes a dash."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Format seconds for people: 3725 -> "1 h 2 min"; 75.2 -> "1 min 15 s"; 8.24 -> "8.2 s"."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def shortened(name: str, limit: int = 38) -> str:
    """Shorten a name so that it fits into a figure."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def visible(text: str) -> str:
    """Replace the characters that HTML does not allow, control characters and lone surrogates, by U+FFFD."""
    return "".join(
        "\ufffd" if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or 0xD800 <= ord(c) <= 0xDFFF else c
        for c in text
    )
