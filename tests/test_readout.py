"""A run read back: groups of seeds and imported checkpoints reach the measuring, the manifest and the terminal."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from detox_ray.cli import terminal
from detox_ray.config.loading import validate
from detox_ray.measure import specs
from detox_ray.run import reading
from detox_ray.run.plan import Plan
from detox_ray.storage import Store, Unit
from detox_ray.storage.metric_spec import Metrics


def prepared(models: dict[str, Any]) -> Any:
    """Of an experiment that made nothing yet."""
    experiment = validate(
        {
            "name": "mine",
            "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
            "models": {"base": {"path": "toy17"}, **models},
            "score": {"scorers": ["toy17-lexicon"]},
        }
    )
    resolved = {name: SimpleNamespace(name=name, revision=None, key=f"key of {name}") for name in experiment.models}
    empty = Plan({}, {}, {}, {}, {})
    return SimpleNamespace(
        experiment=experiment, store=None, plan=empty, models=resolved, scorers=[], prompts={}, evaluators=[]
    )


def test_seeds_are_measured_as_a_group() -> None:
    inputs = reading.inputs(prepared({"detox": {"train": {"parent": "base", "seeds": [0, 1]}}}), {})
    assert inputs.seed_groups == {"detox": ["detox-seed0", "detox-seed1"]}
    assert inputs.models == ["base", "detox-seed0", "detox-seed1"]


def test_imported_checkpoint_is_compared_with_its_parent_and_the_manifest_says_both() -> None:
    made = prepared({"mGPT-detox": {"path": "BatsResearch/mGPT-detox", "parent": "base"}})
    assert reading.inputs(made, {}).compare == [("mGPT-detox", "base")]
    models = reading.what_ran(made)["models"]
    assert models["mGPT-detox"] == {
        **{"path": "BatsResearch/mGPT-detox", "parent": "base", "revision": None, "key": "key of mGPT-detox"}
    }
    assert models["base"] == {"path": "toy17", "revision": None, "key": "key of base"}


def test_show_lists_every_seed_and_tells_their_mean(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    units = [Unit("generations", (f"detox-seed{seed}", "fr")) for seed in (0, 1)]
    plan = {"generate": [[unit.table, list(unit.partition), unit.shard, "key"] for unit in units]}
    store.write_json(reading.PLAN, plan)
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
    said = io.StringIO()
    terminal.show(Console(file=said, width=200), store)
    assert "detox-seed0" in said.getvalue() and "detox-seed1" in said.getvalue()
    assert "base 0.500, detox (mean of 2 seeds) 0.150 (-70%); difference -0.350 [-0.400, -0.300]" in said.getvalue()
    assert said.getvalue().count("average toxicity over") == 1
