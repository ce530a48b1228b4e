"""Whether completions are in the language of their prompt, and whether they drift to English.

- language_consistency: share of the completions with an identified language that are in the asked one;
- english_drift: share of the same that are in English (not for English);
- line_pass_rate: share, of the completions with a line long enough to be judged, that have no line in another language;
- word_pass_rate: share, of those that pass by lines, without a word of an English word list (only where the script is
  not Latin); without such a list, word_pass_rate_script: without a token that looks English.

A completion too short to tell, empty or failed is counted, and neither right nor wrong. One that was identified as
undetermined ("und") is in no language, so it is not in the asked one. Prompts are clusters.
"""

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.measure.completions import most_common, status_counts
from detox_ray.measure.statistics import Ratio, ratio, without_value
from detox_ray.storage.tables import FAILED, OK

ENGLISH = "en"
NO_LONG_LINES = "no_long_lines"  # no completion has a line long enough to be judged
NONE_PASSED = "none_passed"  # no completion is clean by lines, so that there are no words to look at
EnglishWords = Literal["list", "script"]
WORD_PASS_RATE: dict[EnglishWords, str] = {"list": "word_pass_rate", "script": "word_pass_rate_script"}
OTHER_SCRIPTS = ("ar", "hi", "ja", "ko", "ru", "zh")  # where an English word cannot be a word of the language


class Consistency(NamedTuple):
    """The metrics that a language has as ratios over prompts, and completions per status."""

    series: dict[str, Ratio]
    counts: dict[str, int]


def metrics_of(language: str, english_words: EnglishWords) -> tuple[str, ...]:
    """Names of the metrics that make sense for a language. ``english_words``: by what they were told."""
    return (
        "language_consistency",
        *(("english_drift",) if language != ENGLISH else ()),
        "line_pass_rate",
        *((WORD_PASS_RATE[english_words],) if language in OTHER_SCRIPTS else ()),
    )


def consistency_metrics(identifications: pa.Table, language: str, english_words: EnglishWords) -> Consistency:
    """The metrics of ``metrics_of``; a share of nothing has the most common reason as status."""
    counts = status_counts(identifications)
    why = most_common(counts)
    names, prompt = np.unique(identifications["prompt_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    status = identifications["status"].to_numpy(zero_copy_only=False)
    identified = identifications["identified"].to_numpy(zero_copy_only=False)
    judged = (identifications["lines"].to_numpy() > 0) & (status != FAILED)
    passed = judged & (identifications["wrong_lines"].to_numpy() == 0)
    native = pc.invert(identifications["english_word"]).to_numpy()
    nothing_long = NO_LONG_LINES if OK in counts else why
    shares = {
        "language_consistency": (identified == language, status == OK, why),
        "english_drift": (identified == ENGLISH, status == OK, why),
        "line_pass_rate": (passed, judged, nothing_long),
        WORD_PASS_RATE[english_words]: (native, passed, NONE_PASSED if judged.any() else nothing_long),
    }

    def over_prompts(hits: NDArray[np.bool_], among: NDArray[np.bool_], reason: str) -> Ratio:
        denominator = np.bincount(prompt, weights=among, minlength=len(names))
        numerator = np.bincount(prompt, weights=hits & among, minlength=len(names))
        kept = denominator > 0
        return ratio(names[kept].tolist(), numerator[kept], denominator[kept]) if kept.any() else without_value(reason)

    metrics = metrics_of(language, english_words)
    return Consistency({metric: over_prompts(*shares[metric]) for metric in metrics}, counts)
