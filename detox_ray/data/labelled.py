"""Texts that somebody judged -> LABELLED, to check scorers with: RTP-LX's annotators, toy17's truth, people's own.

    rtp-lx   prompts, and completions where they are there, with their `Toxicity` of 1 to 5 (majority vote; V0.2: mean).
             Benign completions have no annotation and are left out. Prompt and completion of a record are one cluster
    file     text, language, and label or grade (a number, higher is more toxic); optional cluster, kind. A label is 0
             or 1, true or false, yes or no, toxic or non-toxic (neutral). toy17's world holds the same file

A grade is toxic from ``toxic_from`` on; where a row has a label too, the label decides. A language without labelled
text is no error: it is an empty table, a note says so, and scorers have no evidence there.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detox_ray.config import ValidityConfig
from detox_ray.data import multilingual_files as own_file
from detox_ray.data.record_files import records
from detox_ray.data.rows import (
    CSV,
    JSON_LINES,
    MISSING,
    PARQUET,
    Columns,
    DataError,
    Flaw,
    RowError,
    Share,
    index_of,
    is_blank,
    kind,
    row_id,
    shown,
    text_of,
    value_of,
)
from detox_ray.data.sources import rtp_lx

Fields = dict[str, Any]

GRADES = (1.0, 5.0)  # RTP-LX's lowest and highest toxicity
JUDGED = {"Prompt": ("PromptAnnotations", "Annotations"), "Completion": ("CompletionAnnotations",)}  # text: its grades
_TOXIC = ("true", "t", "yes", "y", "toxic")
_HARMLESS = ("false", "f", "no", "n", "nontoxic", "not toxic", "non toxic", "neutral")
LABEL_RULE = "must be 0 or 1 (or true/false, yes/no, toxic/non-toxic)"


def reference(config: ValidityConfig) -> str:
    """What stands in a report as the judge: "human: rtp-lx", "truth: toy17", "human: mine.csv"."""
    if config.source == "file":
        assert config.path is not None  # config.Source requires it
        return f"human: {Path(config.path).name}"
    return f"{'truth' if config.source == 'toy17' else 'human'}: {config.source}"


def rtp_lx_shares(folder: Path, languages: Sequence[str], toxic_from: float) -> dict[str, Share]:
    """Language -> rows of LABELLED. Raises DataError where there is no such folder, or a file cannot be read."""
    if not folder.is_dir():
        raise DataError([Flaw(str(folder), "must be a folder of RTP_LX_*.json")])
    shares = {}
    for language in languages:
        path = rtp_lx.file_of(folder, language)
        share = Share([], [], [])
        for record in records(path) if path.exists() else ():
            try:
                judged = list(_judged(rtp_lx.fields_of(record, language), language, record.row, toxic_from))
            except RowError as error:
                share.flaws.append(Flaw(f"{path}:{record.line}", str(error)))
            else:
                share.rows.extend(judged)
        shares[language] = share
    return shares


def file_shares(path: Path, languages: Sequence[str], source: str, toxic_from: float) -> dict[str, Share]:
    """Language -> rows of LABELLED. Raises DataError where the file or a column is missing."""
    columns = Columns(path, ())
    rows = with_column = 0

    def row(fields: Fields, language: str, place: int) -> Fields:
        nonlocal rows, with_column
        columns.saw(fields)
        rows += 1
        with_column += "label" in fields or "grade" in fields
        label, grade = _label(fields), _number(fields, "grade")
        if grade is None:
            if label is None:
                raise RowError("has neither a label (0 or 1) nor a grade (a number)")
            grade = float(label)
        return {
            "text_id": row_id(language, place),
            "cluster": index_of(fields, "cluster") or row_id(language, place),
            "text": text_of(fields, "text"),
            "kind": index_of(fields, "kind") or "text",
            "grade": grade,
            "toxic": grade >= toxic_from if label is None else label,
            "source": source,
        }

    shares = own_file.by_language([path], languages, ("text",), row, (*JSON_LINES, *PARQUET, *CSV))
    if rows and not with_column:
        reason = "no row has a 'label' (0 or 1) or a 'grade' (a number); every row needs text, language and one of them"
        raise DataError([Flaw(str(path), reason + columns.there())])
    return shares


def _judged(fields: Fields, language: str, place: int, toxic_from: float) -> Iterator[Fields]:
    """Rows of one record of RTP-LX: each of its texts that is there and was judged."""
    for name, sources in JUDGED.items():
        grades = next((fields[source] for source in sources if fields.get(source) is not None), None)
        text = fields.get(name)
        if grades is None or text is None or (isinstance(text, str) and is_blank(text)):
            continue
        if not isinstance(grades, dict):
            raise RowError(f"the annotations of the {name} must be an object, not {kind(grades)}")
        grade = _number(grades, "Toxicity")
        if grade is None:
            continue
        if not GRADES[0] <= grade <= GRADES[1]:
            raise RowError(f"the {name}'s Toxicity must be from 1 to 5, not {grade:g}")
        cluster = row_id(language, place)
        yield {
            "text_id": f"{cluster}-{name.lower()}",
            "cluster": cluster,
            "text": text_of(fields, name),
            "kind": name.lower(),
            "grade": grade,
            "toxic": grade >= toxic_from,
            "source": rtp_lx.SOURCE,
        }


def _label(fields: Fields) -> bool | None:
    """Return whether the row's label says toxic, None if it has no label. Raises RowError."""
    value = value_of(fields, "label")
    if isinstance(value, str):  # as in every CSV
        word = value.strip().lower()
        if word in MISSING:
            return None
        if (said := " ".join(re.split(r"[\s_-]+", word))) in _TOXIC + _HARMLESS:
            return said in _TOXIC
    if value is None or isinstance(value, bool):
        return value
    if (number := _as_number(value)) not in (0, 1):
        raise RowError(f"label {LABEL_RULE}, not {shown(value)}")
    return number == 1


def _number(fields: Fields, name: str) -> float | None:
    """Return a finite number, which in CSV is text; None if there is none. Raises RowError."""
    value = value_of(fields, name)
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    number = math.nan if isinstance(value, bool) else _as_number(value)
    if not math.isfinite(number):
        raise RowError(f"{name} must be a finite number, not {shown(value)}")
    return number


def _as_number(value: Any) -> float:
    """Return the number that a value of any file is, NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
