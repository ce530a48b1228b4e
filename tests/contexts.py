"""Plans of a stage by itself: what stands before it is given as units and their keys, and nothing is read."""

from collections.abc import Iterable, Mapping
from typing import Any

from detox_ray.cluster.stage import Context, Input, Stage
from detox_ray.config.loading import validate
from detox_ray.models import LoadableModel
from detox_ray.run.plan import plan
from detox_ray.score import ResolvedScorer
from detox_ray.storage import Store, Unit

BASE = LoadableModel("base", "/nowhere", False, None, "auto", "m" * 16)


def context(
    units: Mapping[Unit, str],
    *,
    store: Store | None = None,
    models: Iterable[LoadableModel] | Mapping[str, Any] = (BASE,),
    scorers: Iterable[ResolvedScorer] = (),
    rows: int = 1,
    **fields: Any,
) -> Context:
    """A context in which ``units`` are planned; ``fields`` are the experiment's. Each unit of data has
    ``rows``. ``models``: those that are given, or by name also entries of the YAML."""
    named = dict(models) if isinstance(models, Mapping) else {model.name: model for model in models}
    given = {name: model for name, model in named.items() if isinstance(model, LoadableModel)}
    entries = {name: {"path": "toy17", "dtype": model.dtype} for name, model in given.items()}
    raw = {
        "name": "mine",
        "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
        "models": {name: entries.get(name, entry) for name, entry in named.items()},
        "score": {"scorers": ["toy17-lexicon"]},
    }
    data = {unit: Input(key, rows) for unit, key in units.items()}
    made = Context(validate(raw | fields), store, [], data, given, frozenset())  # type: ignore[arg-type]
    made.keys.update(units)
    made.resolved["scores"] = list(scorers)
    return made


def planned(stage: Stage, within: Context) -> dict[Unit, str]:
    """Unit -> key of what a stage plans."""
    if stage.name not in within.resolved:
        within.resolved[stage.name] = stage.resolve(within)
    plan(within, stage)
    return within.units_of([stage])
