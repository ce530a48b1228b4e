"""BiasDPO (Allam 2024, ahmedallam/BiasDPO): dataset.jsonl, or the Parquet files that the hub makes of it.

English pairs with prompt, chosen and rejected; Neplenbroek et al. 2025 train on all of them (docs/papers.md,
"Training by Neplenbroek et al."). A pair whose two completions are the same prefers nothing: it is left out and a note
counts it, as published data cannot be mended.
"""

from pathlib import Path
from typing import Any

from detox_ray.data import multilingual_files as own_file
from detox_ray.data.rows import CSV, JSON_LINES, PARQUET, DataError, Flaw, Share, pair_of, row_id, texts_of

COLUMNS = ("prompt", "chosen", "rejected")


def read_pairs(path: Path, language: str) -> Share:
    """Rows of PAIRS, of a file or of all the files in a folder."""
    same = 0

    def pair(fields: dict[str, Any], language: str, row: int) -> dict[str, Any] | None:
        nonlocal same
        prompt, chosen, rejected = texts_of(fields, COLUMNS)
        if chosen == rejected:
            same += 1
            return None
        return pair_of(row_id(language, row), prompt, chosen, rejected, language)

    formats = JSON_LINES + PARQUET + CSV
    files = sorted(file for file in path.iterdir() if file.suffix in formats) if path.is_dir() else [path]
    if not files:
        raise DataError([Flaw(str(path), f"holds no file that ends in {' '.join(formats)}")])
    share = own_file.by_language(files, [language], COLUMNS, pair, formats)[language]
    if same:
        share.notes.append(f"{path}: {same} pairs whose two completions are the same left out")
    return share
