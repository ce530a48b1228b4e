"""An experiment's data, read once, so that the run commits exactly the rows that were checked before it started."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from detox_ray.config import TOY17, DataConfig, Experiment, OpeningsConfig, Problem, ValidityConfig
from detox_ray.config.data import RowKind
from detox_ray.data.readers import (
    read_corpus,
    read_labelled,
    read_openings,
    read_originals,
    read_pairs,
    read_prompts,
    read_texts,
)
from detox_ray.data.rows import SHOWN_FLAWS, DataError, Rows

T = TypeVar("T")


class ExperimentData:
    """The data of an experiment. Each kind of rows is read on first use and then kept.

    Methods take ``world``, the folder of the built-in world toy17, because it may not exist before the run starts. It
    is required if the source is toy17.
    """

    def __init__(
        self,
        data: DataConfig,
        languages: Sequence[str],
        validity: ValidityConfig | None = None,
        originals: bool = False,
        openings: OpeningsConfig | None = None,
    ):
        """Store the sources; ``originals`` says whether to read the texts that the corpus was rewritten from, too."""
        self._data, self._languages, self._validity = data, languages, validity
        self._originals, self._openings = originals, openings
        self._kept: dict[RowKind, Any] = {}

    @classmethod
    def of(cls, experiment: Experiment) -> "ExperimentData":
        """Return the data of an experiment."""
        ability = experiment.ability
        return cls(
            experiment.data,
            experiment.languages,
            experiment.validity,
            experiment.trains_on_originals,
            None if ability is None else ability.prompts,
        )

    def prompts(self, world: Path | None = None) -> dict[str, Rows]:
        """Return the prompts by language; an empty mapping if the experiment has none.

        Raises DataError with all flaws, as do the other methods.
        """
        config = self._data.prompts
        if config is None:
            return {}
        return self._once("prompts", lambda: read_prompts(config, self._languages, self._data.on_error, world))

    def openings(self, world: Path | None = None) -> dict[str, Rows]:
        """Return harmless text to continue, by language; an empty mapping if the experiment has none."""
        config = self._openings
        if config is None:
            return {}
        return self._once("openings", lambda: read_openings(config, self._languages, self._data.on_error, world))

    def texts(self, world: Path | None = None) -> dict[str, Rows]:
        """Return the held-out texts by language; an empty mapping if the experiment has none."""
        config = self._data.texts
        if config is None:
            return {}
        return self._once("texts", lambda: read_texts(config, self._languages, self._data.on_error, world))

    def labelled(self, world: Path | None = None) -> dict[str, Rows]:
        """Return the labelled texts by language; an empty mapping if the experiment has none."""
        config = self._validity
        if config is None:
            return {}
        return self._once("labelled", lambda: read_labelled(config, self._languages, self._data.on_error, world))

    def pairs(self, world: Path | None = None) -> Rows | None:
        """Return the preference pairs; None if the experiment has none."""
        config = self._data.pairs
        if config is None:
            return None
        return self._once("pairs", lambda: read_pairs(config, self._data.on_error, world))

    def corpus(self, world: Path | None = None) -> Rows | None:
        """Return the training texts; None if the experiment has none."""
        config = self._data.corpus
        if config is None:
            return None
        return self._once("corpus", lambda: read_corpus(config, self._data.on_error, world))

    def originals(self, world: Path | None = None) -> Rows | None:
        """Return the originals that the texts of `corpus` were rewritten from; None if no model learns from them."""
        config = self._data.corpus
        if config is None or not self._originals:
            return None
        return self._once("originals", lambda: read_originals(config, self._data.on_error, world))

    def check(self, note: Callable[[str], None] = lambda text: None) -> list[Problem]:
        """Read everything except toy17, which needs no check, and return all problems.

        The run uses the rows that are read here, so what passes does not fail later.

        Args:
            note: Called with each note of the readers, and with the number of bad rows that are left out.
        """
        data = self._data
        problems: list[Problem] = []
        for field, config, read in (
            ("data.prompts.path", data.prompts, self.prompts),
            ("ability.prompts.path", self._openings, self.openings),
            ("data.pairs.path", data.pairs, self.pairs),
            ("data.corpus.path", data.corpus, self.corpus),
            ("data.corpus.path", data.corpus if self._originals else None, self.originals),
            ("data.texts.path", data.texts, self.texts),
            ("validity.path", self._validity, self.labelled),
        ):
            if config is None or config.source == TOY17:
                continue
            try:
                tables = read()
            except DataError as error:
                problems += _problems(field, error)
                continue
            for rows in tables.values() if isinstance(tables, dict) else (tables,):
                assert rows is not None
                for text in rows.notes:
                    note(text)
                if rows.skipped:
                    note(f"{field}: {len(rows.skipped)} bad rows left out; the first: {rows.skipped[0]}")
        return problems

    def _once(self, kind: RowKind, read: Callable[[], T]) -> T:
        if kind not in self._kept:
            self._kept[kind] = read()
        rows: T = self._kept[kind]
        return rows


def _problems(field: str, error: DataError) -> list[Problem]:
    problems = [Problem(field, flaw.where, flaw.reason) for flaw in error.flaws[:SHOWN_FLAWS]]
    if len(error.flaws) > SHOWN_FLAWS:
        more = len(error.flaws) - SHOWN_FLAWS
        problems.append(Problem(field, f"{more} more", "has more bad rows; to leave them out, set data.on_error=skip"))
    return problems
