"""The worker that turns likelihoods into outcomes under a convention. It needs no model."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Product, Task
from detox_ray.storage import Store
from detox_ray.suites.bias.bias_set import Form
from detox_ray.suites.bias.conventions import BiasConvention
from detox_ray.suites.bias.outcomes import Outcome
from detox_ray.suites.bias.preference import pair_outcomes, triple_outcomes
from detox_ray.suites.bias.questions import answers_of, question_outcomes, understood
from detox_ray.suites.bias.tables import BIAS_ITEMS, BIAS_OUTCOMES, OPTION_LIKELIHOODS

Rows = list[dict[str, Any]]


class OutcomeWorker:
    """Makes the outcomes of one set, model and language per call."""

    def __init__(self, convention: BiasConvention, forms: Mapping[str, Form], store: Store):
        self._convention, self._forms, self._store = convention, forms, store

    def make(self, task: Task) -> Product:
        """Make a unit."""
        form = self._forms[task.unit["set"]]
        items = {unit["language"]: self._store.read(unit, key).to_pylist() for unit, key in task.inputs_of(BIAS_ITEMS)}
        likelihoods: dict[tuple[str, str], Rows] = {}  # (model, language)
        for unit, key in task.inputs_of(OPTION_LIKELIHOODS):
            rows = self._store.read(unit, key).to_pylist()
            likelihoods.setdefault((unit["model"], unit["language"]), []).extend(rows)
        outcomes = self._outcomes(form, task.unit["model"], task.unit["language"], items, likelihoods)
        table = pa.Table.from_pylist([outcome._asdict() for outcome in outcomes], schema=BIAS_OUTCOMES.columns)
        return Product(table, {}, len(outcomes))

    def _outcomes(
        self,
        form: Form,
        model: str,
        language: str,
        items: Mapping[str, Rows],
        likelihoods: Mapping[tuple[str, str], Rows],
    ) -> list[Outcome]:
        convention = self._convention
        if language not in items:
            return []  # the set does not have the language: no number is asked for
        if form != "questions":
            make = pair_outcomes if form == "pairs" else triple_outcomes
            return list(make(items[language], likelihoods[model, language], convention))
        answers, statuses = answers_of(items[language], likelihoods[model, language])
        templates: set[str] | None = None
        if convention.templates != "all":
            for other in {name for name, _ in likelihoods}:
                by_language = {code: answers_of(items[code], likelihoods[other, code])[0] for code in items}
                passed = understood(by_language)
                if passed is not None:
                    templates = passed if templates is None else templates & passed
        return list(question_outcomes(answers, statuses, templates, convention))
