"""What tuning costs in fluency: perplexity of harmless held-out text, exp(sum of nll / sum of tokens) over texts.

This is the model's own next-token perplexity of text that people (or the built-in world) wrote, and not the papers'
mT5 auto-encoding score of generated text (fluency.py); its ``scorer`` column therefore reads ``held-out-text``.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detox_ray.measure.completions import most_common, status_counts
from detox_ray.measure.statistics import Ratio, ratio, without_value
from detox_ray.storage.tables import OK

METRIC = "perplexity"
SCORER = "held-out-text"


def perplexity(likelihoods: pa.Table) -> Ratio:
    """Perplexity with texts as clusters; texts whose status is not ok are left out, as are those without tokens."""
    kept = likelihoods.filter(pc.and_(pc.equal(likelihoods["status"], OK), pc.greater(likelihoods["tokens"], 0)))
    if not len(kept):
        return without_value(most_common(status_counts(likelihoods)))
    return ratio(kept["text_id"].to_pylist(), kept["nll"].to_numpy(), kept["tokens"].to_numpy(), transform=np.exp)
