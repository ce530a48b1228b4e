"""The train stage: makes a checkpoint of every model that has a train block, and of every imported adapter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detox_ray.cluster import Cluster
from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.config import Experiment, Problem, TrainConfig
from detox_ray.storage import Unit
from detox_ray.storage.tables import CHECKPOINTS, CORPUS, ORIGINALS, PAIRS
from detox_ray.train import checkpoint_import, settings
from detox_ray.train.checkpoint_import import import_checkpoint
from detox_ray.train.job import train


class TrainStage(Stage):
    """The stage that makes models from their parents, parents first."""

    name = command = title = "train"
    version = settings.VERSION
    summary = "a checkpoint of every model that has a train block, parents first"
    measure = "steps"
    needs = (PAIRS, CORPUS, ORIGINALS)
    writes = (CHECKPOINTS,)

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        problems = []
        for name, model in experiment.models.items():
            if model.train is not None:
                problems += settings.check(f"models.{name}.train", model.train)
        return problems

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        experiment, planned = context.experiment, dict[Unit, Planned]()
        for name in experiment.descent_order():
            model, unit = experiment.models[name], CHECKPOINTS.unit(model=name)
            if model.train is not None:
                chosen: dict[str, Any] = {"train": settings.influence(model.train, experiment.seed)}
                inputs: tuple[Unit, ...] = (learns_from(model.train),)
            elif name in context.imported:
                chosen = {"imported": context.given[name].key, "imports": checkpoint_import.VERSION}
                inputs = ()
            else:
                continue
            assert model.descends_from is not None
            parent = CHECKPOINTS.unit(model=model.descends_from)
            if parent in planned:
                planned[unit] = Planned((*inputs, parent), chosen)
            else:
                planned[unit] = Planned(inputs, {**chosen, "parent": context.given[model.descends_from].key})
        return planned

    def run(self, context: Context, pending: Mapping[Unit, str], cluster: Cluster | None, progress: Progress) -> None:
        assert cluster is not None
        for name in context.experiment.descent_order():
            unit, model = CHECKPOINTS.unit(model=name), context.experiment.models[name]
            if unit not in pending:
                continue
            assert model.descends_from is not None
            parent = context.model(model.descends_from)
            if model.train is None:
                import_checkpoint(context.given[name], parent, pending[unit], context.store, progress)
                continue
            rows = learns_from(model.train)
            train(
                name=name,
                config=model.train,
                parent=parent,
                rows=(rows, context.keys[rows]),
                seed=context.experiment.seed,
                key=pending[unit],
                store=context.store,
                cluster=cluster,
                progress=progress,
            )

    def costs(self, work: Workload) -> list[Cost]:
        return work.training()

    def rate(self, markers: Sequence[Mapping[str, Any]], seconds: float) -> str:
        steps = sum(marker.get("steps", 0) for marker in markers)
        return f"{steps / seconds:.2f} steps/s, start-up and export included" if steps else ""

    def record(self, markers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        (marker,) = markers
        return {name: value for name, value in marker.items() if name not in ("log", "validation", "rows")}


def learns_from(config: TrainConfig) -> Unit:
    """Return the unit of data from which a training learns."""
    tables = {"corpus": CORPUS, "originals": ORIGINALS}
    return tables.get(config.train_on or "pairs", PAIRS).unit()
