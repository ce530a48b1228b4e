"""A scorer for detox-ray: the share of a text's words that are shouted, in capitals."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from detox_ray.config import Problem
from detox_ray.score import Failure, ScorerVariant

ACRONYMS = "acronyms.txt"


class ShoutingConfig(ScorerVariant):
    """The definition in a config: {name: loud, type: shouting, acronyms: acronyms.txt, shortest: 3}."""

    no_influence = ScorerVariant.no_influence | {"acronyms", "remark"}  # of the file, its content counts
    version = 1  # raise it when the same text may get another value

    type: Literal["shouting"]
    acronyms: str  # text file with a word on each line that is always written in capitals
    shortest: int = Field(3, ge=1)  # letters of a word that can be shouted
    remark: str = ""

    def check_files(self, say):
        if not Path(self.acronyms).is_file():
            return [Problem("acronyms", self.acronyms, "must be an existing file")]
        return []

    def resolve(self, store, world, earlier):
        return self.copied(store, {ACRONYMS: Path(self.acronyms)}, languages=("de", "en", "fr"))

    def load(self, scorer, store, batch_tokens):
        acronyms = store.read_bytes(f"{scorer.folder}/{ACRONYMS}").decode().split()
        return ShoutingScorer(self.name, frozenset(acronyms), self.shortest)


class ShoutingScorer:
    """What is loaded, on each worker."""

    attributes = ("toxicity",)  # the first is compared and reported
    device = "cpu"

    def __init__(self, name, acronyms, shortest):
        self.name, self._acronyms, self._shortest = name, acronyms, shortest

    def score(self, texts, language):
        return [self._score(text) for text in texts]

    def _score(self, text):
        words = [word for word in text.split() if len(word) >= self._shortest]
        if not words:
            return Failure(f"has no word of {self._shortest} letters")  # never a made-up 0
        shouted = [word for word in words if word.isupper() and word not in self._acronyms]
        return {"toxicity": len(shouted) / len(words)}
