"""The built-in world toy17, whose folder holds files in the form of people's own."""

from pathlib import Path

from detox_ray.config import TOY17
from detox_ray.config.data import RowKind
from detox_ray.data.corpus_files import CorpusForm, read_corpus
from detox_ray.data.rows import DataError, Flaw, LanguageRows
from detox_ray.data.sources.file import OwnFile

FILES: dict[RowKind, str] = {
    "prompts": "prompts.jsonl",
    "pairs": "pairs.jsonl",
    "corpus": "pairs.jsonl",
    "texts": "texts.jsonl",
    "labelled": "labelled.jsonl",
}


class Toy17(OwnFile):
    """The world's folder. As a corpus, the harmless side of its pairs: its held-out texts stay held out."""

    name = TOY17
    takes_path = False

    def __init__(self, path: str | None, world: Path | None = None):
        assert world is not None, "source toy17 needs the world's folder"
        self.path = world

    def pairs(self, language: str) -> LanguageRows:
        _require_english("pairs", language)
        return super().pairs(language)

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        _require_english("corpus", language)
        return read_corpus(self._file("corpus"), CorpusForm(self.name, "chosen"), language, limit)

    @classmethod
    def judge(cls, path: str | None) -> str:
        return f"truth: {cls.name}"

    def _file(self, kind: RowKind) -> Path:
        return self.path / FILES[kind]


def _require_english(kind: RowKind, language: str) -> None:
    if language != "en":
        raise DataError([Flaw(f"data.{kind}.language", f"toy17's pairs are in English (en), not {language}")])


VARIANT = Toy17
