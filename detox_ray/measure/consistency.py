"""Language consistency: the shares of completions in the language of their prompt, and in English.

- language_consistency: of the completions with an identified language, the share in the prompt's language;
- english_drift: of the same completions, the share in English (not computed for English);
- line_pass_rate: of the completions with a line that is long enough to judge, the share without a line in another
  language;
- word_pass_rate: of the completions that pass by lines, the share without a word of an English word list (only for
  scripts other than Latin); if there is no list, word_pass_rate_script: the share without a token that looks English.

A completion that is too short, empty or failed is counted by its status, but is neither right nor wrong. One that is
undetermined ("und") is not in the prompt's language. Clusters are prompts.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.config.languages import LANGUAGES
from detox_ray.measure.completions import MISSING, most_common, status_counts
from detox_ray.measure.inputs import EnglishWords
from detox_ray.measure.quantities import LanguageInputs, MetricFamily, Quantities
from detox_ray.measure.statistics import Ratio, Series, ratio, without_value
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import FAILED, IDENTIFICATIONS, OK

ENGLISH = "en"
NO_LONG_LINES = "no_long_lines"  # no completion has a line that is long enough to judge
NONE_PASSED = "none_passed"  # no completion passes by lines, so there are no words to judge
CONSISTENCY = MetricSpec(
    name="language_consistency",
    title="Language consistency",
    meaning="share of completions in the language of their prompt",
    short="Right language",
    kind="cost",
    direction="higher",
    unit="share of completions",
    change="points",
    tradeoff=True,
    needs=(IDENTIFICATIONS,),
)
DRIFT = MetricSpec(
    name="english_drift",
    title="Drift to English",
    meaning="share of completions that are in English and should not be",
    short="English drift",
    kind="cost",
    direction="lower",
    unit="share of completions",
    change="points",
    needs=(IDENTIFICATIONS,),
)
LINE_PASS_RATE = MetricSpec(
    name="line_pass_rate",
    title="Line pass rate",
    meaning="share of completions without a line in another language",
    short="Line pass",
    kind="cost",
    direction="higher",
    unit="share of completions",
    change="points",
    needs=(IDENTIFICATIONS,),
)
_WORD_PASS_BY_LIST = MetricSpec(
    name="word_pass_rate",
    title="Word pass rate",
    meaning="share of completions with only right lines that have no word of an English list; scripts other than Latin",
    short="Word pass",
    kind="cost",
    direction="higher",
    unit="share of completions",
    change="points",
    needs=(IDENTIFICATIONS,),
)
_WORD_PASS_BY_SCRIPT = MetricSpec(
    name="word_pass_rate_script",
    title="Word pass rate by script",
    meaning="share of completions with only right lines that have no Latin lower-case word; scripts other than Latin",
    short="Word pass by script",
    kind="cost",
    direction="higher",
    unit="share of completions",
    change="points",
    needs=(IDENTIFICATIONS,),
)
WORD_PASS_RATE: dict[EnglishWords, MetricSpec] = {"list": _WORD_PASS_BY_LIST, "script": _WORD_PASS_BY_SCRIPT}
# Languages in which an English word stands out.
OTHER_SCRIPTS = tuple(code for code, language in LANGUAGES.items() if language.script != "Latn")


class Consistency(NamedTuple):
    """The metrics of a language, as ratios over prompts, and the number of completions per status."""

    series: dict[str, Ratio]
    counts: dict[str, int]


def metrics_of(language: str, english_words: EnglishWords) -> tuple[str, ...]:
    """Return the names of the metrics that are meaningful for a language."""
    return (
        CONSISTENCY.name,
        *((DRIFT.name,) if language != ENGLISH else ()),
        LINE_PASS_RATE.name,
        *((WORD_PASS_RATE[english_words].name,) if language in OTHER_SCRIPTS else ()),
    )


def consistency_metrics(identifications: pa.Table, language: str, english_words: EnglishWords) -> Consistency:
    """Compute the metrics of `metrics_of`. If a share has nothing to count, its status is the most common reason."""
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
        CONSISTENCY.name: (identified == language, status == OK, why),
        DRIFT.name: (identified == ENGLISH, status == OK, why),
        LINE_PASS_RATE.name: (passed, judged, nothing_long),
        WORD_PASS_RATE[english_words].name: (native, passed, NONE_PASSED if judged.any() else nothing_long),
    }

    def over_prompts(hits: NDArray[np.bool_], among: NDArray[np.bool_], reason: str) -> Ratio:
        denominator = np.bincount(prompt, weights=among, minlength=len(names))
        numerator = np.bincount(prompt, weights=hits & among, minlength=len(names))
        kept = denominator > 0
        return ratio(names[kept].tolist(), numerator[kept], denominator[kept]) if kept.any() else without_value(reason)

    metrics = metrics_of(language, english_words)
    return Consistency({metric: over_prompts(*shares[metric]) for metric in metrics}, counts)


def _add(context: LanguageInputs, quantities: Quantities) -> None:
    """Add every model's consistency in one language."""
    inputs = context.inputs
    if not inputs.identifications:
        return
    for model in inputs.models:
        table = context.identifications.get(model)
        if table is None:
            series: dict[str, Series] = dict.fromkeys(
                metrics_of(context.language, inputs.english_words), without_value(MISSING)
            )
            counts = {MISSING: 0}
        else:
            result = consistency_metrics(table, context.language, inputs.english_words)
            series, counts = {**result.series}, result.counts
        for metric, one in series.items():
            quantities.series[context.quantity(metric, inputs.identifier), model] = one
        quantities.add_counts(inputs.identifier, model, context.language, counts)


FAMILY = MetricFamily((CONSISTENCY, DRIFT, LINE_PASS_RATE, *WORD_PASS_RATE.values()), _add)
