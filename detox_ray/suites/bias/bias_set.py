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

    rows: dict[str, list[dict[str, Any]]]  # language -> rows of BIAS_ITEMS; languages without items have no entry
    notes: list[str]  # remarks about the rows for readers of the report


class BiasSet(BiasSetConfig):
    """Base class of a source of items. A subclass has ``source: Literal[name]``, its fields and `items`."""

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
        """Return the number of prompts for each question that is answered in words."""
        return 1

    def in_words(self, chat: bool) -> bool:
        """Return whether models answer the items in words, instead of by the likelihoods of the options.

        Args:
            chat: Whether all models have the same chat template.
        """
        return False

    def answer_rules(self, languages: Sequence[str]) -> dict[str, AnswerRules]:
        """Return {language: prompts and rules} for answers in words.

        Raises:
            DataError: The rules cannot be read, or one of the languages has no rules.
        """
        raise NotImplementedError(f"{self.source} has no answers in words")

    @abstractmethod
    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        """Return the items in these languages. Raise DataError with all flaws of the files."""

    def read(self, languages: Sequence[str], world: Path | None = None) -> BiasItems:
        """Return the items in these languages, with a note that lists the languages that the set lacks.

        Args:
            languages: The experiment's languages.
            world: The folder of toy17, if the experiment uses it.

        Raises:
            DataError: The path does not exist, a file or row is invalid, ids repeat, or no language has any items.
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
            raise DataError([Flaw(self.place, f"has no items in {', '.join(languages)}")])
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
    """Return the block's sets as instances of their sources' classes."""
    return [cast(BiasSet, bias_set) for bias_set in config.sets]


def forms_of(config: BiasConfig) -> dict[str, Form]:
    """Return {set: form of its items}."""
    return {bias_set.name: bias_set.form for bias_set in sets_of(config)}
