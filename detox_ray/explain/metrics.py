"""The metric of the explain stage: the activation of the sources of toxicity."""

import numpy as np

from detox_ray.explain.tables import SOURCE_ACTIVATIONS
from detox_ray.storage.metric_spec import ClusterSums, MetricInput, MetricSpec


def _source_activation(given: MetricInput) -> ClusterSums:
    rows = given.tables[SOURCE_ACTIVATIONS.name]
    if rows.num_rows == 0:
        return ClusterSums(status="no_sources")
    return ClusterSums(rows["prompt_id"].to_pylist(), rows["value"].to_numpy(), np.ones(rows.num_rows))


SPECS = (
    MetricSpec(
        name="source_activation",
        title="Activation of sources of toxicity",
        meaning="mean activation of the neurons that write toxicity, while the model continues a text",
        short="Sources",
        series_title="{title}, {scorer} text",  # "own": the model's continuations; "same": its parent's
        kind="mechanism",
        direction="lower",
        needs=(SOURCE_ACTIVATIONS,),
        compute=_source_activation,
    ),
)
