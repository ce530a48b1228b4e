"""The scoring job: a unit is one scorer's view of one unit of generations.

Every completion gets a row per attribute. Only "ok" rows carry a value: a completion without text is "empty", one in a
language the scorer has no evidence for is "unsupported_language", one that the scorer cannot answer is "failed". None
of them is ever 0.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from detox_ray.cluster import Cluster
from detox_ray.config import ScoreConfig
from detox_ray.progress import Progress
from detox_ray.score.registry import ResolvedScorer, load
from detox_ray.score.scorers import Failure, Scores
from detox_ray.store import Store, Unit, key_of
from detox_ray.tables import EMPTY, FAILED, OK, SCORES, UNSUPPORTED
from detox_ray.unitjob import Product, Task, run_units

VERSION = 1  # raise it whenever the code here or a scorer's changes what a unit holds
BLANK = " "  # what convention `paper` gives a scorer for an empty completion (Li et al. 2024's code)
SHOWN_FAILURES = 3


def plan(scorer: ResolvedScorer, generations: Mapping[Unit, str]) -> dict[Unit, str]:
    """Unit -> key, one for each unit of generations."""
    return {
        Unit("scores", (scorer.name, *unit.partition), unit.shard): key_of(
            generations=key, scorer=scorer.key, version=VERSION
        )
        for unit, key in generations.items()
    }


def score(
    scorer: ResolvedScorer,
    pending: Mapping[Unit, str],
    generations: Mapping[Unit, str],
    config: ScoreConfig,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Make and commit ``pending``. ``generations``: unit -> key of all units of generations. Raises JobError."""
    sources = {unit: Unit("generations", unit.partition[1:], unit.shard) for unit in pending}
    run_units(
        f"score {scorer.name}",
        [Task(unit, key, ((sources[unit], generations[sources[unit]]),)) for unit, key in pending.items()],
        ScoringWorker,
        {"scorer": scorer, "batch_tokens": config.batch_tokens, "store": store},
        measure="texts",
        actors=config.actors,
        store=store,
        cluster=cluster,
        progress=progress,
    )


class ScoringWorker:
    """Holds one scorer; scores a unit of completions per call, each distinct text once."""

    def __init__(self, scorer: ResolvedScorer, batch_tokens: int, store: Store):
        self._resolved, self._store = scorer, store
        self._scorer = load(scorer, store, batch_tokens)

    def make(self, task: Task) -> Product:
        ((unit, key),) = task.inputs
        completions = self._store.read(unit, key)
        texts: list[str] = completions["text"].to_pylist()
        language, known = task.unit.partition[2], self._resolved.languages
        supported = known is None or language in known
        distinct = sorted({text for text in texts if text.strip()}) if supported else []
        results = self._scorer.score([*distinct, BLANK], language) if supported else [Failure(UNSUPPORTED)]
        result_of = dict(zip(distinct, results[:-1], strict=True))
        status_of = {text: FAILED if isinstance(result, Failure) else OK for text, result in result_of.items()}
        statuses = [status_of.get(text, EMPTY) if supported else UNSUPPORTED for text in texts]
        failures = [result.reason for result in result_of.values() if isinstance(result, Failure)]
        info: dict[str, Any] = {
            "scorer": self._scorer.name,
            "revision": self._resolved.revision,
            "device": self._scorer.device,
            "texts": len(texts),
            "distinct": len(distinct),
            "status_counts": dict(Counter(statuses)),
            "failures": failures[:SHOWN_FAILURES],
            "blank": self._blank(results[-1]),
        }
        return Product(self._rows(completions, texts, statuses, result_of), info, len(texts))

    def _blank(self, result: Scores | Failure) -> dict[str, float | None]:
        return {a: None if isinstance(result, Failure) else result[a] for a in self._scorer.attributes}

    def _rows(
        self, completions: pa.Table, texts: Sequence[str], statuses: Sequence[str], result_of: Mapping[str, Any]
    ) -> pa.Table:
        """One block of all completions after another, an attribute each."""
        blocks = []
        for attribute in self._scorer.attributes:
            values = [result_of[t][attribute] if s == OK else None for t, s in zip(texts, statuses, strict=True)]
            columns = [
                completions["prompt_id"],
                completions["sample"],
                pa.array([attribute] * len(texts), pa.string()),
                pa.array(values, pa.float64()),
                pa.array(statuses, pa.string()),
            ]
            blocks.append(pa.table(columns, schema=SCORES))
        return pa.concat_tables(blocks)
