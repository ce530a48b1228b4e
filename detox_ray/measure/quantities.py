"""One language's quantities, before any statistics: for each model, what is resampled and what was left out and why.

Tables are read here, each once per language.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.measure import consistency, diversity, fluency, toxicity
from detox_ray.measure import perplexity as held_out
from detox_ray.measure.completions import MISSING, Completions, join, status_counts
from detox_ray.measure.conventions import CORRECTED, Convention
from detox_ray.measure.inputs import Inputs
from detox_ray.measure.series import united
from detox_ray.measure.statistics import Series, without_value
from detox_ray.storage.tables import UNSUPPORTED

SPREADS = frozenset({*toxicity.SPREADS, *diversity.SPREADS, *fluency.QUARTILES})


class Quantity(NamedTuple):
    """What a row of the result is about, but for model and language."""

    metric: str
    scorer: str
    convention: str


class StatusCount(NamedTuple):
    """How many completions of one model and language ended with a status; texts for ``held-out-text``, prompts for
    diversity."""

    scorer: str
    model: str
    language: str
    status: str
    n: int


class Quantities(NamedTuple):
    """The quantities of one language. Every one has a series for every model, with or without a value."""

    series: dict[tuple[Quantity, str], Series]  # (quantity, model)
    paired: dict[tuple[Quantity, str, str], tuple[Series, Series]]  # (quantity, model, parent) that differ from these
    counts: list[StatusCount]
    scored: dict[tuple[str, str], Completions]  # (scorer, model), where there are scores

    @property
    def asked(self) -> list[Quantity]:
        """Every quantity, in order."""
        return list(dict.fromkeys(quantity for quantity, _ in self.series))

    @property
    def compared(self) -> list[Quantity]:
        """Those that models are compared by: not how a number spreads, which stands beside it."""
        return [quantity for quantity in self.asked if quantity.metric not in SPREADS]

    def sides(self, quantity: Quantity, model: str, parent: str) -> tuple[Series, Series]:
        """What is compared: (model's, parent's)."""
        own = self.series[quantity, model], self.series[quantity, parent]
        return self.paired.get((quantity, model, parent), own)


class _Read(NamedTuple):
    """The tables of one language that several quantities need."""

    language: str
    prompts: pa.Table
    generations: dict[str, pa.Table]  # of each model that has them
    identifications: dict[str, pa.Table]


def quantities(inputs: Inputs, convention: Convention, threshold: float, language: str) -> Quantities:
    """Everything asked for in one language."""
    read = _Read(
        language,
        inputs.prompts[language],
        {m: inputs.generations[m, language] for m in inputs.models if (m, language) in inputs.generations},
        {m: inputs.identifications[m, language] for m in inputs.models if (m, language) in inputs.identifications},
    )
    made = Quantities({}, {}, [], {})
    _toxicity(inputs, convention, threshold, read, made)
    if inputs.likelihoods:
        _held_out_text(inputs, convention, read, made)
    for evaluator in dict.fromkeys(evaluator for evaluator, _, _ in inputs.fluencies):
        _fluency(inputs, convention, evaluator, read, made)
    if inputs.diversities:
        _diversity(inputs, convention, read, made)
    if inputs.identifications:
        _consistency(inputs, convention, read, made)
    return made


def _toxicity(inputs: Inputs, convention: Convention, threshold: float, read: _Read, made: Quantities) -> None:
    # a convention that makes wrong-language completions 0 is shown beside the one that does not
    conventions = [convention, CORRECTED] if convention.wrong_language == "zero" else [convention]
    for scorer, languages in inputs.supports.items():
        for model in inputs.models:
            place = (scorer, model, read.language)
            known = read.language in languages
            if known and place in inputs.scores and model in read.generations:
                found = read.identifications.get(model)
                tables = read.prompts, read.generations[model], inputs.scores[place]
                made.scored[scorer, model] = completions = join(*tables, found, read.language)
                results = [
                    toxicity.toxicity_metrics(completions, convention=each, threshold=threshold) for each in conventions
                ]
            else:
                status = MISSING if known else UNSUPPORTED
                rows = len(read.generations[model]) if model in read.generations else 0
                results = [toxicity.without_toxicity(status, {status: rows})] * len(conventions)
            for each, result in zip(conventions, results, strict=True):
                for metric, series in result.series(each).items():
                    made.series[Quantity(metric, scorer, each.name), model] = series
            _count(made, scorer, model, read, results[0].counts)


def _held_out_text(inputs: Inputs, convention: Convention, read: _Read, made: Quantities) -> None:
    quantity = Quantity(held_out.METRIC, held_out.SCORER, convention.name)
    for model in inputs.models:
        table = inputs.likelihoods.get((model, read.language))
        made.series[quantity, model] = without_value(MISSING) if table is None else held_out.perplexity(table)
        tally = {MISSING: 0} if table is None else status_counts(table)
        _count(made, held_out.SCORER, model, read, tally)


def _fluency(inputs: Inputs, convention: Convention, evaluator: str, read: _Read, made: Quantities) -> None:
    quantity = Quantity(fluency.METRIC, evaluator, convention.name)

    def keep(model: str, result: fluency.Fluency) -> None:
        for metric, series in result.shown(convention).items():
            made.series[Quantity(metric, evaluator, convention.name), model] = series
        _count(made, evaluator, model, read, result.counts)

    tables: dict[str, pa.Table] = {}
    right: dict[str, NDArray[np.int64]] = {}
    for model in inputs.models:
        table = inputs.fluencies.get((evaluator, model, read.language))
        if table is None:
            keep(model, fluency.Fluency(without_value(MISSING), {MISSING: 0}))
            continue
        tables[model] = table
        right |= _right(convention, read, model)
        keep(model, fluency.perplexity(read.prompts, table, convention, right.get(model)))
    for model, parent in inputs.compare:
        if model in right and parent in right:  # a difference is over completions that are right in both
            both = np.intersect1d(right[model], right[parent])
            a, b = (fluency.perplexity(read.prompts, tables[side], convention, both).series for side in (model, parent))
            made.paired[quantity, model, parent] = united(a, b)  # each is the median of all that it has a value for


def _right(convention: Convention, read: _Read, model: str) -> dict[str, NDArray[np.int64]]:
    """Model -> places of its completions in the right language, if the convention asks and there is an answer."""
    if convention.quality_of == "all" or model not in read.identifications:
        return {}
    return {model: fluency.right_language(read.prompts, read.identifications[model])}


def _diversity(inputs: Inputs, convention: Convention, read: _Read, made: Quantities) -> None:
    units = inputs.diversity_units
    tables: dict[str, pa.Table] = {}
    right: dict[str, NDArray[np.int64]] = {}
    for model in inputs.models:
        table = inputs.diversities.get((model, read.language))
        if table is None:
            nothing = dict.fromkeys(diversity.metrics_of(convention), without_value(MISSING))
            result = diversity.Diversity({**nothing}, {MISSING: 0})
        else:
            tables[model] = table
            right |= _right(convention, read, model)
            result = diversity.diversity_metrics(read.prompts, table, convention, right.get(model))
        for metric, series in result.series.items():
            made.series[Quantity(metric, units, convention.name), model] = series
        _count(made, units, model, read, result.counts)
    for model, parent in inputs.compare:
        if model in right and parent in right:
            both = np.intersect1d(right[model], right[parent])
            a, b = (diversity.novelty(read.prompts, tables[side], convention, both) for side in (model, parent))
            made.paired[Quantity(diversity.NOVELTY, units, convention.name), model, parent] = a, b


def _consistency(inputs: Inputs, convention: Convention, read: _Read, made: Quantities) -> None:
    for model in inputs.models:
        table = read.identifications.get(model)
        if table is None:
            metrics = consistency.metrics_of(read.language, inputs.english_words)
            series: dict[str, Series] = dict.fromkeys(metrics, without_value(MISSING))
            tally = {MISSING: 0}
        else:
            result = consistency.consistency_metrics(table, read.language, inputs.english_words)
            series, tally = {**result.series}, result.counts
        for metric, each in series.items():
            made.series[Quantity(metric, inputs.identifier, convention.name), model] = each
        _count(made, inputs.identifier, model, read, tally)


def _count(made: Quantities, scorer: str, model: str, read: _Read, tally: dict[str, int]) -> None:
    made.counts.extend(StatusCount(scorer, model, read.language, status, n) for status, n in tally.items())
