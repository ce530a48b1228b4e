"""Counts of n-grams worked by hand, units of both kinds, and what becomes of empty completions."""

from pathlib import Path

import pyarrow as pa
import pytest
from contexts import context, planned
from tiny_models import save_tokenizer

from detox_ray.cluster.unit_jobs import Task
from detox_ray.config import InputError
from detox_ray.models import LoadableModel
from detox_ray.score.diversity import DiversityStage, DiversityWorker, NgramCounts, diversity, resolve_tokenizer
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import DIVERSITIES, EMPTY, GENERATIONS, OK, PROMPTS


def test_counts_worked_by_hand() -> None:
    assert diversity(["a", "x"], [["a", "b", "a", "b"], ["b", "a", "c"], [], ["c"]]) == [
        NgramCounts(4, 3, 2, distinct_1=2, distinct_2=2, distinct_3=2, novel=1, status=OK),  # a b, ab ba, aba bab; b
        NgramCounts(3, 2, 1, distinct_1=1, distinct_2=1, distinct_3=1, novel=2, status=OK),  # what the first has not
        NgramCounts(0, 0, 0, distinct_1=0, distinct_2=0, distinct_3=0, novel=0, status=EMPTY),
        NgramCounts(1, 0, 0, distinct_1=0, distinct_2=0, distinct_3=0, novel=1, status=OK),
    ]


def test_distinct_ngrams_add_up_to_those_of_all_completions_together() -> None:
    texts = [["a", "b", "a", "b"], ["b", "a", "c"], [], ["c", "a", "b"]]
    found = diversity([], texts)
    for n, name in ((1, "distinct_1"), (2, "distinct_2"), (3, "distinct_3")):
        together = {tuple(units[at : at + n]) for units in texts for at in range(len(units) - n + 1)}
        assert sum(getattr(row, name) for row in found) == len(together)


def test_nothing_but_empty_completions_is_empty_and_not_divided_by() -> None:
    assert diversity(["a"], [[], []]) == [NgramCounts(0, 0, 0, 0, 0, 0, 0, EMPTY)] * 2


def test_completion_shorter_than_the_ngram_has_none() -> None:
    assert diversity([], [["a", "b"]])[0][:6] == (2, 1, 0, 2, 1, 0)


@pytest.fixture
def tokenizer(tmp_path: Path) -> LoadableModel:
    save_tokenizer(tmp_path / "tokenizer", begin=False, end=True)
    return resolve_tokenizer(str(tmp_path / "tokenizer"))


def test_tokenizers_units_are_ids_decoded_one_by_one_without_special_and_empty_ones(
    tokenizer: LoadableModel, store: Store
) -> None:
    from transformers import AutoTokenizer

    text = "Anna  is 😀 kind \u0007"
    loaded = AutoTokenizer.from_pretrained(tokenizer.location)
    ids = loaded(text)["input_ids"]
    assert ids[-1] == loaded.eos_token_id
    naive = [loaded.decode([each], skip_special_tokens=True) for each in ids]
    assert "" in naive
    units = DiversityWorker(tokenizer, store).units
    assert units(text, "en") == [unit for unit in naive if unit]
    assert units("", "en") == []


def unit_of(store: Store, language: str, prompts: dict[str, str], texts: list[tuple[str, str]]) -> Task:
    asked = [{"prompt_id": each, "text": text, "source": "test", "source_index": "0"} for each, text in prompts.items()]
    store.commit(PROMPTS.unit(language=language), "p", pa.Table.from_pylist(asked, schema=PROMPTS.columns))
    rows = [
        {"prompt_id": each, "sample": at, "text": text, "tokens": 1, "finish_reason": "stop", "seed": 0}
        for at, (each, text) in enumerate(texts)
    ]
    source = GENERATIONS.unit(model="base", language=language)
    store.commit(source, "g", pa.Table.from_pylist(rows, schema=GENERATIONS.columns))
    inputs = ((source, "g"), (PROMPTS.unit(language=language), "p"))
    return Task(DIVERSITIES.unit(model="base", language=language), "k", inputs)


def test_unit_has_a_row_per_completion_among_those_of_its_prompt(store: Store) -> None:
    texts = [("en-1", "the bread, the"), ("en-1", " "), ("en-2", "!!!"), ("en-1", "Anna"), ("en-2", "")]
    product = DiversityWorker(None, store).make(unit_of(store, "en", {"en-1": "Anna buys the", "en-2": "x"}, texts))
    assert product.rows.schema == DIVERSITIES.columns
    columns = ("prompt_id", "sample", "unigrams", "distinct_1", "novel", "status")
    assert [tuple(row[name] for name in columns) for row in product.rows.to_pylist()] == [
        ("en-1", 0, 3, 2 + 0, 1, OK),  # the, bread; bread is new to the prompt
        ("en-1", 1, 0, 0, 0, EMPTY),
        ("en-1", 3, 1, 1, 0, OK),  # Anna, whom the prompt has
        ("en-2", 2, 0, 0, 0, EMPTY),
        ("en-2", 4, 0, 0, 0, EMPTY),
    ]
    assert product.info["status_counts"] == {OK: 2, EMPTY: 3} and product.amount == 5


@pytest.mark.parametrize(
    ("language", "text", "unigrams"), [("zh", "我爱北京天安门。", 4), ("ja", "先生は怠け者です。", 4)]
)
def test_unspaced_scripts_have_words_too(store: Store, language: str, text: str, unigrams: int) -> None:
    (row,) = DiversityWorker(None, store).make(unit_of(store, language, {"1": "x"}, [("1", text)])).rows.to_pylist()
    assert row["unigrams"] == unigrams


def test_adversarial_texts_are_counted(store: Store, tokenizer: LoadableModel) -> None:
    texts = [
        ("1", text) for text in ("a" * 100_000, "\x00\x1b[31m", "<script>", "مرحبا Anna 今天", "😀\u200d😀", "\ufffe")
    ]
    for units in (None, tokenizer):
        rows = DiversityWorker(units, store).make(unit_of(store, "ar", {"1": ""}, texts)).rows.to_pylist()
        assert len(rows) == len(texts) and any(row["status"] == OK for row in rows)
        for row in rows:
            assert row["distinct_1"] <= row["novel"] <= row["unigrams"]


def plan(units: str, generations: dict[Unit, str], prompts: dict[Unit, str]) -> dict[Unit, str]:
    return planned(DiversityStage(), context(generations | prompts, quality={"diversity": units}))


def test_units_are_words_a_model_a_folder_or_refused(tokenizer: LoadableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(units: str) -> LoadableModel | None:
        return DiversityStage().resolve(context({}, quality={"diversity": units}))

    assert resolved("words") is None and resolved("base") is None  # the model's own tokenizer
    assert resolved(tokenizer.location) == tokenizer
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"quality\.diversity: must be words, .*got 'nobody/nothing'"):
        resolved("nobody/nothing")


def test_plan_follows_the_generations_the_prompts_and_the_units(tokenizer: LoadableModel) -> None:
    generations = {GENERATIONS.unit(model="base", language=language): "g" for language in ("fr", "zh")}
    prompts = {PROMPTS.unit(language="fr"): "p", PROMPTS.unit(language="zh"): "q"}
    first = plan("words", generations, prompts)
    assert list(first) == [DIVERSITIES.unit(model="base", language=language) for language in ("fr", "zh")]
    others = [
        plan(tokenizer.location, generations, prompts),
        plan("base", generations, prompts),
        plan("words", generations, dict.fromkeys(prompts, "changed")),
        plan("words", dict.fromkeys(generations, "changed"), prompts),
    ]
    assert len({key for each in (first, *others) for key in each.values()}) == 10
