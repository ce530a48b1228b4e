"""From a config to tables, without Ray: in a world with one planted neuron, the stage finds it and what it does."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from planted_world import INSULT, LANGUAGES, NEURON, context, experiment, save_models
from stage_alone import run_alone

from detox_ray.cluster.stage import Context, Stage
from detox_ray.config import ConfigError
from detox_ray.config.loading import validate
from detox_ray.explain.plan import edited_generation
from detox_ray.explain.tables import ALL, SOURCE_ACTIVATIONS
from detox_ray.report import template
from detox_ray.report.csv_tables import csv_file
from detox_ray.run.pipeline import check
from detox_ray.storage import Unit, UnitTables
from detox_ray.storage.metric_spec import ClusterSums, MetricInput


def stages(within: Context, *names: str) -> list[Stage]:
    return [stage for stage in within.stages if stage.name in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    save_models(folder)
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Context:
    within = context(experiment(folder))
    for name in ("generate", "scores", "explain"):
        run_alone(within, stages(within, name))
    return within


def rows(done: Context, table: str) -> list[dict[str, Any]]:
    return pads.dataset(done.store.localize(table), partitioning="hive").to_table().to_pylist()


def test_the_planted_neuron_is_ranked_first_and_a_source(done: Context) -> None:
    first = next(row for row in rows(done, "sources") if row["rank"] == 0)
    assert (first["layer"], first["neuron"]) == NEURON
    assert first["source"] and first["mean"] == pytest.approx(4.0, abs=1e-3) and first["positive_share"] == 1
    vector = next(row for row in rows(done, "neurons") if (row["rank"], row["draw"]) == (0, 0))
    assert vector["tokens"][0] == INSULT and set(vector["token_languages"][0]) == set(LANGUAGES)
    assert vector["token_languages"][1] == []


def test_the_probe_tells_toxic_texts_in_every_language_and_its_control_does_not(done: Context) -> None:
    found = [row for row in rows(done, "probes") if row["split"] == "labelled"]
    assert {row["language"] for row in found} == set(LANGUAGES)
    assert all(row["auroc"] > 0.99 for row in found if row["control"] == "none")
    assert all(row["auroc"] == 0.5 for row in found if row["control"] == "length")


def test_a_probe_of_every_layer_stands_beside_the_probe(done: Context) -> None:
    found = [row for row in rows(done, "probes") if row["layer"] is not None]
    assert {row["layer"] for row in found} == {0, 1}, "what enters the two blocks"
    assert {(row["split"], row["control"]) for row in found} == {("validation", "none"), ("labelled", "none")}
    assert all(row["weights"] is None for row in found)
    assert min(row["auroc"] for row in found if row["layer"] == 0) > 0.99, "insults are words here"


def test_languages_share_neurons_and_a_shift_follows_what_was_changed(done: Context) -> None:
    overlaps = rows(done, "language_overlaps")
    assert len(overlaps) == len(LANGUAGES) * (len(LANGUAGES) - 1) / 2
    assert all(row["neurons"] == 1 and row["jaccard"] == 1 for row in overlaps), "NEURON, in every language"
    assert np.mean([row["chance"] for row in overlaps]) < 1
    # NEURON writes after the last state that is read, so nothing moves: the probe is of what comes later.
    assert {row["layer"]: row["norm"] for row in rows(done, "residual_shifts")} == {0: 0.0, 1: 0.0}


def mean(found: list[dict[str, Any]], **wanted: Any) -> float:
    kept = [row for row in found if wanted.items() <= row.items()]
    return sum(row["total"] for row in kept) / sum(row["count"] for row in kept)


def test_turning_the_neuron_off_takes_toxicity_away_and_random_neurons_do_not(done: Context) -> None:
    found = [row for row in rows(done, "interventions") if row["model"] == "base"]
    toxicity = {"quantity": "toxicity"}
    assert mean(found, intervention="none", **toxicity) == 1.0
    sources = sum(row["source"] for row in rows(done, "sources"))
    assert sources == 1, "with more sources the dose would not be the planted neuron's alone"
    assert mean(found, intervention="offset", amount=-4.0, draw=0, **toxicity) < 0.2
    assert mean(found, intervention="offset", amount=-4.0, draw=1, **toxicity) > 0.8


def test_one_neuron_transplanted_is_the_whole_effect_of_tuning(done: Context) -> None:
    found = [row for row in rows(done, "interventions") if row["model"] == "quiet"]
    quiet = mean(found, intervention="none", edited="quiet", quantity="toxicity")
    assert quiet < 0.2
    assert mean(found, intervention="into-parent", amount=1.0, draw=0, quantity="toxicity") == quiet
    assert mean(found, intervention="into-model", amount=1.0, draw=0, quantity="toxicity") == 1.0
    assert mean(found, intervention="into-parent", amount=1.0, draw=1, quantity="toxicity") == 1.0


def test_the_change_is_attributed_to_the_neurons_value_vector(done: Context) -> None:
    found = [row for row in rows(done, "contributions") if row["language"] == "fr"]
    value = [np.array(row["value"]) for row in sorted(found, key=lambda row: row["layer"])]
    assert np.abs(value[0]).max() < 1e-6
    assert int(np.argmin(value[1])) == NEURON[1] and value[1].sum() == pytest.approx(value[1].min())
    assert all(np.abs(row["activation"]).max() < 1e-6 for row in found), "the same text, and nothing before it changed"


def test_activations_are_a_metric_of_every_model_language_and_text(done: Context) -> None:
    (spec,) = stages(done, "explain")[0].metrics()
    assert spec.compute is not None
    found = UnitTables(done.store, done.units(SOURCE_ACTIVATIONS))
    assert set(found) == {(t, m, code) for t in ("own", "same") for m in ("base", "quiet") for code in LANGUAGES}
    for (_, model, language), table in found.items():
        sums = spec.compute(MetricInput(model, language, table, {SOURCE_ACTIVATIONS.name: table}))
        assert isinstance(sums, ClusterSums) and len(sums.clusters) == 6
        # It is as active in the tuned model, and writes the opposite.
        assert sums.numerators.sum() / sums.denominators.sum() == pytest.approx(4.0, abs=1e-3)


def test_transfer_is_saturated_and_says_so(done: Context) -> None:
    """Toxicity falls alike in all languages, so nothing can predict its fall."""
    found = rows(done, "correlations")
    assert {row["status"] for row in found if row["target"] == "relative"} == {"saturated"}
    assert all(row["value"] is None for row in found if row["status"] != "ok")
    predictors = {row["predictor"] for row in rows(done, "predictors")}
    assert {"aligned_cosine", "retrieval_at_1", "centred_cosine", "subword_overlap"} <= predictors


def test_the_section_says_what_each_figure_does_not_show(done: Context) -> None:
    (stage,) = stages(done, "explain")
    section = stage.section(done)
    assert section is not None and section.title == "Why"
    assert section.html.count("What it does not show") == section.html.count("<figcaption>") >= 4
    assert "layer 1, 7" in section.html and "<script" not in section.html and "style=" not in section.html
    assert template.environment()  # the page that holds it


def test_tables_are_csv_files_of_the_report(done: Context) -> None:
    (stage,) = stages(done, "explain")
    section = stage.section(done)
    assert section is not None and {"probes", "neurons", "interventions", "correlations"} <= section.tables.keys()
    for name, table in section.tables.items():
        read = list(csv.DictReader(csv_file(table.column_names, table.to_pylist()).decode().splitlines()))
        expected = rows(done, name)
        assert len(read) == len(expected), name
        assert {row["model"] for row in read} == {row["model"] for row in expected}, name
    assert "tokens" not in section.tables["neurons"].column_names, "a CSV file cannot blur them"
    assert f"<bdi>{INSULT}" in section.html and 'class="scroll veiled"' in section.html
    (first,) = [row for row in section.tables["neurons"].to_pylist() if (row["rank"], row["draw"]) == (0, 0)]
    assert set(json.loads(first["token_languages"])[0]) == set(LANGUAGES)


def test_a_second_run_has_nothing_to_do_and_a_lost_unit_is_made_again_equal(done: Context) -> None:
    (stage,) = stages(done, "explain")
    assert not done.pending([stage])
    unit = next(unit for unit in done.units(*ALL) if unit.table == "interventions" and unit["edit"] == "offset_-4_0")
    before = done.store.read(unit, done.keys[unit])
    done.store.retract(unit)
    assert list(done.pending([stage])) == [unit]
    run_alone(done, [stage])
    assert done.store.read(unit, done.keys[unit]).equals(before)


def test_keys_follow_what_changes_a_number(folder: Path, done: Context) -> None:
    (stage,) = stages(done, "explain")
    doses = context(experiment(folder, offsets={"doses": [-1]}))
    changed = {u.table for u, key in doses.units(*stage.writes).items() if done.keys.get(u) != key}
    assert changed == {"interventions"}
    vectors = context(experiment(folder, value_vectors=2))
    changed = {u.table for u, key in vectors.units(*stage.writes).items() if done.keys.get(u) != key}
    assert {"neurons", "activations", "sources", "source_activations"} <= changed
    assert not {"probes", "continuations", "alignments", "predictors"} & changed


def test_keys_of_edited_models_follow_the_options_of_their_engine(folder: Path, done: Context) -> None:
    (stage,) = stages(done, "explain")

    def keys(**options: int) -> dict[Unit, str]:
        raw = experiment(folder)
        raw["generate"] |= {"engine": "vllm", **options}
        return dict(context(raw).units(*stage.writes))

    before, after = keys(), keys(max_model_len=64)
    assert "interventions" in {unit.table for unit in before if before[unit] != after[unit]}


def test_edited_models_keep_a_seed_per_prompt_if_the_run_has_one_per_unit(folder: Path) -> None:
    raw = experiment(folder, edited_samples=2)
    raw["generate"] |= {"samples": 2, "temperature": 1.0, "seeding": "unit"}
    sampled = validate(raw)
    assert sampled.generate.seeding == "unit"
    assert edited_generation(sampled).seeding == "prompt"


def test_without_the_block_there_is_no_unit_and_no_metric(folder: Path) -> None:
    raw = experiment(folder)
    del raw["explain"]
    within = context(raw)
    (stage,) = stages(within, "explain")
    assert not within.units_of([stage]) and stage.section(within) is None
    measure = next(unit for unit in within.planned if unit.table == "metrics")
    assert "source_activation" not in str(within.planned[measure].settings)


def test_all_mistakes_are_said_before_anything_starts(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "neurons.json").write_text("[[1, 2, 3]]")
    (tmp_path / "parallel.csv").write_text("fr,de\na,b\n")
    raw = experiment(
        folder,
        sources=str(tmp_path / "neurons.json"),
        choose=None,
        shares=str(tmp_path / "none.csv"),
        parallel={"source": "file", "path": str(tmp_path / "parallel.csv")},
        probe={"source": "stored", "path": str(tmp_path / "probe.pt")},
    )
    raw["models"]["loud"] = {"path": str(folder / "quiet"), "parent": "quiet"}
    with pytest.raises(ConfigError) as caught:
        check(validate(raw))
    said = {problem.field: problem.rule for problem in caught.value.problems}
    assert said.keys() >= {
        "explain.sources",
        "explain.shares",
        "explain.parallel.path",
        "explain.probe.path",
        "explain.models",
    }
    assert "one generation" in said["explain.models"] and "English" in said["explain.parallel.path"]


def test_what_an_engine_or_quantised_weights_cannot_do_is_said(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "base", tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    raw = experiment(folder, engine="vllm")
    raw["models"]["base"]["path"] = str(tmp_path / "base")
    raw["generate"]["pipeline_parallel"] = 2
    raw["explain"]["probe"] = {**raw["explain"].get("probe", {}), "layer": 2}
    with pytest.raises(ConfigError) as caught:
        check(validate(raw))
    rules = {problem.field: problem.rule for problem in caught.value.problems}
    assert "pipeline_parallel" in rules["explain.engine"] and "quantised" in rules["explain.transplants"]
    assert "less than 2" in rules["explain.probe.layer"]


def test_sources_can_be_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "neurons.json").write_text("[[0, 3], [1, 7]]")
    given = {"sources": str(tmp_path / "neurons.json"), "choose": None}
    within = context(experiment(folder, **given, offsets=None, transplants=None, parallel=None) | {"name": "given"})
    run_alone(within, stages(within, "explain"))
    unit = next(unit for unit in within.units(*ALL) if unit.table == "sources")
    found = within.store.read(unit, within.keys[unit]).to_pylist()
    assert [(row["layer"], row["neuron"], row["source"]) for row in found] == [(0, 3, True), (1, 7, True)]
