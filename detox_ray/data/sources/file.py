"""The user's own data: one JSON Lines, Parquet or CSV file.

    prompts    text, language; optional: index, annotations
    openings   as prompts
    texts      text, language
    pairs      prompt, chosen, rejected; optional: language (BiasDPO is published in this form)
    corpus     text; optional: language. The path may be a folder with train* files, and validation*, valid* or dev*
    originals  original, in a corpus: the text that was rewritten
    labelled   text, language, and label or grade (a number, higher is more toxic); optional: cluster, kind

A label is 0 or 1, true or false, yes or no, toxic or non-toxic (neutral). A grade of ``toxic_from`` or more counts as
toxic. If a row has both a label and a grade, the label decides.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detox_ray.config.data import RowKind
from detox_ray.data.corpus_files import CorpusForm, read_corpus
from detox_ray.data.fields import (
    MISSING,
    RowError,
    as_number,
    displayed,
    index_of,
    json_of,
    number_of,
    pair_of,
    row_id,
    text_of,
    texts_of,
    value_of,
)
from detox_ray.data.multilingual_files import rows_by_language
from detox_ray.data.rows import Columns, DataError, Flaw, LanguageRows
from detox_ray.data.source import Source

Fields = dict[str, Any]

PAIR_COLUMNS = ("prompt", "chosen", "rejected")
LABEL_RULE = "must be 0 or 1 (or true/false, yes/no, toxic/non-toxic)"
_TOXIC = ("true", "t", "yes", "y", "toxic")
_HARMLESS = ("false", "f", "no", "n", "nontoxic", "not toxic", "non toxic", "neutral")


class OwnFile(Source):
    """A file whose rows have the columns that this module lists."""

    name = "file"
    reads = ("prompts", "openings", "pairs", "corpus", "originals", "texts", "labelled")

    def prompts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        return self._prompts("prompts", languages)

    def openings(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        return self._prompts("openings", languages)

    def _prompts(self, kind: RowKind, languages: Sequence[str]) -> dict[str, LanguageRows]:
        def prompt(fields: Fields, language: str, row: int) -> Fields:
            return {
                "prompt_id": row_id(language, row),
                "text": text_of(fields, "text"),
                "source": self.name,
                "source_index": index_of(fields, "index") or str(row),
                "annotations": json_of(fields, "annotations"),
            }

        return rows_by_language([self._file(kind)], languages, ("text",), prompt)

    def texts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        def text(fields: Fields, language: str, row: int) -> Fields:
            return {"text_id": row_id(language, row), "text": text_of(fields, "text"), "source": self.name}

        return rows_by_language([self._file("texts")], languages, ("text",), text)

    def pairs(self, language: str) -> LanguageRows:
        def pair(fields: Fields, language: str, row: int) -> Fields:
            prompt, chosen, rejected = texts_of(fields, PAIR_COLUMNS)
            return pair_of(row_id(language, row), prompt, chosen, rejected, language)

        return rows_by_language([self._file("pairs")], [language], PAIR_COLUMNS, pair)[language]

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        form = CorpusForm(self.name, "text", blank_is_flaw=True)
        return read_corpus(self._file("corpus"), form, language, limit)

    def originals(self, language: str, limit: int | None) -> LanguageRows:
        form = CorpusForm(self.name, "original", blank_is_flaw=True)
        return read_corpus(self._file("originals"), form, language, limit)

    def labelled(self, languages: Sequence[str], toxic_from: float) -> dict[str, LanguageRows]:
        path = self._file("labelled")
        columns = Columns(path, ())
        rows = judged_rows = 0

        def text(fields: Fields, language: str, row: int) -> Fields:
            nonlocal rows, judged_rows
            columns.add(fields)
            rows += 1
            judged_rows += "label" in fields or "grade" in fields
            label, grade = _label(fields), number_of(fields, "grade")
            if grade is None:
                if label is None:
                    raise RowError("has neither a label (0 or 1) nor a grade (a number)")
                grade = float(label)
            return {
                "text_id": row_id(language, row),
                "cluster": index_of(fields, "cluster") or row_id(language, row),
                "text": text_of(fields, "text"),
                "kind": index_of(fields, "kind") or "text",
                "grade": grade,
                "toxic": grade >= toxic_from if label is None else label,
                "source": self.name,
            }

        by_language = rows_by_language([path], languages, ("text",), text)
        if rows and not judged_rows:
            reason = "no row has a 'label' (0 or 1) or a 'grade' (a number)"
            rule = f"every row needs text, language, and a label or a grade{columns.listed()}"
            raise DataError([Flaw(str(path), f"{reason}; {rule}")])
        return by_language

    @classmethod
    def judge(cls, path: str | None) -> str:
        return f"human: {Path(path or '').name}"

    def _file(self, kind: RowKind) -> Path:
        """Return the file with the rows of one kind."""
        return self.path


def _label(fields: Fields) -> bool | None:
    """Return whether the row's label says toxic; None if it has no label. Raises RowError for any other label."""
    value = value_of(fields, "label")
    if isinstance(value, str):  # as in every CSV
        text = value.strip().lower()
        if text in MISSING:
            return None
        if (words := " ".join(re.split(r"[\s_-]+", text))) in _TOXIC + _HARMLESS:
            return words in _TOXIC
    if value is None or isinstance(value, bool):
        return value
    if (number := as_number(value)) not in (0, 1):
        raise RowError(f"label {LABEL_RULE}, not {displayed(value)}")
    return number == 1


VARIANT = OwnFile
