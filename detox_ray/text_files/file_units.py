"""Units of a file of texts: blocks of rows in the file's order, and shards of texts of each language.

Rows that name no language get an identifier's answer; one that is too uncertain, or of too few letters, is "und".
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.score import identifiers
from detox_ray.score.identify import UNDETERMINED, enough_letters, label
from detox_ray.storage import Store
from detox_ray.text_files.score_tables import FILE_ROWS, FILE_TEXTS, ROWS_PER_UNIT
from detox_ray.text_files.text_rows import TextColumns, TextRow, read_rows

READ = "texts.json"  # written when all rows are in units


class FileUnits:
    """Cuts rows into blocks, and their texts into shards of each language; commits what is full."""

    def __init__(self, store: Store, key: str):
        self._store, self._key = store, key
        self._texts: dict[str, list[tuple[int, str]]] = {}
        self._shards: Counter[str] = Counter()
        self.blocks = 0

    def add(self, first: int, rows: Sequence[TextRow], languages: Sequence[str | None], guesses: set[int]) -> None:
        """Commit a block of rows, whose first has the number ``first``; ``guesses``: whose language is identified."""
        table = []
        for place, (row, language) in enumerate(zip(rows, languages, strict=True)):
            if language is not None and row.text is not None:
                texts = self._texts.setdefault(language, [])
                texts.append((first + place, row.text))
                if len(texts) == ROWS_PER_UNIT:
                    self._commit(language)
            kept = json.dumps(row.kept, ensure_ascii=False) if row.kept else "{}"
            table.append((first + place, row.text, language, place in guesses, row.reason, kept))
        columns = dict(zip(FILE_ROWS.columns.names, map(list, zip(*table, strict=True)), strict=True))
        unit = FILE_ROWS.unit(shard=self.blocks)
        self._store.commit(unit, self._key, pa.table(columns, schema=FILE_ROWS.columns), None)
        self.blocks += 1

    def close(self) -> None:
        """Commit the texts that are left."""
        for language in [language for language, texts in self._texts.items() if texts]:
            self._commit(language)

    def _commit(self, language: str) -> None:
        rows, texts = zip(*self._texts[language], strict=True)
        unit = FILE_TEXTS.unit(language=language, shard=self._shards[language])
        table = pa.table({"row": list(rows), "text": list(texts)}, schema=FILE_TEXTS.columns)
        self._store.commit(unit, self._key, table, None)
        self._shards[language] += 1
        self._texts[language] = []


def read_file(file: Path, columns: TextColumns, identifier_name: str, store: Store, key: str) -> None:
    """Commit the file's rows and texts under ``key``, and mark the folder as read.

    Raises:
        DataError: The file cannot be read, or no row has the text column.
        InputError: There is no row, or none can be used.
    """
    units = FileUnits(store, key)
    identifier: identifiers.Identifier | None = None
    first = 0
    usable, reason = False, ""
    for rows in _in_blocks(read_rows(file, columns)):
        nameless = [place for place, row in enumerate(rows) if row.reason is None and row.language is None]
        languages = [None if row.reason is not None else row.language for row in rows]
        if nameless:
            identifier = identifier or identifiers.load(identifier_name, None)
            texts = [" ".join((rows[place].text or "").split()) for place in nameless]
            for place, text, answer in zip(nameless, texts, identifier.identify(texts), strict=True):
                languages[place] = label(answer) if enough_letters(text) else UNDETERMINED
        units.add(first, rows, languages, set(nameless))
        first += len(rows)
        usable = usable or any(row.reason is None for row in rows)
        reason = reason or next((f"{row.place}: {row.reason}" for row in rows if row.reason is not None), "")
    if not usable:
        raise InputError(f"no row can be read; the first: {reason}" if first else f"{file}: holds no row")
    units.close()
    store.write_json(READ, {"rows": first})


def _in_blocks(rows: Iterator[TextRow]) -> Iterator[list[TextRow]]:
    block: list[TextRow] = []
    for row in rows:
        block.append(row)
        if len(block) == ROWS_PER_UNIT:
            yield block
            block = []
    if block:
        yield block
