"""toxicity_pairwise (Lee et al. 2024, arXiv 2401.01967): a folder of split_0.jsonl, split_1.jsonl, …

English WikiText-2 prefixes with a greedy GPT-2 continuation (`unpert_gen_text`, chosen) and one steered towards
toxicity (`pert_gen_text`, rejected); published are six files of 4,096 pairs. They are read in the order of their
numbers, as Neplenbroek et al. 2025 do. Li et al. 2024 read every *.jsonl in the order in which the file system lists
them, which nobody else can know (docs/papers.md, "Training by Li et al."); it decides which pairs validate, and which
are the first so many of `data_fraction`. Whether the texts repeat the prompt differs between copies: where one does, it
is cut.
"""

import re
from pathlib import Path
from typing import Any

from detox_ray.data.record_files import parse
from detox_ray.data.rows import DataError, Flaw, Record, Share, pair_of, row_id, texts_of

COLUMNS = ("prompt_text", "unpert_gen_text", "pert_gen_text")
PUBLISHED = 6 * 4096  # pairs in split_0 to split_5 (docs/papers.md, "The toxicity-pairwise data")


def splits(folder: Path) -> list[tuple[int, Path]]:
    """The split files with their numbers, in order. Raises DataError where there is none."""
    try:
        found = [(re.fullmatch(r"split_(\d+)\.jsonl", path.name), path) for path in folder.iterdir()]
    except OSError as error:
        raise DataError([Flaw(str(folder), f"cannot be read: {error.strerror}")]) from None
    numbered = sorted((int(match.group(1)), path) for match, path in found if match)
    if not numbered:
        raise DataError([Flaw(str(folder), "holds no split_*.jsonl")])
    return numbered


def read_pairs(folder: Path, language: str) -> Share:
    """Rows of PAIRS. A note counts the pairs whose prompt was cut from a completion."""
    files = splits(folder)
    share = Share([], [], [])
    repeated = records = 0

    def pair(record: Record) -> dict[str, Any]:
        nonlocal repeated
        prompt, chosen, rejected = texts_of(record.fields(), COLUMNS)
        repeated += chosen.startswith(prompt) or rejected.startswith(prompt)
        chosen, rejected = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
        return pair_of(row_id(language, record.row), prompt, chosen, rejected, language)

    for _, path in files:
        records += parse(path, share, pair, first_row=records)
    if repeated:
        share.notes.append(f"{folder}: {repeated} pairs repeated their prompt in a completion, where it was cut")
    if records != PUBLISHED:
        share.notes.append(f"{folder}: holds {records:,} pairs; published are {PUBLISHED:,} (split_0 to split_5)")
    missing = sorted(set(range(files[-1][0])) - {number for number, _ in files})
    if missing:
        share.notes.append(f"{folder}: there is no {', '.join(f'split_{number}.jsonl' for number in missing[:10])}")
    return share
