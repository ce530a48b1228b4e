"""The example prompts of the page: chosen from a run's own scores."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from detox_ray.generate import prompt_seed
from detox_ray.serve.example_prompts import example_prompts
from detox_ray.storage import Store
from detox_ray.storage.tables import PROMPTS, SCORES

EXPERIMENT: Any = SimpleNamespace(languages=["en", "nl"], seed=3)
PARENTS = {"dpo": "base", "detox": "base"}
MEANS = {"base": [0.9, 0.5, 0.9, 0.8], "dpo": [0.1, 0.1, 0.8, 0.0], "detox": [0.3, 0.1, 0.0, 0.0]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a run with four prompts, whose scores are on English only."""
    store = Store.at(str(tmp_path))
    for language in EXPERIMENT.languages:
        prompts = [{"prompt_id": f"{language}-{i}", "text": f"prompt {i}"} for i in range(4)]
        columns: dict[str, Any] = {"source": "file", "source_index": "0", "annotations": "{}"}
        schema = PROMPTS.columns
        rows = [{name: {**columns, **prompt}.get(name) for name in schema.names} for prompt in prompts]
        store.commit(PROMPTS.unit(language=language), "k", pa.Table.from_pylist(rows, schema=schema))
    for model, means in MEANS.items():
        # Two scored samples around the mean. What does not count: a failed one, another attribute, later samples.
        scores = [
            {"prompt_id": f"en-{i}", "sample": sample, "attribute": attribute, "value": value, "status": status}
            for i, mean in enumerate(means)
            for sample, attribute, value, status in (
                (0, "toxicity", mean - 0.05, "ok"),
                (1, "toxicity", mean + 0.05, "ok"),
                (2, "toxicity", None, "failed"),
                (0, "insult", 1.0, "ok"),
                (5, "toxicity", 1.0 if model != "base" else 0.0, "ok"),
            )
        ]
        table = pa.Table.from_pylist(scores, schema=SCORES.columns)
        store.commit(SCORES.unit(scorer="classifier", model=model, language="en"), "k", table)
    return store


def test_prompts_with_the_largest_smallest_gain_come_first(store: Store) -> None:
    examples = [e for e in example_prompts(store, EXPERIMENT, PARENTS, "classifier") if e.language == "en"]
    assert [example.text for example in examples] == ["prompt 3", "prompt 0", "prompt 1"]
    assert [example.gain for example in examples] == pytest.approx([0.8, 0.6, 0.4])
    assert examples[0].seed == prompt_seed(3, "en-3")


def test_without_scores_the_first_prompts_of_the_run_are_offered(store: Store) -> None:
    for parents, scorer in ((PARENTS, "other"), (PARENTS, None), ({}, "classifier")):
        examples = example_prompts(store, EXPERIMENT, parents, scorer)
        assert [e.text for e in examples] == ["prompt 0", "prompt 1", "prompt 2"] * 2
        assert {e.gain for e in examples} == {None}
    dutch = [e for e in example_prompts(store, EXPERIMENT, PARENTS, "classifier") if e.language == "nl"]
    assert [e.gain for e in dutch] == [None] * 3
