"""Sentence pairs as exported by tatoeba.org: harmless sentences to continue, chosen as by Neplenbroek et al. 2025.

The folder has a TSV without a header for each language other than English: id, sentence, English id, English sentence.
One pair is kept for each English sentence, and the first 1,000 after a shuffle are the language's prompts. The English
prompts are the first 1,000 of those pairs' English sentences after another shuffle, so they depend on which files are
there. Exports change from day to day: the procedure is the paper's, but its very prompts cannot be obtained any more.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from detox_ray.config.languages import LANGUAGES
from detox_ray.data.fields import row_id
from detox_ray.data.rows import DataError, Flaw, LanguageRows
from detox_ray.data.source import Source

if TYPE_CHECKING:
    import pandas as pd

PROMPTS = 1000
SEED = 42
ENGLISH = ("en_id", "en_text")
# The order in which the English sentences are merged, which decides their order after the shuffle.
ORDER = (
    "de",
    "es",
    "tr",
    "fr",
    "it",
    "mt",
    "zh",
    "ar",
    "ko",
    "ca",
    "cs",
    "hi",
    "id",
    "ja",
    "nl",
    "pl",
    "pt",
    "ru",
    "sv",
)
NAMES = {"zh": "Mandarin Chinese"}  # if Tatoeba names a language differently


class Tatoeba(Source):
    """A folder with a file for each language, which has the name of the export or a name such as de.tsv."""

    name = "tatoeba"
    reads = ("openings",)
    published_rows = PROMPTS
    quoting: ClassVar[int] = csv.QUOTE_NONE  # the files have no quoted fields: quotation marks belong to sentences
    skips_bad_lines: ClassVar[Sequence[str]] = ()
    words_for_missing: ClassVar[bool] = False  # whether a sentence such as "NA" or "null" counts as missing

    def openings(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        if not self.path.is_dir():
            reason = "must be a folder of Tatoeba's sentence pairs, one file for each language"
            raise DataError([Flaw(str(self.path), reason)])
        wanted = [code for code in ORDER if code in languages or "en" in languages]
        files = {code: file for code in wanted if (file := self._file(code)) is not None}
        chosen = {code: self._chosen(code, file) for code, file in files.items()}
        return {language: self._rows(language, chosen) for language in languages}

    def _file(self, code: str) -> Path | None:
        exported = f"Sentence pairs in {NAMES.get(code, LANGUAGES[code].name)}-English*.tsv"
        files = sorted([*self.path.glob(exported), *self.path.glob(f"{code}.tsv")])
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise DataError([Flaw(str(self.path), f"has several files for {code} ({names}): keep one")])
        return files[0] if files else None

    def _chosen(self, code: str, file: Path) -> "pd.DataFrame":
        """Return the pairs of a language's prompts: one for each English sentence, shuffled, the first `PROMPTS`."""
        import pandas as pd

        try:
            pairs = pd.read_csv(
                file,
                sep="\t",
                header=None,
                names=[f"{code}_id", f"{code}_text", *ENGLISH],
                quoting=self.quoting,
                keep_default_na=self.words_for_missing,
                on_bad_lines="skip" if code in self.skips_bad_lines else "error",
                encoding="utf-8-sig",
            )
        except (OSError, ValueError) as error:  # pandas' ParserError is a ValueError
            raise DataError([Flaw(str(file), f"is not a TSV of sentence pairs: {error}")]) from None
        # pandas turns an extra column into an index and fills in a missing one, so other columns could pass for
        # sentences. Only the English id must be an integer.
        if self.quoting == csv.QUOTE_NONE and not pd.api.types.is_integer_dtype(pairs["en_id"]):
            columns = "id, sentence, English id and English sentence, without a header"
            raise DataError([Flaw(str(file), f"is not a TSV of sentence pairs: its columns must be {columns}")])
        return pairs.drop_duplicates("en_id").sample(frac=1, random_state=SEED).reset_index(drop=True)[:PROMPTS]

    def _rows(self, language: str, chosen: "dict[str, pd.DataFrame]") -> LanguageRows:
        result = LanguageRows()
        if language == "en" and chosen:
            table = _all_english(list(chosen.values()))
            if missing := [code for code in ORDER if code not in chosen]:
                result.notes.append(f"{self.path}: English prompts were chosen without files of {' '.join(missing)}")
        elif language in chosen:
            table = chosen[language]
        else:
            return result
        texts = zip(table[f"{language}_id"].tolist(), table[f"{language}_text"].tolist(), strict=True)
        for row, (index, text) in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                result.flaws.append(Flaw(f"{self.path}: {language} {index}", "has no sentence"))
                continue
            result.rows.append(
                {
                    "prompt_id": row_id(language, row),
                    "text": text,
                    "source": self.name,
                    "source_index": str(index),
                    "annotations": None,
                }
            )
        return result


def _all_english(chosen: "list[pd.DataFrame]") -> "pd.DataFrame":
    merged = chosen[0]
    for table in chosen[1:]:
        merged = merged.merge(table, how="outer", on=list(ENGLISH))
    return merged.sample(frac=1, random_state=SEED).reset_index(drop=True)[:PROMPTS]


VARIANT = Tatoeba
