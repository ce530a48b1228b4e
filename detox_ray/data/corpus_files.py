"""Text to train on -> CORPUS: Panda, Jigsaw unintended bias, people's own, toy17.

The published ones are described in docs/papers.md, "BiasDPO, Panda and Jigsaw".

    panda                   perturbed: what people rewrote about another gender, ethnicity or age (Qian et al. 2022)
    jigsaw-unintended-bias  comment_text of comments whose toxicity (target; in the test files, toxicity) is below 0.1
    file                    text; optional language
    toy17                   the harmless continuations of its pairs: its held-out texts stay held out

A path is one file, or a folder with train*.{csv,jsonl,parquet}, as published, read in the order of their names. A
folder may hold validation rows of its own: validation*, valid* or dev*; of Jigsaw, test_private*, as in Neplenbroek et
al. 2025.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import TOY17
from detox_ray.data import multilingual_files as own_file
from detox_ray.data.rows import (
    CSV,
    JSON_LINES,
    PARQUET,
    DataError,
    Flaw,
    RowError,
    Share,
    is_blank,
    row_id,
    shown,
    text_of,
)
from detox_ray.storage.tables import TRAIN, VALIDATION

Fields = dict[str, Any]

FORMATS = CSV + JSON_LINES + PARQUET
HARMLESS_BELOW = 0.1  # of Jigsaw's target (Neplenbroek et al. 2025, qlora.py)


class Form(NamedTuple):
    """How a source is published."""

    text: str  # its column
    validation: str  # regular expression of the names of the files with validation rows
    unfit: Callable[[Fields], str | None] = lambda _: None  # why a row is no text to learn from; None: it is


def _toxic(fields: Fields) -> str | None:
    value = fields.get("target", fields.get("toxicity"))
    try:
        if isinstance(value, bool) or not 0 <= (score := float(value)) <= 1:  # type: ignore[arg-type]
            raise ValueError
    except (TypeError, ValueError):
        rule = "target (in the test files: toxicity) must be a number from 0 to 1"
        raise RowError(f"{rule}, not {shown(value)}") from None
    return None if score < HARMLESS_BELOW else f"a toxicity of {HARMLESS_BELOW:g} or more"


_OWN = r"(validation|valid|dev)([-_.].*)?"
FORMS = {
    "panda": Form("perturbed", _OWN),
    "jigsaw-unintended-bias": Form("comment_text", r"test_private([-_.].*)?", _toxic),
    "file": Form("text", _OWN),
    TOY17: Form("chosen", _OWN),
}


def read(path: Path, source: str, language: str, limit: int | None) -> Share:
    """Rows of CORPUS in ``language``, those to train on (the first ``limit``) before those to validate with.

    Raises DataError where the path, or the files in it, are not what the source is published as.
    """
    form = FORMS[source]
    train, validation = _files(path, form)
    found = _part(train, form, source, language, TRAIN, limit)
    held_out = _part(validation, form, source, language, VALIDATION, None)
    if validation and not held_out.rows and not held_out.flaws:
        found.notes.append(f"{path}: its validation files hold no text in language {language}")
    return found._replace(
        rows=found.rows + held_out.rows, flaws=found.flaws + held_out.flaws, notes=found.notes + held_out.notes
    )


def _files(path: Path, form: Form) -> tuple[list[Path], list[Path]]:
    """Files to train on and to validate with."""
    if not path.exists():
        raise DataError([Flaw(str(path), "cannot be read: no such file or folder")])
    if not path.is_dir():
        return [path], []
    files = sorted(file for file in path.iterdir() if file.suffix in FORMATS)
    train = [file for file in files if re.fullmatch(r"train([-_.].*)?", file.stem)]
    validation = [file for file in files if re.fullmatch(form.validation, file.stem)]
    if not train:
        reason = f"holds no train* file ({' '.join(FORMATS)}); where it is called otherwise, give the file"
        raise DataError([Flaw(str(path), reason)])
    for part in (train, validation):
        if len({file.suffix for file in part}) > 1:
            names = ", ".join(file.name for file in part)
            raise DataError([Flaw(str(path), f"holds the same part in several formats ({names}): name one file")])
    return train, validation


def _part(files: list[Path], form: Form, source: str, language: str, split: str, limit: int | None) -> Share:
    if not files:
        return Share([], [], [])
    left_out: Counter[str] = Counter()

    def text(fields: Fields, language: str, row: int) -> Fields | None:
        reason = form.unfit(fields)
        if reason is None and source != "file" and is_blank(str(fields.get(form.text) or "")):
            reason = f"no {form.text}"  # as published, and not to be mended
        if reason is not None:
            left_out[reason] += 1
            return None
        place = row_id(language, row)
        return {
            "text_id": place if split == TRAIN else f"{place}-{split}",
            "text": text_of(fields, form.text),
            "source": source,
            "split": split,
        }

    share = own_file.by_language(files, [language], (form.text,), text, FORMATS, limit)[language]
    names = ", ".join(file.name for file in files)
    share.notes.extend(f"{names}: {count} rows with {reason} left out" for reason, count in left_out.items())
    return share
