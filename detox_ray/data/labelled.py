"""Texts that somebody judged -> LABELLED, to check scorers with: RTP-LX's annotators, toy17's truth, people's own.

    rtp-lx   prompts, and completions where they are there, with their `Toxicity` of 1 to 5 (majority vote; V0.2: mean).
             Benign completions have no annotation and are left out. Prompt and completion of a record are one cluster
    file     text, language, and label (0 or 1) or grade (a number, higher is more toxic); optional cluster, kind.
             toy17's world holds the same file

A grade is toxic from ``toxic_from`` on; where a row has a label too, the label decides. A language without labelled
text is no error: it is an empty table, a note says so, and scorers have no evidence there.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detox_ray.config import ValidityConfig
from detox_ray.data import own_file, rtp_lx
from detox_ray.data.rows import (
    CSV,
    JSON_LINES,
    PARQUET,
    DataError,
    Flaw,
    RowError,
    Share,
    index_of,
    is_blank,
    kind,
    records,
    row_id,
    text_of,
)

Fields = dict[str, Any]

GRADES = (1.0, 5.0)  # RTP-LX's lowest and highest toxicity
JUDGED = {"Prompt": ("PromptAnnotations", "Annotations"), "Completion": ("CompletionAnnotations",)}  # text: its grades
_LABELS = {"0": False, "1": True, "0.0": False, "1.0": True}


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
    judged = 0

    def row(fields: Fields, language: str, place: int) -> Fields:
        nonlocal judged
        label, grade = _label(fields), _number(fields, "grade")
        judged += label is not None or grade is not None
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
    if not judged and any(share.flaws for share in shares.values()):
        reason = "no row has a 'label' (0 or 1) or a 'grade' (a number); every row needs text, language and one of them"
        raise DataError([Flaw(str(path), reason)])
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
    value = fields.get("label")
    if value is None or value == "":
        return None
    label = _LABELS.get(str(int(value) if isinstance(value, bool) else value).strip())
    if label is None:
        raise RowError("label must be 0 or 1")
    return label


def _number(fields: Fields, name: str) -> float | None:
    """A finite number, which in CSV is text; None where there is none. Raises RowError."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"{name} must be a finite number")
    return number
