"""What a source of data is: the base class of those in `detox_ray.data.sources`, and of other packages' sources.

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

    A subclass states its name and which kinds of rows it reads, and has the method of each kind. A row that cannot be
    used is a flaw of the `LanguageRows` that the method returns, with its file and line; a method raises DataError if
    nothing can be read. A row's id comes from its place in the source (`fields.row_id`), so that it stays the same
    whatever is skipped or limited.
    """

    name: ClassVar[str]  # in a config, and in the column `source` of its rows
    reads: ClassVar[tuple[RowKind, ...]]
    takes_path: ClassVar[bool] = True  # False: it is built in
    # Rows in all or by language, from which `detox-ray plan` estimates while the files are not there yet.
    published_rows: ClassVar[int | Mapping[str, int] | None] = None

    def __init__(self, path: str | None, world: Path | None = None):
        """Keep what is to be read; a source that takes no path has an ``__init__`` of its own.

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

        ``toxic_from``: the grade from which a text is toxic, if it has no label.
        """
        raise NotImplementedError

    def pairs(self, language: str) -> LanguageRows:
        """Return rows of PAIRS in the language, in the source's order."""
        raise NotImplementedError

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        """Return rows of CORPUS in the language: the first ``limit`` to train on, then all to validate with."""
        raise NotImplementedError

    def originals(self, language: str, limit: int | None) -> LanguageRows:
        """Return rows of ORIGINALS: what the texts that `corpus` returns were rewritten from, in the same order."""
        raise NotImplementedError

    @classmethod
    def judge(cls, path: str | None) -> str:
        """Return who judged the labelled text, as a report names it: "human: rtp-lx"."""
        return f"human: {cls.name}"


def open_source(config: SourceConfig, world: Path | None = None) -> Source:
    """Return the source that the config names. ``world``: toy17's folder."""
    source: Source = sources_of(config.kind)[config.source](config.path, world)
    return source
