"""A store with generations, and a scorer that does what its texts say."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from detox_ray.score.scorers import Failure, Scores
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import GENERATIONS

KEY = "g" * 16


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "run"))


Commit = Callable[..., tuple[Unit, str]]


@pytest.fixture
def commit(store: Store) -> Commit:
    """Commits texts as completions of one prompt of a language."""

    def commit_texts(language: str, *texts: str) -> tuple[Unit, str]:
        shared = {"prompt_id": f"{language}-0", "tokens": 1, "finish_reason": "stop"}
        rows = [{**shared, "sample": row, "text": text, "seed": row} for row, text in enumerate(texts)]
        unit = GENERATIONS.unit(model="base", language=language)
        store.commit(unit, KEY, pa.Table.from_pylist(rows, schema=GENERATIONS.columns))
        return unit, KEY

    return commit_texts


class Obedient:
    """Two attributes: the text as a number, and half of it. Fails where the text is none.

    Of white space, a quarter for each character up to three; fails for more.
    """

    name = "obedient"
    attributes: tuple[str, ...] = ("toxicity", "insult")
    device = "cpu"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        self.asked += texts
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Scores | Failure:
        try:
            value = float(text) if text.strip() or not 0 < len(text) < 4 else len(text) / 4
        except ValueError as error:
            return Failure(str(error))
        return {"toxicity": value, "insult": value / 2}


@pytest.fixture
def obedient(monkeypatch: pytest.MonkeyPatch) -> Obedient:
    scorer = Obedient()
    monkeypatch.setattr("detox_ray.score.cached_scorer.load", lambda *_: scorer)
    return scorer
