"""Whatever changes a committed number changes its key: names, places and order included.

The units that models and scorers would make are made up here, each as a function of what it is made from, whatever the
names of that are: so two units that would hold the same in a real run do so here. Measuring is real.
"""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from rich.console import Console

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.cluster.unit_jobs import UnitActors
from detox_ray.config import loading
from detox_ray.report.stage import PAGE
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.run.stages import commands
from detox_ray.storage import TABLES, Store, Unit, key_of
from detox_ray.storage.tables import LABELLED, METRICS, OK, TEXTS
from detox_ray.storage.tables import PROMPTS as ASKED

Raw = dict[str, Any]
LANGUAGES = ("en", "fr", "nl")
PROMPTS, SAMPLES = 3, 2
QUIET = Progress(Console(quiet=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, texts, labelled text, word lists and folders that look like models (only their bytes count here)."""
    folder = tmp_path_factory.mktemp("keys")
    rows = [{"language": code, "text": f"{code} {n}"} for code in LANGUAGES for n in range(PROMPTS)]
    labelled = [row | {"label": n % 2} for n, row in enumerate(row for row in rows for _ in range(3))]
    pairs = [{"prompt": "a", "chosen": " b", "rejected": " c"}]
    for name, content in {"prompts": rows, "texts": rows, "labelled": labelled, "pairs": pairs}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / name / file).write_text(json.dumps({"of": name}))
        (folder / f"{name}.json").write_text(json.dumps({code: [name] for code in LANGUAGES}))
    return folder


def experiment(folder: Path, rng: random.Random) -> Raw:
    """A random small experiment, as a YAML file would hold it."""

    def source(name: str) -> Raw:
        return {"source": "file", "path": str(folder / f"{name}.jsonl")}

    paths = [str(folder / name) for name in ("one", "two", "three")]
    names = rng.sample(["base", "alpha", "zeta", "m.1"], 3)
    models: Raw = {name: {"path": path} for name, path in zip(names[: rng.randint(1, 3)], paths, strict=False)}
    if rng.random() < 0.5:
        models["tuned"] = {"train": {"parent": names[0], "max_steps": 2, "seeds": rng.choice([[1], [1, 2]])}}
    scorers = [
        {"name": name, "path": f"{path}.json", "type": "lexicon"} for name, path in zip("st", paths, strict=False)
    ]
    evaluators = [{"name": name, "path": path} for name, path in zip("ve", paths, strict=False)]
    return {
        "name": "run",
        "languages": rng.sample(LANGUAGES, 2),
        "seed": rng.randint(0, 9),
        "data": {"prompts": source("prompts"), "texts": source("texts"), "pairs": source("pairs")},
        "models": models,
        "generate": {"engine": "transformers", "samples": SAMPLES},
        "score": {"scorers": scorers},
        "validity": source("labelled") | {"minimum": 2},
        "quality": {"fluency": evaluators},
        "measure": {"bootstrap": 100},
    }


class Result(NamedTuple):
    """The keys of a plan, and the rows that stand under those of the measure stage."""

    keys: dict[Unit, str]
    rows: dict[Unit, list[Raw]]


def carried_out(raw: Raw, storage: Path) -> Result:
    """Prepare, make up what would be generated and scored and is not there yet, and measure."""
    context = prepare(loading.validate(raw | {"storage": str(storage)}), Store(str(storage / "run")), QUIET)
    stages_of = commands(context.stages)
    for unit, key in context.pending([*stages_of["generate"], *stages_of["score"]]).items():
        context.store.commit(unit, key, made_up(context, unit), {"kind": "causal"})
    measured = context.units_of(stages_of["measure"])
    pipeline.make(context, "measure", stages_of["measure"], measured, None, QUIET, UnitActors())
    rows = {unit: context.store.read(unit, key).to_pylist() for unit, key in measured.items()}
    return Result(measured | {PAGE: context.keys[PAGE]}, rows)


def content(context: Context, unit: Unit) -> str:
    """A hash of what the unit is made from, without names."""
    if unit not in context.planned:
        return context.keys[unit]
    inputs, settings = context.planned[unit]
    return key_of(table=unit.table, settings=settings, inputs=[content(context, each) for each in inputs])


def made_up(context: Context, unit: Unit) -> pa.Table:
    """Rows of the unit's table for its language's prompts or texts, with values that follow from its content."""
    rng, schema = random.Random(content(context, unit)), TABLES[unit.table].columns
    table = {"likelihoods": TEXTS, "labelled_scores": LABELLED}.get(unit.table, ASKED)
    source = table.unit(language=unit["language"])
    ids = context.store.read(source, context.keys[source])[0].to_pylist()
    samples = range(SAMPLES) if "sample" in schema.names else range(1)
    fixed: dict[str, Callable[[], Any]] = {
        "attribute": lambda: "toxicity",
        "status": lambda: OK,
        "finish_reason": lambda: "stop",
        "identified": lambda: rng.choice(LANGUAGES),
    }
    by_type: dict[pa.DataType, Callable[[], Any]] = {
        pa.bool_(): lambda: rng.random() < 0.5,
        pa.string(): lambda: f"word{rng.randint(0, 3)}",
        pa.float64(): rng.random,
        pa.int32(): lambda: rng.randint(5, 20),
        pa.int64(): lambda: rng.randint(5, 20),
    }
    rows = []
    for text_id in ids:
        for sample in samples:
            row = {field.name: fixed.get(field.name, by_type.get(field.type, lambda: None))() for field in schema}
            rows.append(row | {schema.names[0]: text_id} | ({"sample": sample} if "sample" in schema.names else {}))
    return pa.Table.from_pylist(rows, schema=schema)


def reordered(mapping: Raw) -> Raw:
    return dict(reversed(mapping.items()))


def renamed_model(raw: Raw) -> None:
    """The first model gets another name, and its children another parent."""
    old = next(iter(raw["models"]))
    raw["models"] = {("renamed" if name == old else name): model for name, model in raw["models"].items()}
    for model in raw["models"].values():
        if model.get("train", {}).get("parent") == old:
            model["train"]["parent"] = "renamed"


def swapped_models(raw: Raw) -> None:
    given = [model for model in raw["models"].values() if "path" in model]
    given[0]["path"], given[-1]["path"] = given[-1]["path"], given[0]["path"]


def swapped(items: list[Raw]) -> None:
    items[0]["path"], items[1]["path"] = items[1]["path"], items[0]["path"]


# Changes of one field, or of one name wherever it stands. Those of NAMES change rows in every experiment they apply to.
NAMES: dict[str, Callable[[Raw], Any]] = {
    "rename a model": renamed_model,
    "rename a scorer": lambda raw: raw["score"]["scorers"][0].update(name="renamed"),
    "rename an evaluator": lambda raw: raw["quality"]["fluency"][0].update(name="renamed"),
    "swap two scorers": lambda raw: swapped(raw["score"]["scorers"]),
    "swap two evaluators": lambda raw: swapped(raw["quality"]["fluency"]),
    "reorder scorers": lambda raw: raw["score"]["scorers"].reverse(),
    "reorder languages": lambda raw: raw["languages"].reverse(),
    "leave a language out": lambda raw: raw["languages"].pop(),
}
CHANGES: dict[str, Callable[[Raw], Any]] = NAMES | {
    "swap two models": swapped_models,
    "reorder evaluators": lambda raw: raw["quality"]["fluency"].reverse(),
    "reorder models": lambda raw: raw.update(models=reordered(raw["models"])),
    "another seed": lambda raw: raw.update(seed=raw["seed"] + 1),
    "another temperature": lambda raw: raw["generate"].update(temperature=0.5),
    "fewer prompts": lambda raw: raw["data"]["prompts"].update(per_language=2),
    "fewer texts": lambda raw: raw["data"]["texts"].update(per_language=2),
    "no texts": lambda raw: raw["data"].pop("texts"),
    "no labelled text": lambda raw: raw.pop("validity"),
    "another reference": lambda raw: raw["score"].update(reference="s"),
    "no comparison": lambda raw: raw.update(compare=[]),
    "no evaluators": lambda raw: raw["quality"].update(fluency=[]),
    "no diversity": lambda raw: raw["quality"].update(diversity=None),
    "no identifier": lambda raw: raw["quality"].update(identifier=None),
    "a scorer's languages": lambda raw: raw["score"]["scorers"][0].update(languages=["en"]),
    "another minimum of labels": lambda raw: raw["validity"].update(minimum=10_000),
    "another convention": lambda raw: raw["measure"].update(convention="paper"),
    "another threshold": lambda raw: raw["measure"].update(threshold=0.25),
    "another interval": lambda raw: raw["measure"].update(interval="bca"),
    "another confidence": lambda raw: raw["measure"].update(confidence=0.8),
    "another macro": lambda raw: raw["measure"].update(macro="all"),
    "wrong languages out": lambda raw: raw["measure"].update(wrong_language="exclude"),
}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_whatever_changes_a_measured_row_changes_its_key(folder: Path, tmp_path: Path, seed: int) -> None:
    raw = experiment(folder, random.Random(seed))
    before = carried_out(raw, tmp_path)
    differing = set()
    for change, apply in CHANGES.items():
        changed = copy.deepcopy(raw)
        apply(changed)
        if changed == raw and list(changed["models"]) == list(raw["models"]):
            continue
        after = carried_out(changed, tmp_path)
        for unit, rows in after.rows.items():
            if rows != before.rows[unit]:
                differing.add(change)
                assert after.keys[unit] != before.keys[unit], f"{change}: {unit.folder} has other rows, the same key"
                assert after.keys[PAGE] != before.keys[PAGE], f"{change}: the report shows them under its old key"
    assert differing >= NAMES.keys()


def test_two_models_that_change_places_are_measured_again(folder: Path, tmp_path: Path) -> None:
    raw = experiment(folder, random.Random(0))
    raw["models"] = {"base": {"path": str(folder / "one")}, "other": {"path": str(folder / "two")}}
    before = carried_out(raw, tmp_path)
    swapped_models(raw)
    after = carried_out(raw, tmp_path)
    assert {unit for unit in after.keys if before.keys[unit] == after.keys[unit]} == set()

    def value(result: Result, model: str) -> list[float]:
        return [row["value"] for row in result.rows[METRICS.unit()] if row["model"] == model]

    assert value(after, "base") == value(before, "other") != value(before, "base")


def test_the_same_experiment_has_the_same_keys(folder: Path, tmp_path: Path) -> None:
    raw = experiment(folder, random.Random(0))
    keys = carried_out(raw, tmp_path).keys
    tables = {"metrics", "comparisons", "validity", "agreements", "status_counts", "report"}
    assert {unit.table for unit in keys} == tables
    assert carried_out(copy.deepcopy(raw), tmp_path).keys == keys
