"""Outcomes: sums per cluster, of which the metrics are ratios. Shared by all kinds of items."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.storage.metric_spec import ALL
from detox_ray.storage.tables import OK
from detox_ray.suites.bias.tables import ITEMS

NO_ITEMS = "no_items"


class Outcome(NamedTuple):
    """A row of BIAS_OUTCOMES."""

    metric: str
    convention: str
    part: str
    cluster: str
    numerator: float
    denominator: float
    point: float | None = None
    status: str = OK


class Item(NamedTuple):
    """An item whose options have all been measured."""

    cluster: str
    part: str
    direction: str
    scores: dict[str, float]  # role -> score of the option with it
    tokens: dict[str, int]


class Sums:
    """Sums of numerators and denominators by cluster and part, in the order in which they were added."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, list[float]]] = {}

    def add(self, part: str, cluster: str, numerator: float, denominator: float = 1.0) -> None:
        """Add to a part's cluster."""
        sums = self._sums.setdefault(part, {}).setdefault(cluster, [0.0, 0.0])
        sums[0] += numerator
        sums[1] += denominator

    def add_to(self, parts: Iterable[str], cluster: str, numerator: float) -> None:
        """Add a case to a cluster in each of some parts."""
        for part in parts:
            self.add(part, cluster, numerator)

    def rows(
        self,
        metric: str,
        convention: str,
        *,
        cluster_means: bool = False,
        points: Mapping[str, float] | None = None,
    ) -> Iterator[Outcome]:
        """Yield the rows of a metric.

        Args:
            metric: Its name.
            convention: The name of the convention.
            cluster_means: Whether each cluster counts once, by its own mean.
            points: Part -> its value as a script rounds it.
        """
        for part, clusters in self._sums.items():
            point = (points or {}).get(part)
            for cluster, (numerator, denominator) in clusters.items():
                sums = (numerator / denominator, 1.0) if cluster_means else (numerator, denominator)
                yield Outcome(metric, convention, part, cluster, *sums, point)

    def totals(self) -> dict[str, tuple[float, float]]:
        """Return part -> (sum of numerators, sum of denominators)."""
        return {
            part: (sum(each[0] for each in clusters.values()), sum(each[1] for each in clusters.values()))
            for part, clusters in self._sums.items()
        }


def missing(metrics: Sequence[str], convention: str, status: str) -> list[Outcome]:
    """Return rows that say why there is no value of some metrics."""
    return [Outcome(metric, convention, ALL, "", 0.0, 0.0, None, status) for metric in metrics]


def unusable(statuses: Counter[str]) -> str:
    """Return why a set without any measured item has no value: the status that most of its items have."""
    return max((status for status in statuses if status != OK), key=lambda status: statuses[status], default=NO_ITEMS)


def counted(statuses: Counter[str]) -> Iterator[Outcome]:
    """Yield how many items have each status."""
    for status, count in sorted(statuses.items()):
        yield Outcome(ITEMS, "", ALL, "", float(count), 1.0, None, status)


def worst_status(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the status of an item from those of its options: ok if all are."""
    return next((row["status"] for row in rows if row["status"] != OK), OK)
