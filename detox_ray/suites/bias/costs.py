"""Costs of the stage, for `detox-ray plan`."""

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.data import DataError
from detox_ray.suites.bias.checks import sets_of

BYTES_PER_TOKEN = 3.0  # assumed


def costs(work: Workload, command: str) -> list[Cost]:
    """Return a line for each set and model."""
    experiment = work.experiment
    assert experiment.bias is not None
    lines = []
    for bias_set in sets_of(experiment.bias):
        try:
            items = [item for rows in bias_set.read(experiment.languages).rows.values() for item in rows]
        except DataError:
            continue  # `validate` says what is wrong
        texts = 0
        size = 0.0
        for item in items:
            question = item["question"]
            # A question is read once for all of its answers.
            options = item["options"] if question is None else [question + "\n".join(item["options"])]
            texts += len(options)
            size += sum(len(option.encode()) for option in options)
        tokens = size / BYTES_PER_TOKEN
        how = f"{len(items):,} items, {texts:,} texts at {BYTES_PER_TOKEN:g} bytes a token"
        for model in experiment.models:
            operations = tokens * work.forward(model, tokens / max(1, texts))
            lines.append(work.computed(command, f"{model}: {bias_set.name}", tokens, operations, how))
    return lines
