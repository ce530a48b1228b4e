"""toxicity_pairwise (Lee et al. 2024, arXiv 2401.01967): a folder of split_0.jsonl, split_1.jsonl, …

English WikiText-2 prefixes, each with a greedy GPT-2 continuation (`unpert_gen_text`, chosen) and one that is steered
towards toxicity (`pert_gen_text`, rejected). Six files of 4,096 pairs are published. They are read in the order of
their numbers, as Neplenbroek et al. 2025 do. Li et al. 2024 read every *.jsonl in the order in which their file system
listed them, which is not known (docs/papers.md, "Training by Li et al."). The order decides which pairs are held out
for validation, and which ones `data_fraction` keeps. In some copies the texts repeat the prompt, which is then cut.
"""

import re
from pathlib import Path
from typing import Any

from detox_ray.data.fields import pair_of, row_id, texts_of
from detox_ray.data.record_files import parse
from detox_ray.data.rows import DataError, Flaw, LanguageRows, Record
from detox_ray.data.source import Source

COLUMNS = ("prompt_text", "unpert_gen_text", "pert_gen_text")
PUBLISHED = 6 * 4096  # pairs in split_0 to split_5 (docs/papers.md, "The toxicity-pairwise data")


class ToxicityPairwise(Source):
    """A folder of split_*.jsonl."""

    name = "toxicity-pairwise"
    reads = ("pairs",)
    published_rows = PUBLISHED

    def pairs(self, language: str) -> LanguageRows:
        """Return rows of PAIRS. A note counts the pairs in which a completion repeated the prompt."""
        splits = _splits(self.path)
        result = LanguageRows()
        repeated = records = 0

        def pair(record: Record) -> dict[str, Any]:
            nonlocal repeated
            prompt, chosen, rejected = texts_of(record.fields(), COLUMNS)
            repeated += chosen.startswith(prompt) or rejected.startswith(prompt)
            chosen, rejected = chosen.removeprefix(prompt), rejected.removeprefix(prompt)
            return pair_of(row_id(language, record.row), prompt, chosen, rejected, language)

        for _, path in splits:
            records += parse(path, result, pair, first_row=records)
        if repeated:
            result.notes.append(f"{self.path}: cut the prompt from the completions of {repeated} pairs that repeat it")
        if records != PUBLISHED:
            counts = f"has {records:,} pairs; the published data has {PUBLISHED:,} (split_0 to split_5)"
            result.notes.append(f"{self.path}: {counts}")
        missing = sorted(set(range(splits[-1][0])) - {number for number, _ in splits})
        if missing:
            names = ", ".join(f"split_{number}.jsonl" for number in missing[:10])
            result.notes.append(f"{self.path}: {names} is missing")
        return result


def _splits(folder: Path) -> list[tuple[int, Path]]:
    """Return the split files with their numbers, in order. Raises DataError if there is none."""
    try:
        matches = [(re.fullmatch(r"split_(\d+)\.jsonl", path.name), path) for path in folder.iterdir()]
    except OSError as error:
        raise DataError([Flaw(str(folder), f"cannot be read: {error.strerror}")]) from None
    numbered = sorted((int(match.group(1)), path) for match, path in matches if match)
    if not numbered:
        raise DataError([Flaw(str(folder), "has no split_*.jsonl")])
    return numbered


VARIANT = ToxicityPairwise
