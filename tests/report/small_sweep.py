"""A small experiment whose model was trained with three learning rates and two seeds each; its numbers are made up."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
from small_experiment import content

from detox_ray.config import Experiment
from detox_ray.report import ReportContent
from detox_ray.storage.tables import COMPARISONS, METRICS, OK

RATES = (1e-5, 5e-6, 2e-4)  # not sorted, neither as numbers nor as text
FALL = {1e-5: 0.5, 5e-6: 0.2, 2e-4: 0.8}  # toxicity after tuning is this much less than detox's is of base


def experiment(train: dict[str, Any]) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "swept",
            "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
            "models": {"base": {"path": "toy17"}, "detox": {"train": {"parent": "base", **train}}},
            "score": {"scorers": ["toy17-lexicon"]},
        }
    )


def swept(train: dict[str, Any] | None = None, languages: tuple[str, ...] = ("ar", "en")) -> ReportContent:
    """Every trained model's numbers are those of `content`'s detox, scaled; a group's lie between its seeds'."""
    made = experiment({"learning_rate": list(RATES), "seeds": [0, 1]} if train is None else train)
    plain = content(languages)
    sizes = {label: len(models) for label, models in made.seed_groups.items()}
    tuned = [name for name in made.models if name != "base"] + list(made.seed_groups)
    metrics = [row for row in plain.metrics.to_pylist() if row["model"] == "base"]
    comparisons: list[dict[str, Any]] = []
    for place, name in enumerate(tuned):
        seeds = sizes.get(name, 1)
        variant = made.models[name if seeds == 1 else made.seed_groups[name][0]].variant
        assert variant is not None
        rate = variant.values.get("learning_rate")
        scale = 1 - FALL.get(rate, 0.1 * place) + (0.02 * int(variant.values.get("seed", 0)) if seeds == 1 else 0.01)  # type: ignore[arg-type]
        own = {"model": name, "seeds": seeds, "seed_std": 0.0141 if seeds > 1 else None}
        for row in plain.metrics.to_pylist():
            if row["model"] == "detox":
                factor = scale if "toxic" in row["metric"] else 2 - scale
                numbers = {key: row[key] and row[key] * factor for key in ("value", "ci_low", "ci_high")}
                metrics.append({**row, **numbers, **own} | ({} if row["status"] == OK else {"seed_std": None}))
        comparisons += [{**row, **own, "parent": "base"} for row in plain.comparisons.to_pylist()]
    return replace(
        plain,
        experiment="swept",
        models=list(made.models),
        compare=[(pair.model, pair.parent) for pair in made.comparisons],
        metrics=pa.Table.from_pylist(metrics, schema=METRICS.columns),
        comparisons=pa.Table.from_pylist(comparisons, schema=COMPARISONS.columns),
        samples=(),
        seed_groups=made.seed_groups,
        sweeps=made.sweeps,
    )
