"""Perplexity of harmless held-out text, which shows what tuning costs: exp(sum of nll / sum of tokens) over texts.

This is the model's own next-token perplexity of text that people (or the built-in world) wrote. It is not the papers'
mT5 auto-encoding score of generated text (fluency.py), so its ``scorer`` column is ``held-out-text``.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detox_ray.measure.completions import MISSING, most_common, status_counts
from detox_ray.measure.quantities import LanguageInputs, MetricFamily, Quantities
from detox_ray.measure.statistics import Ratio, ratio, without_value
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.tables import LIKELIHOODS, OK

SCORER = "held-out-text"
PERPLEXITY = MetricSpec(
    name="perplexity",
    title="Perplexity",
    meaning="how surprising harmless text is to the model",
    short="Perplexity, held-out",
    kind="cost",
    direction="lower",
    decimals=2,
    scorer=SCORER,
    series_title="{title} of harmless text",
    tradeoff=True,
    needs=(LIKELIHOODS,),
)


def perplexity(likelihoods: pa.Table) -> Ratio:
    """Compute the perplexity, with texts as clusters. Texts without tokens, or with a status other than ok, are left
    out."""
    kept = likelihoods.filter(pc.and_(pc.equal(likelihoods["status"], OK), pc.greater(likelihoods["tokens"], 0)))
    if not len(kept):
        return without_value(most_common(status_counts(likelihoods)))
    return ratio(kept["text_id"].to_pylist(), kept["nll"].to_numpy(), kept["tokens"].to_numpy(), transform=np.exp)


def _add(context: LanguageInputs, quantities: Quantities) -> None:
    """Add every model's perplexity of held-out text in one language."""
    if not context.inputs.likelihoods:
        return
    for model in context.inputs.models:
        table = context.inputs.likelihoods.get((model, context.language))
        series = without_value(MISSING) if table is None else perplexity(table)
        quantities.series[context.quantity(PERPLEXITY.name, SCORER), model] = series
        counts = {MISSING: 0} if table is None else status_counts(table)
        quantities.add_counts(SCORER, model, context.language, counts)


FAMILY = MetricFamily((PERPLEXITY,), _add)
