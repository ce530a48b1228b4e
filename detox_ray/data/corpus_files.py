"""Read files of training text into rows of CORPUS.

A path is one file, or a folder with train*.{csv,jsonl,parquet}, which are read in the order of their names. A folder
may also have files of validation rows, whose names the source states.
"""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.data.fields import is_blank, row_id, text_of
from detox_ray.data.multilingual_files import rows_by_language
from detox_ray.data.rows import FILE_ENDINGS, DataError, Flaw, LanguageRows
from detox_ray.storage.tables import TRAIN, VALIDATION

Fields = dict[str, Any]


class CorpusForm(NamedTuple):
    """The form in which a source is published."""

    source: str  # name of the source
    column: str  # column of the text
    validation: str = r"(validation|valid|dev)([-_.].*)?"  # regular expression for the stems of validation files
    blank_is_flaw: bool = False  # False: blank texts are left out and counted, because nobody can fix published data
    unfit: Callable[[Fields], str | None] = lambda _: None  # returns why to leave a row out, or None. Raises RowError


def read_corpus(path: Path, form: CorpusForm, language: str, limit: int | None) -> LanguageRows:
    """Return the rows in ``language``: the first ``limit`` training rows, followed by the validation rows.

    Raises DataError if the path, or a file in it, does not have the form in which the source is published.
    """
    train_files, validation_files = _files(path, form)
    train = _part(train_files, form, language, TRAIN, limit)
    validation = _part(validation_files, form, language, VALIDATION, None)
    if validation_files and not validation.rows and not validation.flaws:
        train.notes.append(f"{path}: the validation files have no text in language {language}")
    return LanguageRows(
        train.rows + validation.rows, train.flaws + validation.flaws, train.notes + validation.notes, train.tags
    )


def _files(path: Path, form: CorpusForm) -> tuple[list[Path], list[Path]]:
    """Return the training files and the validation files."""
    if not path.exists():
        raise DataError([Flaw(str(path), "cannot be read: no such file or folder")])
    if not path.is_dir():
        return [path], []
    files = sorted(file for file in path.iterdir() if file.suffix in FILE_ENDINGS)
    train = [file for file in files if re.fullmatch(r"train([-_.].*)?", file.stem)]
    validation = [file for file in files if re.fullmatch(form.validation, file.stem)]
    if not train:
        reason = f"holds no train* file ({' '.join(FILE_ENDINGS)}); if the file has another name, give its path"
        raise DataError([Flaw(str(path), reason)])
    for part in (train, validation):
        if len({file.suffix for file in part}) > 1:
            names = ", ".join(file.name for file in part)
            raise DataError([Flaw(str(path), f"has the same part in several formats ({names}): give one file's path")])
    return train, validation


def _part(files: list[Path], form: CorpusForm, language: str, split: str, limit: int | None) -> LanguageRows:
    if not files:
        return LanguageRows()
    left_out: Counter[str] = Counter()

    def text(fields: Fields, language: str, row: int) -> Fields | None:
        reason = form.unfit(fields)
        if reason is None and not form.blank_is_flaw and is_blank(str(fields.get(form.column) or "")):
            reason = f"no {form.column}"
        if reason is not None:
            left_out[reason] += 1
            return None
        place = row_id(language, row)
        return {
            "text_id": place if split == TRAIN else f"{place}-{split}",
            "text": text_of(fields, form.column),
            "source": form.source,
            "split": split,
        }

    result = rows_by_language(files, [language], (form.column,), text, limit)[language]
    names = ", ".join(file.name for file in files)
    result.notes.extend(f"{names}: {count} rows with {reason} left out" for reason, count in left_out.items())
    return result
