"""What another package holds that adds a source of data: one class, and the entry point that names it."""

from collections.abc import Sequence

from detox_ray.data import DataError, Flaw, LanguageRows, Source
from detox_ray.data.fields import RowError, row_id, text_of


class Proverbs(Source):
    """A folder with a text file for each language, named by its code, with a prompt on each line."""

    name = "proverbs"
    reads = ("prompts",)

    def prompts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        return {language: self._read(language) for language in languages}

    def _read(self, language: str) -> LanguageRows:
        file = self.path / f"{language}.txt"
        if not file.exists():
            raise DataError([Flaw(str(file), "cannot be read: no such file")])
        result = LanguageRows()
        for row, line in enumerate(file.read_text(encoding="utf-8").split("\n")):
            try:
                text = text_of({"line": line}, "line")
            except RowError as error:
                result.flaws.append(Flaw(f"{file}:{row + 1}", str(error)))
                continue
            result.rows.append(
                {
                    "prompt_id": row_id(language, row),
                    "text": text,
                    "source": self.name,
                    "source_index": str(row),
                    "annotations": None,
                }
            )
        return result
