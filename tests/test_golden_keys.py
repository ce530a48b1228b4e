"""Units and keys of every shipped config are as recorded, so that a change of keys is seen before users pay for it.

What is not here (data, weights, hub commits) is given by name. After a change that is meant to change keys:

    python tests/test_golden_keys.py > tests/golden_keys.json
"""

import json
import sys
from pathlib import Path
from unittest import mock

import pytest

from detox_ray.cluster.stage import Context, Input
from detox_ray.config import Experiment
from detox_ray.config.loading import load
from detox_ray.explain.plan import Explained, parents_of
from detox_ray.explain.settings import Settings
from detox_ray.measure.resampling import Resampling
from detox_ray.models import LoadableModel, vllm_options
from detox_ray.run.plan import plan
from detox_ray.run.stages import registered
from detox_ray.score import ResolvedScorer, identifiers, word_segmentation
from detox_ray.storage import Unit, key_of
from detox_ray.storage.completion_tables import ABILITY
from detox_ray.storage.tables import CORPUS, LABELLED, ORIGINALS, PAIRS, PROMPTS, TEXTS
from detox_ray.suites.knowledge.plan import Asked, shots_of, tasks_of

CONFIGS = Path(__file__).parents[1] / "configs"
RECORD = Path(__file__).parent / "golden_keys.json"
EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "gate")
ROWS = 600  # of each unit of data


def context(experiment: Experiment) -> Context:
    """The experiment with data, models and scorers that are known by their names alone."""
    data: dict[Unit, Input] = {}
    tables = {
        PROMPTS: experiment.data.prompts,
        TEXTS: experiment.data.texts,
        LABELLED: experiment.validity,
        PAIRS: experiment.data.pairs,
        CORPUS: experiment.data.corpus,
        ORIGINALS: experiment.data.corpus if experiment.trains_on_originals else None,
        ABILITY.prompts: experiment.ability and experiment.ability.prompts,
    }
    for table, source in tables.items():
        for language in experiment.languages if table.keys else ("",):
            if source is not None:
                unit = table.unit(language=language) if table.keys else table.unit()
                data[unit] = Input(f"rows of {unit.name}", ROWS)
    given = {
        name: LoadableModel(name, model.path, False, None, model.dtype, f"weights of {model.path}")
        for name, model in experiment.models.items()
        if model.path is not None
    }
    made = Context(experiment, None, registered(), data, given, frozenset())  # type: ignore[arg-type]
    made.keys.update({unit: each.key for unit, each in data.items()})
    made.resolved["scores"] = [
        ResolvedScorer(name, entry, None, "r", f"identity of {name}", f"key of {name}")  # type: ignore[arg-type]
        for name, entry in zip(experiment.score.names, experiment.score.scorers, strict=True)
    ]
    made.resolved["fluencies"] = {
        each.name: LoadableModel(each.name, str(each.path), False, None, each.dtype, f"weights of {each.path}")
        for each in experiment.quality.fluency
    }
    units = experiment.quality.diversity
    tokenizer = LoadableModel(str(units), str(units), False, None, "auto", f"tokenizer of {units}")
    made.resolved["diversities"] = None if units in (None, "words") else tokenizer
    made.resolved["ability_diversities"] = made.resolved["diversities"]
    knowledge = experiment.knowledge
    made.resolved["knowledge"] = {
        (task.name, language): Asked(shots_of(task, knowledge), knowledge.per_task, ROWS, f"questions of {task.name}")
        for task in (tasks_of(knowledge) if knowledge else ())
        for language in experiment.languages
        if language in task.languages
    }
    made.resolved["explain"] = made.resolved["bias"] = None
    if experiment.explain is not None:
        resampling = Resampling(experiment.seed, experiment.measure.bootstrap, experiment.measure.confidence)
        settings = Settings(experiment.explain, resampling, {"en": ["a"], "fr": ["b"]}, {}, None, None)
        made.resolved["explain"] = Explained(parents_of(experiment), settings, {})
    return made


def keys(name: str) -> dict[str, str]:
    """Table -> how many units it has, and a hash of their names and keys."""
    with (
        mock.patch.object(vllm_options, "version", lambda: "0"),
        mock.patch.object(identifiers, "revision", lambda *_: "0"),
        mock.patch.object(word_segmentation, "versions", lambda _: "0"),
    ):
        within = context(load(CONFIGS / f"{name}.yaml"))
        for stage in within.stages:
            plan(within, stage)
    tables: dict[str, dict[str, str]] = {}
    for unit in within.planned:
        tables.setdefault(unit.table, {})[unit.name] = within.keys[unit]
    return {table: f"{len(units)} units, {key_of(**units)}" for table, units in sorted(tables.items())}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_units_and_keys_of_a_shipped_config_are_as_recorded(name: str) -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert recorded.keys() == set(EXPERIMENTS)
    assert keys(name) == recorded[name]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: keys(name) for name in EXPERIMENTS}, indent=1) + "\n")
