"""The base class of a source of bias items."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

from detox_ray.config.bias import BiasConfig, BiasSetConfig
from detox_ray.data import DataError, Flaw
from detox_ray.suites.bias.answer_rules import AnswerRules

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

    @property
    def prompt_count(self) -> int:
        """Return by how many prompts each question is put, if it is answered in words."""
        return 1

    def in_words(self, chat: bool) -> bool:
        """Return whether models answer the items in words; otherwise the likelihoods of the options decide.

        Args:
            chat: Whether all models have the same chat template.
        """
        return False

    def answer_rules(self, languages: Sequence[str]) -> dict[str, AnswerRules]:
        """Return language -> the prompts and rules of answers in words.

        Raises:
            DataError: The rules cannot be read, or one of the languages has none.
        """
        raise NotImplementedError(f"{self.source} has no answers in words")

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


def sets_of(config: BiasConfig) -> list[BiasSet]:
    """Return the block's sets as their sources' classes."""
    return [cast(BiasSet, bias_set) for bias_set in config.sets]


def forms_of(config: BiasConfig) -> dict[str, Form]:
    """Return set -> what its items are."""
    return {bias_set.name: bias_set.form for bias_set in sets_of(config)}
