"""The worker that computes outcomes from likelihoods or answers in words by a convention. It needs no model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.storage import Store, Unit
from detox_ray.suites.bias.outcomes import Outcome
from detox_ray.suites.bias.plan import Asked
from detox_ray.suites.bias.preference import pair_outcomes, triple_outcomes
from detox_ray.suites.bias.questions import (
    Answer,
    is_control,
    likeliest_answers,
    named_answers,
    question_outcomes,
    understood,
)
from detox_ray.suites.bias.tables import BIAS_ITEMS, BIAS_OUTCOMES

Rows = list[dict[str, Any]]


class OutcomeWorker:
    """A worker that makes the outcomes of one set, model and language per call."""

    def __init__(self, asked: Asked, store: Store):
        self._asked, self._store = asked, store
        self._held: dict[tuple[Unit, str], Rows] = {}  # rows of the latest task's inputs; the next often has the same

    def make(self, task: Task) -> Product:
        """Make one unit."""
        items: dict[str, Rows] = {}  # by language
        rows_by_subject: dict[tuple[str, str], Rows] = {}  # (model, language) -> likelihoods or answers in words
        for (unit, _), rows in self._rows_of(task.inputs).items():
            if unit.table == BIAS_ITEMS.name:
                items[unit["language"]] = rows
            else:
                rows_by_subject.setdefault((unit["model"], unit["language"]), []).extend(rows)
        outcomes: list[Outcome] = []
        # A set without items in the language has no numbers in it.
        name, model, language = (task.unit[key] for key in ("set", "model", "language"))
        if language in items:
            outcomes = self._outcomes(name, model, language, items, rows_by_subject)
        table = pa.Table.from_pylist([outcome._asdict() for outcome in outcomes], schema=BIAS_OUTCOMES.columns)
        return Product(table, {}, len(outcomes))

    def _rows_of(self, inputs: Sequence[tuple[Unit, str]]) -> dict[tuple[Unit, str], Rows]:
        """Return the rows of each input."""
        self._held = {source: self._held[source] for source in inputs if source in self._held}
        missing = dict(source for source in inputs if source not in self._held)
        for unit, rows in self._store.read_each(missing.items(), pa.Table.to_pylist).items():
            self._held[unit, missing[unit]] = rows
        return self._held

    def _outcomes(
        self,
        name: str,
        model: str,
        language: str,
        items: Mapping[str, Rows],
        rows_by_subject: Mapping[tuple[str, str], Rows],
    ) -> list[Outcome]:
        convention = self._asked.convention_of(name)
        form = self._asked.forms[name]
        if form != "questions":
            make = pair_outcomes if form == "pairs" else triple_outcomes
            return list(make(items[language], rows_by_subject[model, language], convention))

        def answers(asked: Rows, code: str, rows: Rows) -> tuple[list[Answer], Counter[str]]:
            if name in self._asked.rules:
                return named_answers(asked, rows, self._asked.rules[name][code])
            return likeliest_answers(asked, rows, convention.ties)

        templates: set[str] | None = None
        if convention.templates != "all":
            controls = {code: [item for item in rows if is_control(item)] for code, rows in items.items()}
            for other in {subject for subject, _ in rows_by_subject}:
                of_controls = {
                    code: answers(asked, code, rows_by_subject[other, code])[0] for code, asked in controls.items()
                }
                passed = understood(controls, of_controls)
                if passed is not None:
                    templates = passed if templates is None else templates & passed
        return list(
            question_outcomes(
                *answers(items[language], language, rows_by_subject[model, language]), templates, convention
            )
        )
