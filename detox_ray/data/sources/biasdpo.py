"""BiasDPO (Allam 2024, ahmedallam/BiasDPO): dataset.jsonl, or the Parquet files that the hub makes of it.

English pairs with prompt, chosen and rejected. Neplenbroek et al. 2025 train on all of them (docs/papers.md,
"Training by Neplenbroek et al."). Pairs in which both completions are the same express no preference. They are left out
and counted in a note, rather than reported as errors, because nobody can fix published data.
"""

from typing import Any

from detox_ray.data.fields import pair_of, row_id, texts_of
from detox_ray.data.multilingual_files import rows_by_language
from detox_ray.data.rows import FILE_ENDINGS, DataError, Flaw, LanguageRows
from detox_ray.data.source import Source

COLUMNS = ("prompt", "chosen", "rejected")


class BiasDpo(Source):
    """A file, or all the files in a folder."""

    name = "biasdpo"
    reads = ("pairs",)
    published_rows = 1_150

    def pairs(self, language: str) -> LanguageRows:
        identical = 0

        def pair(fields: dict[str, Any], language: str, row: int) -> dict[str, Any] | None:
            nonlocal identical
            prompt, chosen, rejected = texts_of(fields, COLUMNS)
            if chosen == rejected:
                identical += 1
                return None
            return pair_of(row_id(language, row), prompt, chosen, rejected, language)

        files = [self.path]
        if self.path.is_dir():
            files = sorted(file for file in self.path.iterdir() if file.suffix in FILE_ENDINGS)
        if not files:
            raise DataError([Flaw(str(self.path), f"holds no file that ends in {' '.join(FILE_ENDINGS)}")])
        result = rows_by_language(files, [language], COLUMNS, pair)[language]
        if identical:
            result.notes.append(f"{self.path}: left out {identical} pairs in which both completions are the same")
        return result


VARIANT = BiasDpo
