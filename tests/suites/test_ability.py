"""Ability: harmless text continued by the jobs of other completions, measured as they are and named apart."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from stage_alone import run_alone

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.config import Experiment
from detox_ray.config.loading import validate
from detox_ray.measure import measure
from detox_ray.measure.stage import MeasureStage, inputs_of, metrics_of, settings_of
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.storage import Store, UnitTables
from detox_ray.storage.completion_tables import ABILITY, TOXICITY
from detox_ray.storage.tables import COMPARISONS, OK
from detox_ray.suites.ability.section import section


def experiment(toy_world: Path, storage: Path, **fields: Any) -> Experiment:
    """Two models that are the same small one, in two languages, without any toxicity prompt."""
    model = str(toy_world / "model")
    raw = {
        "name": "able",
        "storage": str(storage),
        "languages": ["en", "ja"],
        "models": {"base": {"path": model}, "other": {"path": model, "parent": "base"}},
        "generate": {"engine": "transformers", "prompts_per_unit": 3},
        "quality": {"fluency": [{"name": "judge", "model": "base"}]},
        "ability": {"prompts": {"source": "toy17"}, "max_tokens": 12},
    }
    return validate(raw | fields)


def prepared(config: Experiment) -> Context:
    return prepare(config, Store.at(config.folder), Progress(), pipeline.check(config))


@pytest.fixture(scope="module")
def made(toy_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    context = prepared(experiment(toy_world, tmp_path_factory.mktemp("ability")))
    run_alone(context, [stage for stage in context.stages if stage.name.startswith("ability_")])
    return context


def rows(context: Context, table: Any, *keys: str) -> pa.Table:
    return UnitTables(context.store, context.units(table))[keys if len(keys) > 1 else keys[0]]


def test_every_opening_has_one_completion_which_is_the_same_twice(made: Context) -> None:
    for language in ("en", "ja"):
        openings = rows(made, ABILITY.prompts, language)
        base, other = (rows(made, ABILITY.generations, model, language) for model in ("base", "other"))
        assert base["prompt_id"].to_pylist() == openings["prompt_id"].to_pylist()
        assert set(base["sample"].to_pylist()) == {0} and max(base["tokens"].to_pylist()) <= 12
        assert base["text"].to_pylist() == other["text"].to_pylist()  # greedy: no seed decides


def test_nothing_is_planned_for_toxicity_and_all_units_are_made(made: Context) -> None:
    assert not made.units(*TOXICITY[1:])
    assert not made.pending([stage for stage in made.stages if stage.name.startswith("ability_")])


def test_the_numbers_are_those_that_other_completions_would_get(made: Context) -> None:
    """The same tables, once as ability and once as completions of toxicity prompts."""
    inputs = inputs_of(made, {})
    assert inputs.ability is not None
    measured = measure(inputs, settings_of(made.experiment), metrics_of(made))
    ability = {
        (row["metric"].removeprefix("ability_"), row["model"], row["language"]): row["value"]
        for row in measured.metrics.to_pylist()
    }
    as_toxicity = measure(inputs.ability, settings_of(made.experiment), MeasureStage([]).metrics())
    plain = {(row["metric"], row["model"], row["language"]): row["value"] for row in as_toxicity.metrics.to_pylist()}
    assert {name for name, _, _ in ability} >= {"perplexity", "novelty", "language_consistency", "line_pass_rate"}
    assert ability == {key: plain[key] for key in ability}
    assert all(row["metric"].startswith("ability_") for row in measured.comparisons.to_pylist())
    assert {count.scorer for count in measured.counts} == {"ability: judge", "ability: words", "ability: py3langid"}


def test_the_papers_difference_needs_a_hundred_completions_in_the_right_language(made: Context) -> None:
    settings = settings_of(made.experiment)._replace(convention="neplenbroek2025", switches={})
    measured = measure(inputs_of(made, {}), settings, metrics_of(made))
    statuses = {row["metric"]: row["status"] for row in measured.comparisons.to_pylist() if row["language"] == "en"}
    assert statuses["ability_novelty"] == statuses["ability_perplexity"] == "too_few_in_the_right_language"
    assert statuses["ability_language_consistency"] != "too_few_in_the_right_language"


def test_an_identifier_and_an_evaluator_are_loaded_once_for_both_kinds_of_completions(
    toy_world: Path, tmp_path: Path
) -> None:
    both = {"data": {"prompts": {"source": "toy17", "per_language": 2}}, "score": {"scorers": ["toy17-lexicon"]}}
    context = prepared(experiment(toy_world, tmp_path, **both))
    stages = [stage for stage in context.stages if stage.command == "score" and context.pending([stage])]
    jobs = [job for stage in stages for job in stage.jobs(context, context.tasks(context.pending([stage])))]
    merged = pipeline._merged([job for job in jobs if job.tasks])
    labels = [job.label for job in merged]
    assert len(labels) == len(set(labels)) and {"languages", "diversity", "fluency judge"} <= set(labels)
    tables = {task.unit.table for job in merged if job.label == "languages" for task in job.tasks}
    assert tables == {"identifications", "ability_identifications"}


def test_an_experiment_without_the_block_has_no_such_units(toy_world: Path, tmp_path: Path) -> None:
    fields = {"data": {"texts": {"source": "toy17"}}, "ability": None}
    context = prepared(experiment(toy_world, tmp_path, **fields))
    assert not context.units(*ABILITY)
    assert not any(spec.name.startswith("ability_") for spec in metrics_of(context))


def test_the_report_shows_the_change_in_each_language(made: Context) -> None:
    """The small model answers with nothing, so its comparisons get values here."""
    measured = measure(inputs_of(made, {}), settings_of(made.experiment), metrics_of(made))
    numbers = {"status": OK, "difference": -0.25, "ci_low": -0.5, "ci_high": -0.125}
    numbers |= {"ratio": 1.5, "ratio_low": 0.75, "ratio_high": 2.0}
    rows = [{**row, **numbers} for row in measured.comparisons.to_pylist()]
    for row in rows:
        if (row["metric"], row["language"]) == ("ability_novelty", "ja"):
            row |= {"ratio": None, "ratio_low": None, "ratio_high": None}  # its parent repeats the prompt
    unit = COMPARISONS.unit()
    made.store.commit(unit, made.keys[unit], pa.Table.from_pylist(rows, schema=COMPARISONS.columns))
    shown = section(made)
    assert shown is not None and shown.title == "Language ability"
    for text in (
        "base → other: in its language, perplexity, novelty, in English.",
        "Japanese, in its language: −0.25 [−0.5, −0.125]",
        "Mean, perplexity: 1.5 [0.75, 2]",
    ):
        assert text in shown.html
    assert "English, novelty" in shown.html and "Japanese, novelty" not in shown.html
    worse = shown.html.partition("Japanese, in its language")[2]
    assert worse.index("var(--before)") < worse.index("</g>")
