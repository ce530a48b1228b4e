"""Outcomes of edited models: offsets of the sources and transplants of neurons, each compared with matched draws.

All edits of a model continue the same prompts with the same seeds, so a dose is compared with no dose prompt by prompt.
Toxicity is reported together with the perplexity of harmless texts and the language of the completions, because an edit
that destroys the model also lowers toxicity.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from detox_ray.explain.editable_models import EditableModel
from detox_ray.explain.planned_edits import PlannedEdit
from detox_ray.explain.reading import Reading
from detox_ray.explain.tables import INTERVENTIONS
from detox_ray.generate.seeds import prompt_seed
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron


def most_changed(mlps: Mlps, other: Mlps, before: Reading) -> list[Neuron]:
    """Return all neurons, ranked by how much tuning changed their own weights, weighted by their activation.

    To first order, the output of a neuron with value vector v and incoming weights k before tuning (v' and k' after)
    changes by rms(m)·(|v' - v| + |v|·|k' - k|/|k|). A neuron whose weights did not change ranks last, however much its
    activation changed: that change comes from other neurons, and a transplant would have no effect.

    Args:
        mlps: the parent's MLPs.
        other: the tuned model's MLPs.
        before: a reading of the parent.
    """
    changes: list[tuple[float, Neuron]] = []
    for layer, reading in enumerate(before.layers):
        v_ND, other_ND = (side.value_vectors(layer).float().cpu() for side in (mlps, other))
        k, other_k = (_incoming(side, layer) for side in (mlps, other))
        relative_N = (other_k - k).norm(dim=1) / k.norm(dim=1).clamp(min=1e-12)
        rms_N = np.sqrt(reading.squares / before.steps)
        change_N = rms_N * ((other_ND - v_ND).norm(dim=1) + v_ND.norm(dim=1) * relative_N).numpy()
        changes += [(float(change), (layer, index)) for index, change in enumerate(change_N)]
    return [neuron for _, neuron in sorted(changes, key=lambda change: (-change[0], change[1]))]


def _incoming(mlps: Mlps, layer: int) -> torch.Tensor:
    """Return the incoming weights of a layer's neurons, one row per neuron."""
    return torch.cat([rows.reshape(len(rows), -1).float().cpu() for rows in mlps.incoming(layer)], dim=1)


def matched(neurons: Sequence[Neuron], sizes: Sequence[int], seed: int) -> list[Neuron]:
    """Return random other neurons, as many in each layer as given, or fewer if the layer has no more."""
    rng = np.random.default_rng(seed)
    drawn: list[Neuron] = []
    for layer, size in enumerate(sizes):
        taken = [index for at, index in neurons if at == layer]
        others = np.setdiff1d(np.arange(size), taken)
        indices = rng.choice(others, min(len(taken), len(others)), replace=False)
        drawn += [(layer, int(index)) for index in sorted(indices)]
    return drawn


class Items(NamedTuple):
    """The prompts that edited models continue, and the texts that they read, in all languages."""

    languages: list[str]  # each prompt's language
    ids: list[str]
    prompts: list[str]
    text_languages: list[str]  # each harmless text's language
    text_ids: list[str]
    texts: list[str]


class Judges(NamedTuple):
    """Functions that judge completions one by one; None marks a completion that cannot be judged."""

    toxicity: Callable[[list[str], str], list[float | None]]
    language: Callable[[list[str], str], list[float | None]] | None  # 1 if a text is in the language, else 0


def outcome_rows(
    edit: PlannedEdit, name: str, model: EditableModel, items: Items, seed: int, judges: Judges
) -> pa.Table:
    """Return the rows of INTERVENTIONS for one edit, which is already applied to the model.

    Args:
        edit: the edit.
        name: name of the edited model.
        model: the edited model.
        items: the prompts to continue and the texts to read.
        seed: the experiment's seed.
        judges: judges of the completions.
    """
    head = {"intervention": edit.intervention, "draw": edit.draw, "amount": edit.amount, "edited": name}
    seeds = [prompt_seed(seed, prompt_id) for prompt_id in items.ids]
    generated = model.engine.generate(items.prompts, seeds)
    samples_by_prompt: dict[str, list[tuple[str, list[str]]]] = {}  # language -> (prompt_id, completions)
    for language, prompt_id, samples in zip(items.languages, items.ids, generated.completions, strict=True):
        samples_by_prompt.setdefault(language, []).append((prompt_id, [sample.text for sample in samples]))
    rows: list[dict[str, Any]] = []
    for language, of_language in samples_by_prompt.items():
        for quantity, judge in (("toxicity", judges.toxicity), ("language", judges.language)):
            if judge is not None:
                row = {**head, "language": language, "quantity": quantity}
                rows += [{**row, **each} for each in _judged(of_language, language, judge)]
    losses = model.losses(items.texts)
    for language, text_id, (nll, tokens) in zip(items.text_languages, items.text_ids, losses, strict=True):
        row = {**head, "language": language, "quantity": "nll"}
        rows.append({**row, "item_id": text_id, "total": nll, "count": tokens})
    return pa.Table.from_pylist(rows, schema=INTERVENTIONS.columns)


def _judged(
    of_language: Sequence[tuple[str, list[str]]],
    language: str,
    judge: Callable[[list[str], str], list[float | None]],
) -> list[dict[str, Any]]:
    """Return the sum and the number of the judgements of each prompt's completions."""
    values = iter(judge([text for _, samples in of_language for text in samples], language))
    rows: list[dict[str, Any]] = []
    for prompt_id, samples in of_language:
        known = [value for value in (next(values) for _ in samples) if value is not None]
        rows.append({"item_id": prompt_id, "total": float(sum(known)), "count": len(known)})
    return rows
