"""The definition of a metric, next to its arithmetic: its description, its direction, its inputs and its computation.

A stage defines a `MetricSpec` for each number that it adds. `detox_ray.measure` computes all of them, with the same
intervals, paired comparisons, corrections and macro means. Readers of results (report, gate, comparison of runs,
terminal) need only the `MetricDescription`, which they read from ``results.json``. So they also work for a run with
stages that this installation does not have. A metric without a description is an error; there is no default.

Shapes: P clusters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detox_ray.storage.tables import OK
from detox_ray.storage.units import Table

ALL = "all"  # the part of a number that is about everything its metric covers
Kind = Literal["toxicity", "cost", "bias", "ability", "knowledge", "mechanism"]
SpreadKind = Literal["standard deviation", "first quartile", "third quartile"]


class Ideal(NamedTuple):
    """A direction: the closer to this value, the better."""

    value: float


Direction = Literal["lower", "higher"] | Ideal


class UnknownMetric(ValueError):
    """A metric without a description. The message names those that have one."""

    def __init__(self, name: str, known: Iterable[str]):
        self.name, self.known = name, sorted(set(known))
        super().__init__(f"unknown metric {name!r}; known: {', '.join(self.known) or 'none'}")


@dataclass(frozen=True, kw_only=True)
class MetricDescription:
    """What a reader needs to know about a metric, as ``results.json`` holds it."""

    name: str  # value of the column ``metric``
    title: str  # such as "Average toxicity"
    meaning: str  # such as "mean score of all completions"
    short: str  # a shorter title, for the head of a narrow column
    kind: Kind
    direction: Direction  # which values are better
    unit: str = ""  # such as "nats" or "share of completions"; empty for a plain number
    decimals: int = 3  # digits after the point in text for people
    change: Literal["relative", "points"] = "relative"  # how to write a change; points: percentage points of a share
    # Value of the column ``scorer``. None: a name that only the run knows, such as a scorer's or an evaluator's.
    scorer: str | None = None
    series_title: str = "{title} by {scorer}"  # title of the rows of one scorer
    spread_of: str | None = None  # the metric whose spread this one states; it is shown beside that and not compared
    spread: SpreadKind | None = None
    headline: bool = False  # the report leads with this metric, by the primary scorer, and ranks models by it
    tradeoff: bool = False  # the report plots the headline metric against this one

    @property
    def direction_text(self) -> str:
        """Return which values are better, in words: "lower is better"."""
        if isinstance(self.direction, Ideal):
            return f"closer to {self.direction.value:g} is better"
        return f"{self.direction} is better"

    def loss(self, before: float, after: float) -> float:
        """Return how much worse ``after`` is than ``before``; negative if it is better."""
        if isinstance(self.direction, Ideal):
            return abs(after - self.direction.value) - abs(before - self.direction.value)
        return after - before if self.direction == "lower" else before - after


class ClusterSums(NamedTuple):
    """The values of one metric, for one model and language, in P clusters. Resampling draws whole clusters.

    The metric is the sum of numerators over the sum of denominators; denominators of 1 make it a mean over clusters.
    Clusters with a denominator of 0 are left out. If there are no clusters, ``status`` says why there is no value.
    """

    clusters: Sequence[str] = ()  # (P,) distinct names, such as prompt ids, of what is drawn together
    numerators: NDArray[np.float64] = np.empty(0)  # (P,), or (P, K) for a metric that combines K means
    denominators: NDArray[np.float64] = np.empty(0)  # (P,), at least 0
    status: str = OK
    counts: Mapping[str, int] = {}  # status -> number of items, so that the report can count failed measurements
    point: float | None = None  # the value, if a paper's script rounds intermediate results; None: the ratio


class Cell(NamedTuple):
    """What tells apart the series of one metric by one scorer: the part it is about, and its convention."""

    part: str = ALL
    convention: str | None = None  # None: the run's


class MetricInput(NamedTuple):
    """The input of a metric's computation: the tables of one model in one language."""

    model: str
    language: str
    prompts: pa.Table  # PROMPTS
    tables: Mapping[str, pa.Table]  # name of each needed table -> its rows for this model and language
    convention: str = ""  # the name of the run's convention


# Returns the values of the whole, or of each part ("gender", "religion") or cell.
Compute = Callable[[MetricInput], ClusterSums | Mapping[str, ClusterSums] | Mapping[Cell, ClusterSums]]
Transform = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class MetricSpec(MetricDescription):
    """A metric, with the tables that it needs and its computation."""

    version: int = 1  # part of the measure stage's key; raise it when the same tables give another number
    needs: tuple[Table, ...]
    # None for the metrics of `detox_ray.measure` itself, which depend on conventions and are computed together.
    compute: Compute | None = None
    transform: Transform | None = None  # applied to the ratio, such as an absolute distance
    combine: Transform | None = None  # maps K ratios (…, K) to one value (…), if numerators are (P, K)
    # True if the clusters are the same items in all languages. One draw then serves all languages, so that the interval
    # of their mean accounts for the correlation.
    parallel: bool = False
    # True if a cluster is either right or wrong. Differences are then tested exactly (McNemar's test) if every cluster
    # has one case.
    exact: bool = False

    def with_spread(self, name: str, spread: SpreadKind) -> "MetricSpec":
        """Return the spec of a metric that states a spread of this one."""
        return replace(
            self,
            name=name,
            title=f"{self.title}, {spread}",
            short=f"{self.short}, {spread}",
            meaning=f"{spread} of: {self.meaning}",
            change="relative",
            spread_of=self.name,
            spread=spread,
            headline=False,
            tradeoff=False,
        )


@dataclass(frozen=True)
class Metrics:
    """Described metrics, in the order in which they are shown: the headline metric first."""

    descriptions: Sequence[MetricDescription]
    _places: Mapping[tuple[str, str | None], int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.descriptions, key=lambda metric: not metric.headline)
        places = {(metric.name, metric.scorer): place for place, metric in enumerate(ordered)}
        assert len(places) == len(ordered), "a metric is described twice"
        object.__setattr__(self, "descriptions", ordered)
        object.__setattr__(self, "_places", places)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(metric.name for metric in self.descriptions))

    @property
    def headline(self) -> str:
        """Return the name of the headline metric. Raises ValueError if there is none."""
        name = next((metric.name for metric in self.descriptions if metric.headline), None)
        if name is None:
            raise ValueError(f"none of the metrics {', '.join(self.names)} is the headline")
        return name

    def place(self, name: str, scorer: str | None = None) -> int:
        """Return the position of a metric in the order in which metrics are shown. Raises UnknownMetric."""
        for key in ((name, scorer), (name, None)):
            if key in self._places:
                return self._places[key]
        if scorer is None:
            for place, metric in enumerate(self.descriptions):
                if metric.name == name:
                    return place
        raise UnknownMetric(name if scorer is None else f"{name} by {scorer}", self.names)

    def of(self, name: str, scorer: str | None = None) -> MetricDescription:
        """Return the description of a metric by ``scorer``, or by any scorer if that is None. Raises UnknownMetric."""
        return self.descriptions[self.place(name, scorer)]

    def title(self, name: str, scorer: str, part: str = ALL) -> str:
        """Return the title of one series: "Perplexity of harmless text", "Distinct 2-grams (words)"."""
        metric = self.of(name, scorer)
        title = metric.series_title.format(title=metric.title, scorer=scorer)
        return title if part == ALL else f"{title}, {part}"

    def spread(self, name: str, scorer: str, kind: SpreadKind) -> str | None:
        """Return the name of the metric that states this spread of a metric; None if there is none."""
        metric = self.of(name, scorer)
        return next(
            (m.name for m in self.descriptions if (m.spread_of, m.spread, m.scorer) == (name, kind, metric.scorer)),
            None,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the descriptions as ``results.json`` holds them."""
        names = [f.name for f in fields(MetricDescription)]
        rows = []
        for metric in self.descriptions:
            row = {name: getattr(metric, name) for name in names}
            if isinstance(metric.direction, Ideal):
                row["direction"] = {"ideal": metric.direction.value}
            rows.append(row)
        return rows

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "Metrics":
        """Read what `to_rows` returns. Keys that this version does not know are ignored.

        Raises:
            ValueError: A row lacks a key, or its direction is unknown.
        """
        known = {f.name for f in fields(MetricDescription)}
        descriptions = []
        for row in rows:
            kept = {key: value for key, value in row.items() if key in known}
            match kept.get("direction"):
                case "lower" | "higher":
                    pass
                case {"ideal": int() | float() as value}:
                    kept["direction"] = Ideal(float(value))
                case other:
                    raise ValueError(f"the metric {kept.get('name')!r} has an unknown direction: {other!r}")
            try:
                descriptions.append(MetricDescription(**kept))
            except TypeError as error:
                raise ValueError(f"the description of the metric {kept.get('name')!r} is incomplete: {error}") from None
        return cls(descriptions)

    @classmethod
    def merged(cls, runs: Iterable["Metrics"]) -> "Metrics":
        """Return the metrics of several runs. If several describe the same metric, the first description is used.

        Raises:
            ValueError: Two runs disagree about which values of a metric are better.
        """
        merged: dict[tuple[str, str | None], MetricDescription] = {}
        for metric in (metric for run in runs for metric in run.descriptions):
            first = merged.setdefault((metric.name, metric.scorer), metric)
            if first.direction != metric.direction:
                raise ValueError(
                    f"two runs disagree about {metric.name}: {first.direction_text}, {metric.direction_text}"
                )
        return cls(list(merged.values()))
