"""An estimate as a JSON document: every number has its unit in its name and its assumption beside it."""

from typing import Any

from detox_ray.estimate import ExperimentEstimate, Training
from detox_ray.estimate.engine_memory import EngineMemory


def document_of(estimate: ExperimentEstimate) -> dict[str, Any]:
    """Return the estimate as objects of JSON."""
    models = {name: {"parameters": count, "assumption": source} for name, (count, source) in estimate.models.items()}
    return {
        "experiment": estimate.name,
        "estimate": True,
        "assumptions": estimate.assumptions.as_text(),
        "fits": not estimate.problems,
        "problems": [problem._asdict() for problem in estimate.problems],
        "models": models,
        "trainings": [_training(training) for training in estimate.trainings],
        "engines": [{**_engine(engine), "fits": engine.fits} for engine in estimate.engines],
        "memory": [{**held._asdict(), "fits": held.fits} for held in estimate.memory],
        "prompts": estimate.prompts._asdict(),
        "stages": [stage._asdict() for stage in estimate.stages],
        "hours": estimate.hours,
        "device_hours": estimate.device_hours,
        "cost": estimate.cost,
        "disk": [space._asdict() for space in estimate.disk],
        "disk_bytes": sum(space.bytes for space in estimate.disk),
    }


def _training(training: Training) -> dict[str, Any]:
    return {
        "models": training.names,
        "parameters": training.parameters,
        "trained_parameters": training.trained,
        "workers": training.workers,
        "rows": {**training.rows._asdict(), "padding_share": training.rows.padding_share},
        "steps": training.work.steps,
        "evaluations": training.work.evaluations,
        "tokens": training.work.training.tokens,
        "operations": training.work.operations,
        "memory": {
            "device_bytes": training.memory.needed("device"),
            "limit_bytes": training.limit,
            "fits": training.memory.needed("device") <= training.limit,
            "host_bytes": training.memory.needed("host"),
            "nvme_bytes": training.memory.needed("nvme"),
            "parts": [part._asdict() for part in training.memory.parts],
        },
        "advice": [advice._asdict() for advice in training.advice],
    }


def _engine(engine: EngineMemory) -> dict[str, Any]:
    names = {
        "weights": "weights_bytes",
        "room": "kv_room_bytes",
        "per_token": "kv_bytes_per_token",
        "limit": "limit_bytes",
    }
    return {names.get(name, name): value for name, value in engine._asdict().items()}
