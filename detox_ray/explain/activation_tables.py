"""Conversion of readings to tables, and the tables computed from them: sources, source activations, contributions.

A source is a candidate (a value vector near the probe) that is active while the parent continues English prompts.
Sources are compared with matched draws: for each source a random neuron of its layer, `draws` times.

Shapes: P prompts, N neurons of a layer, K candidates, R resamples.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.config import InputError
from detox_ray.explain.attribution import contributions, groups
from detox_ray.explain.reading import LayerReading, Reading
from detox_ray.explain.tables import ACTIVATIONS, CONTRIBUTIONS, SOURCE_ACTIVATIONS, SOURCES
from detox_ray.measure.resampling import Resampling, percentile_interval, weights
from detox_ray.models.neurons import Neuron

Floats = NDArray[np.float64]


class Prompted(NamedTuple):
    """A model's reading over the prompts of one language."""

    prompt_ids: list[str]
    reading: Reading
    chosen: list[list[int]]  # for each layer, the neurons whose row sums ``reading`` holds


def to_rows(prompted: Prompted) -> pa.Table:
    """Convert a reading to rows of ACTIVATIONS."""
    rows = [
        {
            "layer": layer,
            "steps": prompted.reading.steps,
            "sum": layer_reading.sums,
            "sum_squares": layer_reading.squares,
            "positive": layer_reading.positive,
            "chosen": chosen,
            "prompt_ids": prompted.prompt_ids,
            "prompt_steps": prompted.reading.row_steps,
            "prompt_sums": list(layer_reading.row_sums),
        }
        for layer, (layer_reading, chosen) in enumerate(zip(prompted.reading.layers, prompted.chosen, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=ACTIVATIONS.columns)


def from_rows(rows: pa.Table) -> Prompted:
    """Convert rows of ACTIVATIONS, as `to_rows` returns them, to a reading."""
    layers, chosen = [], []
    first: dict[str, Any] = {}
    for row in sorted(rows.to_pylist(), key=lambda row: row["layer"]):
        first = first or row
        row_sums = np.array(row["prompt_sums"], dtype=np.float64).reshape(len(row["prompt_ids"]), len(row["chosen"]))
        layers.append(
            LayerReading(np.array(row["sum"]), np.array(row["sum_squares"]), np.array(row["positive"]), row_sums)
        )
        chosen.append(row["chosen"])
    return Prompted(first["prompt_ids"], Reading(layers, np.array(first["prompt_steps"], dtype=np.int64)), chosen)


class NeuronSets(NamedTuple):
    """The candidates in order of rank, and their partners in each draw."""

    candidates: list[Neuron]
    cosines: list[float]
    draws: list[list[Neuron]]  # indexed by draw, then by rank

    @classmethod
    def of(cls, neurons: pa.Table) -> "NeuronSets":
        """Build the sets from rows of NEURONS."""
        rows = sorted(neurons.to_pylist(), key=lambda row: (row["draw"], row["rank"]))
        sets: dict[int, list[Neuron]] = {}
        for row in rows:
            sets.setdefault(row["draw"], []).append((row["layer"], row["neuron"]))
        cosines = [row["cosine"] for row in rows if row["draw"] == 0]
        return cls(sets[0], cosines, [sets[draw] for draw in sorted(sets) if draw])

    def by_layer(self, layers: int) -> list[list[int]]:
        """Return the distinct neurons of all sets, grouped by layer."""
        chosen: list[dict[int, None]] = [{} for _ in range(layers)]
        for layer, index in [*self.candidates, *(neuron for draw in self.draws for neuron in draw)]:
            chosen[layer][index] = None
        return [list(indices) for indices in chosen]


def prompt_means(prompted: Prompted, neurons: Sequence[Neuron]) -> Floats:
    """Return (P, len(neurons)) mean activations over each prompt's steps; NaN for a prompt without steps."""
    steps = prompted.reading.row_steps[:, None]
    with np.errstate(invalid="ignore"):
        return prompt_sums(prompted, neurons) / np.where(steps > 0, steps, np.nan)


def prompt_sums(prompted: Prompted, neurons: Sequence[Neuron]) -> Floats:
    """Return (P, len(neurons)) sums of activations over each prompt's steps."""
    places = [{index: place for place, index in enumerate(indices)} for indices in prompted.chosen]
    columns = [prompted.reading.layers[layer].row_sums[:, places[layer][index]] for layer, index in neurons]
    return np.stack(columns, axis=1) if columns else np.empty((len(prompted.prompt_ids), 0))


def source_rows(sets: NeuronSets, english: Prompted, choose: str, resampling: Resampling) -> pa.Table:
    """Return SOURCES: the candidates with their activation on the parent's English continuations.

    Args:
        sets: the candidates.
        english: the reading of the parent's own English continuations.
        choose: "positive" (mean above 0), "positive-ci" (lower bound above 0), or "all".
        resampling: how prompts are resampled for the interval.
    """
    sums_PK, steps_P = prompt_sums(english, sets.candidates), english.reading.row_steps.astype(np.float64)
    draws_RK = np.concatenate(
        [(block @ sums_PK) / (block @ steps_P)[:, None] for block in weights(len(steps_P), "en", resampling)]
    )
    rows = []
    for rank, ((layer, index), cosine) in enumerate(zip(sets.candidates, sets.cosines, strict=True)):
        of_layer = english.reading.layers[layer]
        steps = english.reading.steps
        mean = float(of_layer.sums[index] / steps)
        draws = draws_RK[:, rank]
        low, high = percentile_interval(draws[np.isfinite(draws)], resampling.confidence)
        row = {
            "rank": rank,
            "layer": layer,
            "neuron": index,
            "cosine": cosine,
            "mean": mean,
            "ci_low": low,
            "ci_high": high,
            "sd": float(np.sqrt(max(0.0, of_layer.squares[index] / steps - mean**2))),
            "positive_share": float(of_layer.positive[index] / steps),
            "source": {"positive": mean > 0, "positive-ci": low > 0, "all": True}[choose],
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=SOURCES.columns)


def source_ranks(sources: pa.Table) -> list[int]:
    """Return the ranks of the candidates that are sources."""
    return [row["rank"] for row in sources.select(["rank", "source"]).to_pylist() if row["source"]]


def deviations(english: Prompted, neurons: Sequence[Neuron]) -> Floats:
    """Return (len(neurons),) standard deviations of activations over steps; 1 for a neuron that never changes."""
    steps, layers = english.reading.steps, english.reading.layers
    variances = [layers[at].squares[index] / steps - (layers[at].sums[index] / steps) ** 2 for at, index in neurons]
    sd = np.sqrt(np.maximum(0.0, variances))
    return np.where(sd > 0, sd, 1.0)


def offset_amounts(dose: float, units: str, english: Prompted, neurons: Sequence[Neuron]) -> list[float]:
    """Return the constant that a dose adds to each neuron's activation.

    Args:
        dose: the dose.
        units: "raw", or "sd" for each neuron's own standard deviation, also of neurons of a matched draw.
        english: the reading of the parent's own English continuations.
        neurons: the neurons to offset.
    """
    if units == "raw":
        return [dose] * len(neurons)
    amounts: list[float] = (dose * deviations(english, neurons)).tolist()
    return amounts


def source_activation_rows(sets: NeuronSets, ranks: Sequence[int], english: Prompted, prompted: Prompted) -> pa.Table:
    """Return SOURCE_ACTIVATIONS of one model in one language, a row for each prompt with at least one step.

    The table is empty if there are no sources.

    Args:
        sets: candidates and draws.
        ranks: ranks of the candidates that are sources.
        english: the reading of the parent's own English continuations, for the neurons' standard deviations.
        prompted: the model's reading in the language.
    """
    if not ranks:
        return SOURCE_ACTIVATIONS.columns.empty_table()
    chosen = [[neurons[rank] for rank in ranks] for neurons in (sets.candidates, *sets.draws)]
    means = [prompt_means(prompted, neurons) for neurons in chosen]
    in_sd = [of_set / deviations(english, neurons) for of_set, neurons in zip(means, chosen, strict=True)]
    raw_PR, in_sd_PR = (np.stack([each.mean(axis=1) for each in side], axis=1) for side in (means, in_sd))
    active = float((prompt_sums(prompted, chosen[0]).sum(axis=0) > 0).mean())
    rows = [
        {
            "prompt_id": prompt_id,
            "steps": steps,
            "value": raw[0],
            "random": raw[1:],
            "value_in_sd": standard[0],
            "random_in_sd": standard[1:],
            "active": active,
        }
        for prompt_id, steps, raw, standard in zip(
            prompted.prompt_ids, prompted.reading.row_steps.tolist(), raw_PR.tolist(), in_sd_PR.tolist(), strict=True
        )
        if steps
    ]
    return pa.Table.from_pylist(rows, schema=SOURCE_ACTIVATIONS.columns)


def projections_of(rows: pa.Table) -> list[Floats]:
    """Return the projections (N,) of each layer's value vectors from rows of PROJECTIONS."""
    return [np.array(row["projection"]) for row in sorted(rows.to_pylist(), key=lambda row: row["layer"])]


def contribution_rows(parent: list[Floats], model: list[Floats], before: Reading, after: Reading) -> pa.Table:
    """Return CONTRIBUTIONS: the change along the probe between two models on the same text.

    Args:
        parent: projections (N,) of each layer's value vectors before tuning.
        model: the same projections after tuning.
        before: the parent's reading.
        after: the tuned model's reading.

    Raises:
        InputError: The models have different shapes.
    """
    shapes = [[len(layer) for layer in side] for side in (parent, model)]
    if shapes[0] != shapes[1]:
        raise InputError(
            "explain: a tuned model and its parent have MLPs of different shapes, so their neurons cannot be compared: "
            "remove the model from explain.models"
        )
    rows = []
    for layer in range(len(before.layers)):
        m, m_after = before.means(layer), after.means(layer)
        parts = contributions(m, parent[layer], m_after, model[layer])
        row = {
            "layer": layer,
            "activation": parts.activation,
            "value": parts.value,
            "interaction": parts.interaction,
            "group": groups(m, parent[layer], parts.activation).tolist(),
        }
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=CONTRIBUTIONS.columns)
