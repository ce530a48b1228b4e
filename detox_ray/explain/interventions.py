"""What edited models do: offsets of the sources, and neurons of one model in another, each beside matched draws.

All edits of a model continue the same prompts with the same seeds, so that a dose is compared with no dose prompt by
prompt. The perplexity of harmless text stands beside every toxicity: an edit that destroys the model is no finding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from detox_ray.explain.activation_tables import NeuronSets
from detox_ray.explain.reading import Reading
from detox_ray.explain.tables import INTERVENTIONS, NONE, OFFSET
from detox_ray.generate.seeds import prompt_seed
from detox_ray.generate.transformers_engine import TransformersEngine
from detox_ray.models import edits
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron

Floats = NDArray[np.float64]


class Intervention(NamedTuple):
    """An edit of one model, by the columns of INTERVENTIONS."""

    intervention: str
    draw: int
    amount: float
    edited: str
    applied: Callable[[], AbstractContextManager[None]]


def untouched(model: str) -> Intervention:
    """Return the edit that changes nothing."""
    return Intervention(NONE, 0, 0.0, model, nullcontext)


def offsets(
    name: str, mlps: Mlps, sets: NeuronSets, ranks: Sequence[int], doses: Sequence[float], deviations: Sequence[float]
) -> Iterator[Intervention]:
    """Yield each dose of the sources and of every matched draw.

    Args:
        name: of the edited model.
        mlps: its MLPs.
        sets: candidates and draws.
        ranks: of the candidates that are sources.
        doses: constants.
        deviations: by rank, what a dose of 1 is: 1, or the source's standard deviation. A draw's neuron gets its
            source's.
    """
    for dose in doses:
        for draw, neurons in enumerate([sets.candidates, *sets.draws]):
            chosen = [neurons[rank] for rank in ranks]
            amounts = [dose * deviations[rank] for rank in ranks]
            yield Intervention(OFFSET, draw, dose, name, _applied(edits.offset, mlps, chosen, amounts))


def most_changed(mlps: Mlps, other: Mlps, before: Reading) -> list[Neuron]:
    """Return all neurons, those first whose own weights tuning changed most where they are active.

    To first order, a neuron with the value vector v and incoming weights k before and v', k' after writes something
    else by rms(m)·(|v' - v| + |v|·|k' - k|/|k|). A neuron with the same weights ranks last, however much its activation
    changed: that comes from other neurons, and a transplant would do nothing.

    Args:
        mlps: the parent's.
        other: the tuned model's.
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
    """Return all incoming weights of a layer's neurons, one row each."""
    return torch.cat([rows.reshape(len(rows), -1).float().cpu() for rows in mlps.incoming(layer)], dim=1)


def matched(neurons: Sequence[Neuron], sizes: Sequence[int], seed: int) -> list[Neuron]:
    """Return random neurons that are none of these, as many in each layer; fewer where a layer has no more."""
    rng = np.random.default_rng(seed)
    drawn: list[Neuron] = []
    for layer, size in enumerate(sizes):
        taken = [index for at, index in neurons if at == layer]
        others = np.setdiff1d(np.arange(size), taken)
        indices = rng.choice(others, min(len(taken), len(others)), replace=False)
        drawn += [(layer, int(index)) for index in sorted(indices)]
    return drawn


def transplants(
    direction: str,
    names: tuple[str, str],
    mlps: tuple[Mlps, Mlps],
    ranked: Sequence[Neuron],
    sizes: Sequence[int],
    draws: int,
    seed: int,
) -> Iterator[Intervention]:
    """Yield transplants of the first neurons of a ranking, and of matched draws.

    Args:
        direction: "into-parent" or "into-model".
        names: of the model that gets neurons, and of the one that gives them.
        mlps: their MLPs.
        ranked: all neurons.
        sizes: how many are transplanted.
        draws: random sets of each size.
        seed: of the draws.
    """
    for size in sizes:
        top = list(ranked[:size])
        for draw in range(draws + 1):
            neurons = top if draw == 0 else matched(top, mlps[0].sizes, seed + draw)
            weights = edits.neuron_weights(mlps[1], neurons)
            yield Intervention(
                direction, draw, float(len(top)), names[0], _applied(edits.transplanted, mlps[0], weights)
            )


def _applied(
    edit: Callable[..., AbstractContextManager[None]], *given: Any
) -> Callable[[], AbstractContextManager[None]]:
    return lambda: edit(*given)


class Prompts(NamedTuple):
    """What edited models continue and read."""

    ids: list[str]
    texts: list[str]
    held_out_ids: list[str]
    held_out: list[str]


def outcomes(
    interventions: Sequence[Intervention],
    models: Mapping[str, CausalModel],
    engines: Mapping[str, TransformersEngine],
    prompts: Prompts,
    seed: int,
    score: Callable[[list[str]], list[float | None]],
) -> pa.Table:
    """Return INTERVENTIONS of one language.

    Args:
        interventions: what to do.
        models: by name, those that are edited.
        engines: their engines.
        prompts: of the language.
        seed: the experiment's.
        score: toxicity of each text; None if it has none.
    """
    seeds = [prompt_seed(seed, prompt_id) for prompt_id in prompts.ids]
    completions: list[list[list[str]]] = []
    losses: list[list[tuple[float, int]]] = []
    for each in interventions:
        with each.applied():
            generated = engines[each.edited].generate(prompts.texts, seeds)
            losses.append(_losses(models[each.edited], prompts.held_out))
        completions.append([[completion.text for completion in samples] for samples in generated.completions])
    # All texts are scored together: many edits give the same ones.
    texts = [text for of_edit in completions for samples in of_edit for text in samples]
    scores = iter(score(texts))
    rows: list[dict[str, Any]] = []
    for each, of_edit, of_texts in zip(interventions, completions, losses, strict=True):
        row = {name: getattr(each, name) for name in ("intervention", "draw", "amount", "edited")}
        for prompt_id, samples in zip(prompts.ids, of_edit, strict=True):
            known = [value for value in (next(scores) for _ in samples) if value is not None]
            total = {"quantity": "toxicity", "item_id": prompt_id, "total": float(sum(known)), "count": len(known)}
            rows.append({**row, **total})
        for text_id, (nll, tokens) in zip(prompts.held_out_ids, of_texts, strict=True):
            rows.append({**row, "quantity": "nll", "item_id": text_id, "total": nll, "count": tokens})
    return pa.Table.from_pylist(rows, schema=INTERVENTIONS.columns)


def _losses(model: CausalModel, texts: Sequence[str]) -> list[tuple[float, int]]:
    """Return (nats, tokens) of each text; (0, 0) of one that leaves nothing to predict."""
    codec = model.codec
    given = max(1, len(codec.prefix))
    ids = [row[: codec.context] for row in codec.ids(texts)]
    rows = [row for row in ids if len(row) > given]
    nll = iter(model.nll(rows, given) if rows else [])
    return [(next(nll), len(row) - given) if len(row) > given else (0.0, 0) for row in ids]
