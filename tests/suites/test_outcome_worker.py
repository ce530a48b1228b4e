"""The worker of bias outcomes: inputs that successive units share are read once."""

from pathlib import Path

import pyarrow as pa
import pytest
from bias_outcomes import likelihood, question

from detox_ray.cluster.unit_jobs import Task
from detox_ray.storage import Store, Unit
from detox_ray.suites.bias.conventions import NEPLENBROEK
from detox_ray.suites.bias.outcome_worker import OutcomeWorker
from detox_ray.suites.bias.plan import Asked
from detox_ray.suites.bias.tables import (
    AMBIGUOUS,
    BIAS_ITEMS,
    BIAS_OUTCOMES,
    NEGATIVE,
    OPTION_LIKELIHOODS,
    OTHER,
    TARGET,
    UNKNOWN,
)

KEY, LANGUAGES = "k" * 16, ("en", "fr")
ROLES = (TARGET, OTHER, UNKNOWN)


class CountingStore(Store):
    """Counts the units that are read."""

    read_units: list[Unit]

    def read(self, unit: Unit, key: str) -> pa.Table:
        self.read_units.append(unit)
        return super().read(unit, key)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    """Holds two sets of one question in two languages, and a model's likelihoods of the answers."""
    store = CountingStore(str(tmp_path / "run"))
    store.read_units = []
    for name in ("one", "two"):
        for language in LANGUAGES:
            item = question("q", "t", ROLES, 2, AMBIGUOUS, NEGATIVE)
            store.commit(
                BIAS_ITEMS.unit(set=name, language=language),
                KEY,
                pa.Table.from_pylist([item], schema=BIAS_ITEMS.columns),
            )
            nlls = [likelihood("q", option, nll) for option, nll in enumerate((1.0, 2.0, 3.0))]
            store.commit(
                OPTION_LIKELIHOODS.unit(set=name, model="base", language=language),
                KEY,
                pa.Table.from_pylist(nlls, schema=OPTION_LIKELIHOODS.columns),
            )
    return store


def task(name: str, language: str) -> Task:
    """Outcomes of one language, which need all languages to choose templates."""
    items = [BIAS_ITEMS.unit(set=name, language=code) for code in LANGUAGES]
    likelihoods = [OPTION_LIKELIHOODS.unit(set=name, model="base", language=code) for code in LANGUAGES]
    inputs = tuple((unit, KEY) for unit in (*items, *likelihoods))
    return Task(BIAS_OUTCOMES.unit(set=name, model="base", language=language), KEY, inputs)


def test_inputs_that_successive_units_share_are_read_once_and_not_kept_longer(store: CountingStore) -> None:
    sizes = {(name, language): 1 for name in ("one", "two") for language in LANGUAGES}
    asked = Asked(NEPLENBROEK, {"one": "questions", "two": "questions"}, sizes)
    worker = OutcomeWorker(asked, store)
    tasks = [task(name, language) for name in ("one", "two", "one") for language in LANGUAGES]
    made = [worker.make(each).rows for each in tasks]
    assert len(store.read_units) == 3 * 4  # once per change of the set
    assert made[0].num_rows > 0
    for each, rows in zip(tasks, made, strict=True):
        assert OutcomeWorker(asked, store).make(each).rows.equals(rows)
