"""A run read back: groups of seeds and imported checkpoints reach the measuring, the manifest and the terminal."""

from pathlib import Path

import pytest
from contexts import BASE, context

from detox_ray.cli.output import Format, Output
from detox_ray.cli.run_tables import write_state
from detox_ray.measure import specs
from detox_ray.measure.stage import inputs_of
from detox_ray.run import open_run
from detox_ray.run.record import PLAN, write_manifest
from detox_ray.storage import Store
from detox_ray.storage.metric_spec import Metrics
from detox_ray.storage.tables import CHECKPOINTS, GENERATIONS


def test_seeds_are_measured_as_a_group(tmp_path: Path) -> None:
    train = {"parent": "base", "seeds": [0, 1]}
    within = context({}, store=Store.at(str(tmp_path)), models={"base": BASE, "detox": {"train": train}})
    inputs = inputs_of(within, {})
    assert inputs.seed_groups == {"detox": ["detox-seed0", "detox-seed1"]}
    assert inputs.models == ["base", "detox-seed0", "detox-seed1"]


def test_imported_checkpoint_is_compared_with_its_parent_and_the_manifest_says_both(tmp_path: Path) -> None:
    entry, store = {"path": "BatsResearch/mGPT-detox", "parent": "base"}, Store.at(str(tmp_path))
    units = {CHECKPOINTS.unit(model="mGPT-detox"): "key of it"}
    within = context(units, store=store, models={"base": BASE, "mGPT-detox": entry})
    assert inputs_of(within, {}).compare == [("mGPT-detox", "base")]
    write_manifest(within, "train", 1.0, None)
    models = store.read_json("manifest.json")["models"]
    assert models["mGPT-detox"] == {**entry, "revision": None, "key": "key of it"}
    assert models["base"] == {"path": "toy17", "revision": None, "key": BASE.key}


def test_show_lists_every_seed_and_tells_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.at(str(tmp_path))
    units = [GENERATIONS.unit(model=f"detox-seed{seed}", language="fr") for seed in (0, 1)]
    store.write_json(PLAN, {"generate": [[*unit.to_json(), "key"] for unit in units]})
    place = {"metric": "average_toxicity", "language": "macro", "part": "all", "scorer": "clf"}
    place["convention"] = "corrected"
    values = {"base": 0.5, "detox-seed0": 0.1, "detox-seed1": 0.2, "detox": 0.15}
    rest = {"status": "ok", "n": 17, "seeds": 1, "ci_low": -0.4, "ci_high": -0.3}
    gaps = [{**place, **rest, "model": name, "parent": "base", "difference": v - 0.5} for name, v in values.items()][1:]
    results = {
        **{"convention": "corrected", "primary_scorer": "clf", "compare": [{"model": "detox", "parent": "base"}]},
        "metrics_described": Metrics(specs()).to_rows(),
        "metrics": [{**place, "model": name, "value": value, "status": "ok"} for name, value in values.items()],
        "comparisons": [*gaps[:-1], {**gaps[-1], "seeds": 2}],
    }
    store.write_json("report/results.json", results)
    monkeypatch.delenv("COLUMNS", raising=False)
    write_state(Output(Format.TABLE), open_run(store.uri))
    text = capsys.readouterr().out
    assert "detox-seed0" in text and "detox-seed1" in text
    assert "base 0.500, detox (mean of 2 seeds) 0.150 (-70%); difference -0.350 [-0.400, -0.300]" in text
    assert text.count("average toxicity over") == 1
