"""Completions joined with what was measured on them: one scorer's toxicity, and the language they are in.

Tables are joined by (prompt_id, sample), so that the order of rows in them does not matter: completions stand in the
order of the prompts and, of one prompt, of the samples, as in the papers' files.
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
NO_IDENTIFICATION = "no_identification"  # the convention asks which language completions are in; it was not identified
WRONG_LANGUAGE = "wrong_language"  # left out because it is in another language
ANY_WIDTH = 2**31  # above every sample's number (int32)
_CODES = (*STATUSES, MISSING)


class Completions(NamedTuple):
    """Every completion of one model in one language with its score by one scorer. N completions."""

    prompt: NDArray[np.int64]  # (N,) row in the prompt table
    empty: NDArray[np.bool_]  # (N,) the text is "" or white space only
    value: Floats  # (N,) nan unless status is ok, or empty with a score of its white space
    status: NDArray[np.int64]  # (N,) index in STATUSES, or len(STATUSES) for missing
    wrong: NDArray[np.bool_] | None  # (N,) identified as another language; None: languages were not identified
    prompt_ids: list[str]
    prompt_texts: list[str]

    @property
    def ok(self) -> NDArray[np.bool_]:
        """(N,) whether there is a value."""
        return self.status == STATUSES.index(OK)

    def counts(self) -> dict[str, int]:
        """Count completions per status; statuses that do not occur are left out."""
        tally = np.bincount(self.status, minlength=len(_CODES))
        return {name: int(n) for name, n in zip(_CODES, tally, strict=True) if n}


def join(
    prompts: pa.Table, generations: pa.Table, scores: pa.Table, identifications: pa.Table | None, language: str
) -> Completions:
    """Join completions with their toxicity scores and languages.

    A completion is in the wrong language only if that was identified: one that is too short, or whose
    identification failed, is not.
    """
    scores = scores.filter(pc.equal(scores["attribute"], ATTRIBUTE))
    others = [] if identifications is None else [identifications]
    width = samples_width(generations, scores, *others)
    places, scored = (completion_places(prompts, table, width) for table in (generations, scores))
    value = np.full(len(prompts) * width, np.nan)
    status = np.full(len(prompts) * width, len(STATUSES))
    value[scored] = scores["value"].to_numpy()
    status[scored] = pc.index_in(scores["status"], pa.array(STATUSES)).to_numpy()  # an unknown one breaks here
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
    """Return how many samples a prompt has at most, by their numbers; at least 1."""
    return 1 + max((pc.max(table["sample"]).as_py() or 0 for table in tables), default=0)


def completion_places(prompts: pa.Table, table: pa.Table, width: int = ANY_WIDTH) -> NDArray[np.int64]:
    """Return (rows of table,) a number for each completion, the same in all tables: prompt row times width plus
    sample."""
    rows = pc.index_in(table["prompt_id"], prompts["prompt_id"].combine_chunks())
    assert rows.null_count == 0, "a prompt_id is not in the prompt table"
    places = rows.to_numpy().astype(np.int64) * width + table["sample"].to_numpy()
    assert len(np.unique(places)) == len(places), "a (prompt_id, sample) occurs twice"
    return places


def status_counts(table: pa.Table) -> dict[str, int]:
    """Count rows per status."""
    return {row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()}


def most_common(counts: dict[str, int]) -> str:
    """Return why nothing has a value: the most frequent status that is not ok, the first by name among equals."""
    reasons = sorted((-n, name) for name, n in counts.items() if name != OK and n)
    return reasons[0][1] if reasons else MISSING
