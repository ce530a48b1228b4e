"""Panda (Qian et al. 2022): texts that people rewrote to be about another gender, ethnicity or age, as training text.

docs/papers.md, "BiasDPO, Panda and Jigsaw".
"""

from detox_ray.data.corpus_files import CorpusForm, read_corpus
from detox_ray.data.rows import LanguageRows
from detox_ray.data.source import Source


class Panda(Source):
    """A file with `perturbed`, or a folder of train* and validation* files."""

    name = "panda"
    reads = ("corpus", "originals")
    published_rows = 94_966  # chunks of 512 tokens, as in the training of Neplenbroek et al. 2025 (docs/papers.md)

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        return read_corpus(self.path, CorpusForm(self.name, "perturbed"), language, limit)

    def originals(self, language: str, limit: int | None) -> LanguageRows:
        return read_corpus(self.path, CorpusForm(self.name, "original"), language, limit)


VARIANT = Panda
