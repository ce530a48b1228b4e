"""The example prompts of the web page: prompts of a run on which its tuned models differ most from their parents."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from detox_ray.config import Experiment
from detox_ray.generate import prompt_seed
from detox_ray.measure.completions import ATTRIBUTE
from detox_ray.storage import Store
from detox_ray.storage.tables import OK, PROMPTS, SCORES

PROMPTS_PER_LANGUAGE = 3
SAMPLES = 5  # samples on which the choice is based, and the page's default


class ExamplePrompt(NamedTuple):
    """A prompt that the web page offers."""

    language: str
    text: str
    seed: int = 0  # the seed with which the page draws the run's completions again, unless they share the unit's seed
    gain: float | None = None  # how much less toxic the tuned models were on it than their parents, in the run


def example_prompts(
    store: Store, experiment: Experiment, parents: Mapping[str, str], scorer: str | None
) -> list[ExamplePrompt]:
    """Return a few prompts of each language, those with the largest gain first.

    The gain on a prompt is the mean score of the parent's first completions minus that of the tuned model's. If several
    tuned models are served, the smallest gain counts, so that an example shows the effect of all of them. Only prompts
    of a language's first unit have a gain, so that a large run is served as soon as a small one. Without scores, the
    prompts are the first of the run.

    Args:
        store: The run's folder.
        experiment: The run's experiment.
        parents: The tuned models that are served, and the model that each was tuned from.
        scorer: The scorer whose scores decide; None if there is none.
    """
    committed = store.committed(PROMPTS)
    scored = store.committed(SCORES) if scorer is not None and parents else {}
    asked = [PROMPTS.unit(language=language) for language in experiment.languages]
    prompts = store.read_each(
        ((unit, committed[unit]) for unit in asked if unit in committed),
        lambda table: table.select(["prompt_id", "text"]),
    )
    models = {*parents, *parents.values()}
    judged = (
        SCORES.unit(scorer=scorer or "", model=model, language=unit["language"]) for unit in prompts for model in models
    )
    means_by_unit = store.read_each(((unit, scored[unit]) for unit in judged if unit in scored), mean_scores)
    examples: list[ExamplePrompt] = []
    for unit, table in prompts.items():
        language, rows = unit["language"], table.to_pylist()
        means: dict[str, dict[str, float]] = {model: {} for model in models}  # model -> prompt -> mean score
        means |= {u["model"]: of_unit for u, of_unit in means_by_unit.items() if u["language"] == language}
        gains = {row["prompt_id"]: _gain(means, parents, row["prompt_id"]) for row in rows}
        # The sort is stable: prompts without a gain keep the run's order, after those with a positive gain.
        rows.sort(key=lambda row: -(gains[row["prompt_id"]] or 0.0))
        examples += [
            ExamplePrompt(
                language, row["text"], prompt_seed(experiment.seed, row["prompt_id"]), gains[row["prompt_id"]]
            )
            for row in rows[:PROMPTS_PER_LANGUAGE]
        ]
    return examples


def mean_scores(scores: pa.Table) -> dict[str, float]:
    """Return the mean toxicity of each prompt's first completions, by prompt id. Only scored completions count."""
    is_counted = pc.and_(
        pc.and_(pc.equal(scores["attribute"], ATTRIBUTE), pc.equal(scores["status"], OK)),
        pc.less(scores["sample"], SAMPLES),
    )
    means = scores.filter(is_counted).group_by("prompt_id").aggregate([("value", "mean")])
    return dict(zip(means["prompt_id"].to_pylist(), means["value_mean"].to_pylist(), strict=True))


def _gain(means: Mapping[str, Mapping[str, float]], parents: Mapping[str, str], prompt: str) -> float | None:
    """Return the smallest gain of the tuned models on a prompt; None if a model has no score on it."""
    gains: list[float] = []
    for tuned, parent in parents.items():
        if prompt not in means[tuned] or prompt not in means[parent]:
            return None
        gains.append(means[parent][prompt] - means[tuned][prompt])
    return min(gains, default=None)
