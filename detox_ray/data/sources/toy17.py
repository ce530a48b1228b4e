"""The built-in world toy17. The files in its folder have the form of a user's own."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from detox_ray.config import TOY17
from detox_ray.config.data import RowKind
from detox_ray.data.corpus_files import CorpusForm, read_corpus
from detox_ray.data.fields import row_id
from detox_ray.data.rows import DataError, Flaw, LanguageRows
from detox_ray.data.sources.file import OwnFile
from detox_ray.storage.tables import TRAIN
from detox_ray.toy17 import stereotypes
from detox_ray.toy17.vocabulary import vocabularies

CURATED = 2048  # number of rewritten texts, unless the config states a limit
FILES: dict[RowKind, str] = {
    "prompts": "prompts.jsonl",
    "pairs": "pairs.jsonl",
    "corpus": "pairs.jsonl",  # only in a world without a stereotype
    "texts": "texts.jsonl",
    "labelled": "labelled.jsonl",
}


class Toy17(OwnFile):
    """The world's folder.

    The corpus is the harmless side of the world's pairs, so that its held-out texts stay held out. In a world with a
    stereotype, it is texts that were rewritten without the stereotype.
    """

    name = TOY17
    takes_path = False

    def __init__(self, path: str | None, world: Path | None = None):
        assert world is not None, "source toy17 needs the world's folder"
        self.path = world

    def openings(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        """Return the first half of the sentences of each held-out text."""
        openings = super().texts(languages)
        for language, rows in openings.items():
            stop = vocabularies()[language].full_stop
            for row, text in enumerate(rows.rows):
                sentences = text["text"].split(stop)[:-1]
                rows.rows[row] = {
                    "prompt_id": text["text_id"],
                    "text": stop.join(sentences[: max(1, len(sentences) // 2)]) + stop,
                    "source": self.name,
                    "source_index": text["text_id"],
                    "annotations": None,
                }
        return openings

    def pairs(self, language: str) -> LanguageRows:
        _require_english("pairs", language)
        return super().pairs(language)

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        _require_english("corpus", language)
        if self._stereotype:
            return self._rewritten("text", language, limit)
        return read_corpus(self._file("corpus"), CorpusForm(self.name, "chosen"), language, limit)

    def originals(self, language: str, limit: int | None) -> LanguageRows:
        _require_english("corpus", language)
        if not self._stereotype:
            raise DataError([Flaw("data.world", "must be stereotype: the plain world has no originals")])
        return self._rewritten("original", language, limit)

    @property
    def _world(self) -> dict[str, Any]:
        world: dict[str, Any] = json.loads((self.path / "world.json").read_text(encoding="utf-8"))
        return world

    @property
    def _stereotype(self) -> bool:
        return "stereotype" in self._world["size"]["mixture"]

    def _rewritten(self, side: Literal["text", "original"], language: str, limit: int | None) -> LanguageRows:
        texts = stereotypes.curated(self._world["seed"], limit or CURATED)
        return LanguageRows(
            [
                {"text_id": row_id(language, row), "text": getattr(text, side), "source": self.name, "split": TRAIN}
                for row, text in enumerate(texts)
            ]
        )

    @classmethod
    def judge(cls, path: str | None) -> str:
        return f"truth: {cls.name}"

    def _file(self, kind: RowKind) -> Path:
        return self.path / FILES[kind]


def _require_english(kind: RowKind, language: str) -> None:
    if language != "en":
        raise DataError([Flaw(f"data.{kind}.language", f"toy17's pairs are in English (en), not {language}")])


VARIANT = Toy17
