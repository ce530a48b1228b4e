"""The base class of a source of bias items."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from detox_ray.config.bias import BiasSetConfig
from detox_ray.data import DataError, Flaw

Form = Literal["pairs", "triples", "questions"]


class BiasItems(NamedTuple):
    """The items of a set."""

    rows: dict[str, list[dict[str, Any]]]  # language -> rows of BIAS_ITEMS; a language without items has no entry
    notes: list[str]  # what a reader of the report should know about how the rows were made


class BiasSet(BiasSetConfig):
    """A source of items: a subclass with ``source: Literal[name]``, its fields and `read`."""

    form: ClassVar[Form] = "pairs"

    @property
    def folder(self) -> Path:
        """Return the path with ``~`` expanded."""
        assert self.path is not None, "a built-in source has no path"
        return Path(self.path).expanduser()

    @property
    def place(self) -> str:
        """Return the name by which messages refer to the source."""
        return self.path or self.name

    @abstractmethod
    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        """Return the items in these languages. Raises DataError with everything that is wrong with the files."""

    def read(self, languages: Sequence[str], world: Path | None = None) -> BiasItems:
        """Return the items in these languages, with a note on the languages that the set lacks.

        Args:
            languages: The experiment's languages.
            world: The folder of toy17, if the experiment uses it.

        Raises:
            DataError: The path does not exist, a file or row cannot be used, ids repeat, or no item is in any language.
        """
        if self.takes_path and not self.folder.exists():
            raise DataError([Flaw(self.place, "does not exist")])
        published = self.items(languages, world)
        rows = {
            language: published.rows[language][: self.per_language]
            for language in languages
            if published.rows.get(language)
        }
        if not rows:
            raise DataError([Flaw(self.place, f"holds no item in {', '.join(languages)}")])
        flaws = []
        for language, items in rows.items():
            ids = [item["item_id"] for item in items]
            repeated = [item_id for item_id, count in Counter(ids).items() if count > 1]
            flaws += [Flaw(self.place, f"the id {item_id} occurs more than once in {language}") for item_id in repeated]
        if flaws:
            raise DataError(flaws)
        absent = [language for language in languages if language not in rows]
        notes = [f"{self.name}: no items in {', '.join(absent)}"] if absent else []
        return BiasItems(rows, [*published.notes, *notes])
