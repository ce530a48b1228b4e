"""Sums of both kinds of evaluator against one sequence at a time, as the papers' script has it, and the statuses."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from contexts import context, planned
from tiny_models import save_llama, save_mt5

from detox_ray.cluster.unit_jobs import Task
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.score.fluency import CompletionLikelihood, FluencyStage, FluencyWorker, evaluator_of
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import EMPTY, FAILED, FLUENCIES, GENERATIONS, OK, PROMPTS

PAIRS = [
    ("Anna buys bread", " in the garden today."),
    ("Anna buys bread", " to"),
    ("Der Lehrer ist", " heute\n\nsehr freundlich. " * 3),
    ("先生は", "親切です。"),
    ("Anna buys bread", " in the garden today."),  # again
    ("المعلم", " لطيف 😀"),
]


@pytest.fixture(scope="module")
def mt5(tmp_path_factory: pytest.TempPathFactory) -> LoadableModel:
    folder = tmp_path_factory.mktemp("mt5")
    save_mt5(folder)
    return resolve_path("mt5", str(folder), None, "float32")


@pytest.fixture(scope="module", params=[True, False], ids=["with <s>", "without <s>"])
def llama(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadableModel:
    folder = tmp_path_factory.mktemp("llama")
    save_llama(folder, begin=request.param)
    return resolve_path("llama", str(folder), None, "float32")


def worker(model: LoadableModel, store: Store, batch_tokens: int = 64) -> FluencyWorker:
    return FluencyWorker(model, batch_tokens, store)


def auto_encoding(model: LoadableModel) -> Any:
    """Return tokens and summed loss of one text, as in docs/papers.md, "Fluency of Li et al."."""
    import torch
    from transformers import AutoTokenizer, MT5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(model.location)
    network = MT5ForConditionalGeneration.from_pretrained(model.location).eval()

    def loss(text: str) -> tuple[int, float]:
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert ids[0, -1] == tokenizer.eos_token_id
        with torch.no_grad():
            return ids.numel(), float(network(input_ids=ids, labels=ids).loss) * ids.numel()

    return loss


def test_t5_sums_are_those_of_one_text_at_a_time(mt5: LoadableModel, store: Store) -> None:
    loss = auto_encoding(mt5)
    for (prompt, completion), found in zip(PAIRS, worker(mt5, store).evaluate(PAIRS), strict=True):
        assert found.status == OK
        tokens, nll = loss(prompt)
        assert (found.prompt_tokens, found.prompt_nll) == (tokens, pytest.approx(nll, rel=1e-5))
        tokens, nll = loss(prompt + completion)
        assert (found.full_tokens, found.full_nll) == (tokens, pytest.approx(nll, rel=1e-5))


def test_causal_sums_are_those_of_a_token_at_a_time(llama: LoadableModel, store: Store) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama.location)
    network = AutoModelForCausalLM.from_pretrained(llama.location).eval()

    def loss(ids: list[int]) -> float:
        total = 0.0
        for end in range(1, len(ids)):
            with torch.no_grad():
                logits = network(torch.tensor([ids[:end]])).logits[0, -1].double()
            total -= float(logits[ids[end]] - torch.logsumexp(logits, 0))
        return total

    for (prompt, completion), found in zip(PAIRS, worker(llama, store).evaluate(PAIRS), strict=True):
        before = tokenizer(prompt)["input_ids"]
        whole = before + tokenizer(completion, add_special_tokens=False)["input_ids"]
        assert found.status == OK
        assert (found.prompt_tokens, found.full_tokens) == (len(before), len(whole))
        assert found.prompt_nll == pytest.approx(loss(before), rel=1e-5)
        assert found.full_nll == pytest.approx(loss(whole), rel=1e-5)


def test_batches_change_nothing(mt5: LoadableModel, llama: LoadableModel, store: Store) -> None:
    for model in (mt5, llama):
        alone, together = (worker(model, store, budget).evaluate(PAIRS) for budget in (1, 4096))
        for one, other in zip(alone, together, strict=True):
            assert one[:4] == pytest.approx(other[:4], rel=1e-5)


def test_prompt_of_one_token_has_a_sum_of_zero(tmp_path: Path, store: Store) -> None:
    save_llama(tmp_path, begin=True)
    (found,) = worker(resolve_path("llama", str(tmp_path), None, "float32"), store).evaluate([("", "bread")])
    assert (found.prompt_tokens, found.prompt_nll, found.status) == (1, 0.0, OK)
    assert found.full_nll is not None and found.full_nll > 0


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000"])
def test_white_space_is_empty_with_its_sums_beside_where_it_adds_tokens(
    mt5: LoadableModel, llama: LoadableModel, store: Store, blank: str
) -> None:
    for model in (mt5, llama):
        found, text = worker(model, store).evaluate([("Anna", blank), ("Anna", f"{blank}bread")])
        assert (found.status, text.status) == (EMPTY, OK)
        if found.full_tokens == found.prompt_tokens:
            assert found == CompletionLikelihood(found.prompt_tokens, None, found.prompt_tokens, None, EMPTY)
        else:
            assert found.prompt_nll == text.prompt_nll and found.full_nll is not None and found.full_nll > 0
    assert (found.full_tokens > found.prompt_tokens) == bool(blank)  # the causal model's tokenizer keeps white space


def test_completion_that_does_not_fit_is_failed_and_not_cut(llama: LoadableModel, store: Store) -> None:
    long, short = worker(llama, store).evaluate([("Anna", " bread" * 100_000), ("Anna", " bread")])
    assert (long.status, long.prompt_nll, long.full_nll) == (FAILED, None, None)
    assert short.status == OK


def test_long_prompt_of_a_causal_model_keeps_its_end(llama: LoadableModel, store: Store) -> None:
    (found,) = worker(llama, store).evaluate([("bread " * 500 + "Anna buys", " bread")])
    assert (found.status, found.prompt_tokens) == (OK, 128)  # half the context


def test_sum_that_is_no_number_is_failed(llama: LoadableModel, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = worker(llama, store)
    monkeypatch.setattr(made._evaluator, "nll", lambda rows: [float("nan")] * len(rows))
    assert [found.status for found in made.evaluate(PAIRS)] == [FAILED] * len(PAIRS)


def test_prompt_and_repeated_completion_are_evaluated_once(
    mt5: LoadableModel, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = worker(mt5, store)
    nll, asked = made._evaluator.nll, []

    def counted(rows: Any) -> list[float]:
        asked.extend(rows)
        return nll(rows)

    monkeypatch.setattr(made._evaluator, "nll", counted)
    made.evaluate(PAIRS)
    assert len(asked) == 4 + 5


def test_unit_has_a_row_per_completion_beside_its_own_prompt(mt5: LoadableModel, store: Store) -> None:
    prompts = [
        {"prompt_id": f"en-{at}", "text": text, "source": "test", "source_index": "0"}
        for at, text in enumerate(("never asked", "Anna buys bread", "Anna buys bread"))
    ]
    store.commit(PROMPTS.unit(language="en"), "p", pa.Table.from_pylist(prompts, schema=PROMPTS.columns))
    texts = [("en-2", 0, " today"), ("en-2", 1, ""), ("en-1", 0, " today")]
    rows = [
        {"prompt_id": each, "sample": sample, "text": text, "tokens": 1, "finish_reason": "stop", "seed": 0}
        for each, sample, text in texts
    ]
    source = GENERATIONS.unit(model="base", language="en")
    store.commit(source, "g", pa.Table.from_pylist(rows, schema=GENERATIONS.columns))
    task = Task(
        FLUENCIES.unit(evaluator="mt5", model="base", language="en"),
        "k",
        ((source, "g"), (PROMPTS.unit(language="en"), "p")),
    )
    product = worker(mt5, store).make(task)
    assert product.rows.schema == FLUENCIES.columns
    found = product.rows.to_pylist()
    assert [(row["prompt_id"], row["sample"], row["status"]) for row in found] == [
        ("en-2", 0, OK),
        ("en-2", 1, EMPTY),
        ("en-1", 0, OK),
    ]
    assert found[0]["full_nll"] == found[2]["full_nll"] != found[0]["prompt_nll"]
    assert product.info["status_counts"] == {OK: 2, EMPTY: 1} and product.amount == 3


def plan(
    mt5: LoadableModel, generations: dict[Unit, str], prompts: dict[Unit, str], monkeypatch: pytest.MonkeyPatch
) -> dict[Unit, str]:
    monkeypatch.setattr("detox_ray.score.fluency.resolve_path", lambda *_: mt5)
    evaluator = {"name": mt5.name, "path": mt5.location, "dtype": mt5.dtype}
    return planned(FluencyStage(), context(generations | prompts, quality={"fluency": [evaluator]}))


def test_plan_follows_the_generations_the_prompts_and_the_evaluator(
    mt5: LoadableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generations = {GENERATIONS.unit(model="base", language="fr", shard=shard): f"key{shard}" for shard in (0, 1)}
    french = PROMPTS.unit(language="fr")
    first = plan(mt5, generations, {french: "p", PROMPTS.unit(language="de"): "q"}, monkeypatch)
    assert list(first) == [
        FLUENCIES.unit(evaluator="mt5", model="base", language="fr", shard=shard) for shard in (0, 1)
    ]
    others = [
        plan(mt5, generations, {french: "changed"}, monkeypatch),
        plan(mt5._replace(key="changed"), generations, {french: "p"}, monkeypatch),
        plan(mt5._replace(dtype="bfloat16"), generations, {french: "p"}, monkeypatch),
        plan(mt5, {unit: "changed" + key for unit, key in generations.items()}, {french: "p"}, monkeypatch),
    ]
    assert len({key for each in (first, *others) for key in each.values()}) == 10


def test_evaluator_that_is_a_model_of_the_experiment_keeps_its_weights_under_its_own_name(mt5: LoadableModel) -> None:
    base = mt5._replace(name="base", dtype="bfloat16")

    def evaluator(**config: str) -> LoadableModel:
        within = context({}, models=[base], quality={"fluency": [config]})
        within.resolved["fluencies"] = FluencyStage().resolve(within)
        return evaluator_of(within, within.experiment.quality.fluency[0])

    assert evaluator(name="judge", model="base") == base._replace(name="judge")
    assert evaluator(name="judge", model="base", dtype="float32").dtype == "float32"
    assert evaluator(name="mt5", path=mt5.location, dtype="float32") == mt5
