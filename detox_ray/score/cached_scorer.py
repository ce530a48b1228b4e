"""A loaded scorer behind the score cache: a value or a status for each text, with as few calls as possible.

The status is "empty" for white space only, "unsupported_language" if the scorer has no evidence for the language, and
"failed" if the scorer cannot score the text. None of these ever becomes 0. An "empty" text is scored nevertheless, as
it is (no text at all as " "), because convention `paper` counts it. Its row has both the status and the value, which is
null if the scorer returns none. Each distinct text is scored once, or not at all if the score cache knows it. Counts
refer to all texts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray.score.registry import load
from detox_ray.score.score_cache import ANY, ScoreCache
from detox_ray.score.scorer_variant import ResolvedScorer
from detox_ray.score.scorers import Failure, Noting, Scores, ServiceDown
from detox_ray.storage import Store, Table, key_of
from detox_ray.storage.tables import EMPTY, FAILED, OK, UNSUPPORTED

BLANK = " "  # stands for no text at all, as in the code of Li et al. 2024
SHOWN_FAILURES = 3
SERVICE_BATCH = 256  # texts; if a service goes down, the scores of earlier batches are kept


class ScoredTexts(NamedTuple):
    """Statuses and values of some texts, in the order of the texts."""

    statuses: list[str]
    values: dict[str, list[float | None]]  # attribute -> value of each text
    info: dict[str, Any]  # content of the unit's marker


class CachedScorer:
    """A loaded scorer with a cache of its earlier scores."""

    def __init__(self, scorer: ResolvedScorer, batch_tokens: int, store: Store):
        self._resolved = scorer
        self._scorer = load(scorer, store, batch_tokens)
        identity = key_of(scorer=scorer.identity, device=self._scorer.device)
        self._cache = ScoreCache(store, identity, self._scorer.attributes) if scorer.cached else None

    def score(self, texts: Sequence[str], language: str, part: str) -> ScoredTexts:
        """Score texts of one language.

        Args:
            texts: Texts in any order. They may repeat.
            language: Code of their language.
            part: Name of the part that is added to the cache: the unit's key.

        Raises:
            ServiceDown: The service does not answer. Its earlier answers are in the cache.
        """
        resolved, scorer = self._resolved, self._scorer
        supported = resolved.languages is None or language in resolved.languages
        distinct = sorted({text or BLANK for text in texts}) if supported else []
        filled = [text for text in distinct if text.strip()]
        known, scored, result_of = self._results(distinct, language, part)
        failed = {text: result for text in filled if isinstance(result := result_of[text], Failure)}

        def status(text: str) -> str:
            if not supported:
                return UNSUPPORTED
            return EMPTY if not text.strip() else FAILED if text in failed else OK

        statuses = [status(text) for text in texts]
        values: dict[str, list[float | None]] = {name: [] for name in scorer.attributes}
        for text in texts:
            given = result_of.get(text or BLANK)
            for name, column in values.items():
                column.append(given[name] if isinstance(given, dict) else None)
        info: dict[str, Any] = {
            "scorer": scorer.name,
            "revision": resolved.revision,
            "device": scorer.device,
            "texts": len(texts),
            "distinct": len(filled),
            "from_cache": known,
            "status_counts": dict(Counter(statuses)),
            "failures": [failure.reason for failure in failed.values()][:SHOWN_FAILURES],
            "attributes": list(scorer.attributes),
            **(scorer.notes if scored and isinstance(scorer, Noting) else {}),
        }
        return ScoredTexts(statuses, values, info)

    def _results(self, texts: Sequence[str], language: str, part: str) -> tuple[int, int, dict[str, Scores | Failure]]:
        """Return the number of non-blank texts found in the cache, the number of texts scored, and all results."""
        if not texts:
            return 0, 0, {}
        folder = language if self._resolved.by_language else ANY
        cached: dict[str, Scores | Failure] = {}
        if self._cache is not None:
            cached.update(self._cache.find(texts, folder))
        known, new = sum(bool(text.strip()) for text in cached), [text for text in texts if text not in cached]
        results: dict[str, Scores | Failure] = {}
        step = SERVICE_BATCH if self._resolved.service else max(1, len(new))
        try:
            for begin in range(0, len(new), step):
                batch = new[begin : begin + step]
                results.update(zip(batch, self._scorer.score(batch, language), strict=True))
        except ServiceDown:
            self._keep(results, folder, f"{part}-begun-{len(results)}")
            raise
        self._keep(results, folder, part)
        return known, len(new), cached | results

    def _keep(self, results: Mapping[str, Scores | Failure], folder: str, part: str) -> None:
        if self._cache is not None:
            self._cache.add({t: r for t, r in results.items() if not isinstance(r, Failure)}, folder, part)


def score_rows(
    table: Table, texts: pa.Table, values: Mapping[str, Sequence[float | None]], statuses: Sequence[str]
) -> pa.Table:
    """Make rows of ``table``: for each attribute in turn, a block of all texts."""
    schema = table.columns
    text_columns = schema.names[: schema.names.index("attribute")]
    blocks = [schema.empty_table()]
    for attribute, column in values.items():
        columns = [
            *(texts[name] for name in text_columns),
            pa.array([attribute] * texts.num_rows, pa.string()),
            pa.array(column, pa.float64()),
            pa.array(statuses, pa.string()),
        ]
        blocks.append(pa.table(columns, schema=schema))
    return pa.concat_tables(blocks)
