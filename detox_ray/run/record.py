"""Write and read the record of a run: its plan (plan.json) and its manifest (manifest.json)."""

from datetime import UTC, datetime
from typing import Any

from detox_ray.cluster import Cluster
from detox_ray.cluster.stage import Context
from detox_ray.cluster.timings import markers_by_work
from detox_ray.run import manifest
from detox_ray.storage import Store, Unit

PLAN = "plan.json"
MANIFEST = "manifest.json"


def write_plan(context: Context) -> None:
    """Write plan.json: the units of each stage, which `show` and other tools read."""
    stages = {
        stage.name: [[*unit.to_json(), key] for unit, key in context.units_of([stage]).items()]
        for stage in context.stages
    }
    context.store.write_json(PLAN, stages, indent=None)  # many thousand units in a large run


def read_plan(store: Store) -> dict[str, dict[Unit, str]]:
    """Read the plan of the latest call on a run's folder: stage -> unit -> key.

    Raises FileNotFoundError if there is no plan.
    """
    stages = store.read_json(PLAN)
    return {stage: {Unit.from_json(row[:-1]): row[-1] for row in rows} for stage, rows in stages.items()}


def write_manifest(context: Context, command: str, seconds: float, cluster: Cluster | None) -> None:
    """Update manifest.json after a command: what ran, on which hardware, and for how long over all calls."""
    store = context.store
    old: dict[str, Any] = store.read_json(MANIFEST) if store.exists(MANIFEST) else {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    spent = dict(old.get("stage_seconds", {}))
    spent[command] = round(spent.get(command, 0.0) + seconds, 2)
    content = {
        "experiment": context.experiment.name,
        "started": old.get("started", now),
        "updated": now,
        "code_revision": manifest.code_revision(),
        "versions": manifest.versions(),
        "hardware": manifest.hardware(),
        "cluster": cluster._asdict() if cluster else old.get("cluster"),
        "stage_seconds": spent,
        "models": _models(context),
        **_work(context),
    }
    store.write_json(MANIFEST, content)


def _models(context: Context) -> dict[str, Any]:
    models = {}
    for name, model in context.models.items():
        config = context.experiment.models[name]
        origin = {"path": config.path} if config.path else {}
        origin |= {"parent": config.descends_from} if config.descends_from else {}
        models[name] = {**origin, "revision": model.revision, "key": model.key}
    return models


def _work(context: Context) -> dict[str, Any]:
    """Return title of a stage -> further keys (such as a scorer's name) -> model -> summary of its committed units."""
    records: dict[str, Any] = {}
    for work, markers in markers_by_work(context, keep=True).items():
        place = records.setdefault(work.stage.title, {})
        for key in work.keys:
            place = place.setdefault(key, {})
        place[work.model] = work.stage.record(markers)
    return records
