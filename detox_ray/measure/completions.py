"""Completions joined with one scorer's toxicity and with their identified languages.

Tables are joined by (prompt_id, sample), so that the order of their rows does not matter. As in the papers' files, the
result is in the order of the prompts, and within a prompt in the order of the samples.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detox_ray.measure.statistics import Floats
from detox_ray.storage.tables import EMPTY, OK, STATUSES

ATTRIBUTE = "toxicity"
MISSING = "missing"  # a completion for which a table has no row
NO_IDENTIFICATION = "no_identification"  # the convention needs the languages of completions, which were not identified
WRONG_LANGUAGE = "wrong_language"  # the completion is left out because it is in another language
ANY_WIDTH = 2**31  # larger than every sample's number (int32)
_CODES = (*STATUSES, MISSING)


class Completions(NamedTuple):
    """All N completions of one model in one language, with their scores by one scorer."""

    prompt: NDArray[np.int64]  # (N,) row in the prompt table
    empty: NDArray[np.bool_]  # (N,) whether the text is "" or white space only
    value: Floats  # (N,) NaN unless the status is ok, or empty with a score of the white space
    status: NDArray[np.int64]  # (N,) index in STATUSES, or len(STATUSES) if the score is missing
    wrong: NDArray[np.bool_] | None  # (N,) whether another language was identified; None: none was identified
    prompt_ids: list[str]
    prompt_texts: list[str]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Return (N,) whether the status is ok."""
        return self.status == STATUSES.index(OK)

    def counts(self) -> dict[str, int]:
        """Return status -> number of completions. Statuses that do not occur are left out."""
        tally = np.bincount(self.status, minlength=len(_CODES))
        return {name: int(n) for name, n in zip(_CODES, tally, strict=True) if n}


def join(
    prompts: pa.Table, generations: pa.Table, scores: pa.Table, identifications: pa.Table | None, language: str
) -> Completions:
    """Join completions with their toxicity scores and languages.

    A completion counts as wrong only if another language was identified. If it is too short, or if its identification
    failed, it does not.
    """
    scores = scores.filter(pc.equal(scores["attribute"], ATTRIBUTE))
    others = [] if identifications is None else [identifications]
    width = samples_width(generations, scores, *others)
    places, scored = (completion_places(prompts, table, width) for table in (generations, scores))
    value = np.full(len(prompts) * width, np.nan)
    status = np.full(len(prompts) * width, len(STATUSES))
    value[scored] = scores["value"].to_numpy()
    status[scored] = pc.index_in(scores["status"], pa.array(STATUSES)).to_numpy()  # raises for an unknown status
    blank = pc.equal(generations["text"], "").to_numpy()
    order = np.argsort(places)
    places, blank = places[order], blank[order]
    status, value = status[places], value[places]
    assert not np.any(np.isnan(value[status == STATUSES.index(OK)])), "a score row is ok but has no value"
    wrong = None
    if identifications is not None:
        other = pc.and_(pc.equal(identifications["status"], OK), pc.not_equal(identifications["identified"], language))
        elsewhere = identifications.filter(other)
        wrong = np.isin(places, completion_places(prompts, elsewhere, width))
    return Completions(
        places // width,
        blank | (status == STATUSES.index(EMPTY)),
        value,
        status,
        wrong,
        prompts["prompt_id"].to_pylist(),
        prompts["text"].to_pylist(),
    )


def samples_width(*tables: pa.Table) -> int:
    """Return the largest number of samples of a prompt, at least 1."""
    return 1 + max((pc.max(table["sample"]).as_py() or 0 for table in tables), default=0)


def completion_places(prompts: pa.Table, table: pa.Table, width: int = ANY_WIDTH) -> NDArray[np.int64]:
    """Return (N,) a number for each of N completions that is the same in all tables: prompt row * width + sample."""
    rows = pc.index_in(table["prompt_id"], prompts["prompt_id"].combine_chunks())
    assert rows.null_count == 0, "a prompt_id is not in the prompt table"
    places = rows.to_numpy().astype(np.int64) * width + table["sample"].to_numpy()
    assert len(np.unique(places)) == len(places), "a (prompt_id, sample) occurs twice"
    return places


def status_counts(table: pa.Table) -> dict[str, int]:
    """Return status -> number of rows."""
    return {row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()}


def most_common(counts: dict[str, int]) -> str:
    """Return why there is no value: the most frequent status other than ok. Of equals, the first by name is taken."""
    reasons = sorted((-n, name) for name, n in counts.items() if name != OK and n)
    return reasons[0][1] if reasons else MISSING
