"""The base class of all sources of data: those in `detox_ray.data.sources` and those of other packages.

Another package adds a source by an entry point, whose name is the source's name:

    [project.entry-points."detox_ray.sources"]
    riddles = "my_package.riddles:Riddles"
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from detox_ray.config.data import RowKind, SourceConfig, sources_of
from detox_ray.data.rows import LanguageRows


class Source:
    """A form in which rows are published or kept, such as RTP-LX's folder.

    A subclass states its name and the kinds of rows that it reads, and implements the method of each kind. For a row
    that cannot be used, the method adds a flaw, with file and line, to the `LanguageRows` that it returns; if nothing
    can be read, it raises DataError. A row's id comes from its place in the source (`fields.row_id`), so it does not
    depend on what is skipped or limited.
    """

    name: ClassVar[str]  # used in configs and in the column `source` of the rows
    reads: ClassVar[tuple[RowKind, ...]]
    takes_path: ClassVar[bool] = True  # False if the source is built in
    # Number of rows, in total or by language. `detox-ray plan` uses it if the files are not there yet.
    published_rows: ClassVar[int | Mapping[str, int] | None] = None

    def __init__(self, path: str | None, world: Path | None = None):
        """Store the path. A source that takes no path overrides this method.

        Args:
            path: The config's path.
            world: The folder of the built-in world toy17, if the experiment uses it.
        """
        assert path is not None  # config.data.SourceConfig requires it
        self.path = Path(path).expanduser()

    def prompts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        """Return rows of PROMPTS for each of the languages, in the source's order."""
        raise NotImplementedError

    def openings(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        """Return harmless text to continue, as rows of PROMPTS for each of the languages, in the source's order."""
        raise NotImplementedError

    def texts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        """Return rows of TEXTS for each of the languages, in the source's order."""
        raise NotImplementedError

    def labelled(self, languages: Sequence[str], toxic_from: float) -> dict[str, LanguageRows]:
        """Return rows of LABELLED for each of the languages, in the source's order.

        Args:
            languages: Codes of the languages.
            toxic_from: Grade from which a text without a label counts as toxic.
        """
        raise NotImplementedError

    def pairs(self, language: str) -> LanguageRows:
        """Return rows of PAIRS in the language, in the source's order."""
        raise NotImplementedError

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        """Return rows of CORPUS in the language: the first ``limit`` training rows, then all validation rows."""
        raise NotImplementedError

    def originals(self, language: str, limit: int | None) -> LanguageRows:
        """Return rows of ORIGINALS: the originals of the texts that `corpus` returns, in the same order."""
        raise NotImplementedError

    @classmethod
    def judge(cls, path: str | None) -> str:
        """Return who judged the labelled text, as a report names it: "human: rtp-lx"."""
        return f"human: {cls.name}"


def open_source(config: SourceConfig, world: Path | None = None) -> Source:
    """Return the source that the config names. ``world`` is the folder of toy17."""
    source: Source = sources_of(config.kind)[config.source](config.path, world)
    return source
