"""A metric over an existing table: the length of completions."""

from detox_ray.storage.metric_spec import ClusterSums, MetricSpec
from detox_ray.storage.tables import GENERATIONS


def tokens(given):
    """Sum up each prompt's tokens, over as many as it has completions."""
    rows = given.tables["generations"].group_by("prompt_id").aggregate([("tokens", "sum"), ("tokens", "count")])
    return ClusterSums(rows["prompt_id"].to_pylist(), rows["tokens_sum"].to_numpy(), rows["tokens_count"].to_numpy())


VARIANT = MetricSpec(
    name="completion_length",
    title="Completion length",
    meaning="mean tokens of a completion",
    short="Length",
    kind="cost",
    direction="higher",
    unit="tokens",
    scorer="tokenizer",
    needs=(GENERATIONS,),
    compute=tokens,
)
