"""Outcomes, the sums per cluster from which all metrics are computed as ratios. Shared by all forms of items."""

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
    scores: dict[str, float]  # role -> score of the option with this role
    tokens: dict[str, int]


class Sums:
    """Sums of numerators and denominators by part and cluster, in the order of their first addition."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, list[float]]] = {}

    def add(self, part: str, cluster: str, numerator: float, denominator: float = 1.0) -> None:
        """Add a numerator and a denominator to a cluster of a part."""
        sums = self._sums.setdefault(part, {}).setdefault(cluster, [0.0, 0.0])
        sums[0] += numerator
        sums[1] += denominator

    def add_to(self, parts: Iterable[str], cluster: str, numerator: float) -> None:
        """Add one case to a cluster in each of several parts."""
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
            metric: The name of the metric.
            convention: The name of the convention.
            cluster_means: Whether each cluster counts once, by its mean.
            points: Part -> its value, rounded as in a published script.
        """
        for part, clusters in self._sums.items():
            point = (points or {}).get(part)
            for cluster, (numerator, denominator) in clusters.items():
                sums = (numerator / denominator, 1.0) if cluster_means else (numerator, denominator)
                yield Outcome(metric, convention, part, cluster, *sums, point)

    def totals(self) -> dict[str, tuple[float, float]]:
        """Return {part: (sum of numerators, sum of denominators)}."""
        return {
            part: (sum(each[0] for each in clusters.values()), sum(each[1] for each in clusters.values()))
            for part, clusters in self._sums.items()
        }


def missing(metrics: Sequence[str], convention: str, status: str) -> list[Outcome]:
    """Return rows without a value for some metrics, with a status that gives the reason."""
    return [Outcome(metric, convention, ALL, "", 0.0, 0.0, None, status) for metric in metrics]


def unusable(statuses: Counter[str]) -> str:
    """Return the status of a set without measured items: the most frequent status of its items."""
    return max((status for status in statuses if status != OK), key=lambda status: statuses[status], default=NO_ITEMS)


def counted(statuses: Counter[str]) -> Iterator[Outcome]:
    """Yield a row with the number of items for each status."""
    for status, count in sorted(statuses.items()):
        yield Outcome(ITEMS, "", ALL, "", float(count), 1.0, None, status)


def worst_status(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return an item's status from those of its options; "ok" if all options are."""
    return next((row["status"] for row in rows if row["status"] != OK), OK)
