"""Knowledge: lm_eval's tasks on our own forwards, against a loop that evaluates one option at a time."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from knowledge_world import LETTERS, made_up, random_model

from detox_ray.config import InputError
from detox_ray.models.causal_model import CausalModel
from detox_ray.suites.knowledge.catalogue import READY
from detox_ray.suites.knowledge.harness import Harness, LoadedTask
from detox_ray.suites.knowledge.tables import TOO_LONG
from detox_ray.suites.knowledge.task_loading import own_task, ready_task

DEV = Path(__file__).parents[2].parent / "shared/data/bias/global-mmlu/global_mmlu_dev_en.json"


def loaded(rows: list[dict[str, Any]], examples: list[dict[str, Any]], shots: int, folder: Path) -> LoadedTask:
    ready = READY["global-mmlu"]
    documents = [("test", json.dumps(row)) for row in rows] + [("dev", json.dumps(row)) for row in examples]
    folder.mkdir()
    return LoadedTask(ready_task(ready, "en", documents, folder), shots, "subject")


def naive_nlls(model: CausalModel, prompt: str) -> list[float]:
    """Minus the log-likelihood of each letter after the prompt, each in a forward of its own."""
    nlls = []
    for letter in LETTERS:
        (before,), (whole,) = model.codec.ids([prompt]), model.codec.ids([f"{prompt} {letter}"])
        assert whole[: len(before)] == before
        with torch.no_grad():
            logp = model.network(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        nlls.append(-sum(logp[at - 1, whole[at]].item() for at in range(len(before), len(whole))))
    return nlls


def prompt_of(row: dict[str, Any], answer: str = "") -> str:
    options = "".join(f"\n{letter}. {row[f'option_{letter.lower()}']}" for letter in LETTERS)
    return f"{row['question'].strip()}{options}\nAnswer:{answer}"


@pytest.mark.skipif(not DEV.exists(), reason="no copy of Global-MMLU here")
@pytest.mark.parametrize(("form", "shots"), [("bos", 1), ("nothing", 0), ("bos and eos", 0)])
def test_real_questions_get_the_likelihoods_of_a_naive_loop(
    form: str, shots: int, tmp_path: Path, no_socket: None
) -> None:
    rows = [json.loads(line) for line in DEV.read_text(encoding="utf-8").splitlines()]
    asked = [row for row in rows if len(prompt_of(row)) < 300][:24]
    model = random_model(tmp_path / "model", form=form)
    task = loaded(asked, rows, shots, tmp_path / "task")
    answers = task.answer(Harness(model, 2048), range(24))
    assert len(answers) == 24
    for row, answer in zip(asked, answers, strict=True):
        example = next(each for each in rows if each["subject"] == row["subject"])
        before = f"{prompt_of(example, ' ' + example['answer'])}\n\n" if shots else ""
        prompt = f"{before}{prompt_of(row)}"
        expected = naive_nlls(model, prompt)
        assert answer.option_nlls == pytest.approx(expected, abs=1e-5)
        assert (answer.chosen, answer.gold) == (expected.index(min(expected)), LETTERS.index(row["answer"]))
        assert answer.correct == float(answer.chosen == answer.gold)


def test_accuracy_is_lm_evals_own(tmp_path: Path) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    model = random_model(tmp_path / "model", form="nothing")
    rows = made_up(12)
    task = loaded(rows, rows[:2], 0, tmp_path / "task")
    answers = task.answer(Harness(model, 512), range(24))
    theirs = evaluate(
        HFLM(pretrained=model.network, tokenizer=model.codec.tokenizer, batch_size=3, device="cpu", max_length=4096),
        {"tasks": {"t": task._task}, "groups": {}, "group_map": {}},
        bootstrap_iters=0,
    )
    assert theirs is not None
    samples = theirs["samples"]["t"]
    assert [sample["acc"] for sample in samples] == [answer.correct for answer in answers]
    likelihoods = [[-float(ll) for ((ll, _),) in sample["resps"]] for sample in samples]
    for one, answer in zip(likelihoods, answers, strict=True):
        assert one == pytest.approx(answer.option_nlls, abs=1e-5)


@pytest.mark.parametrize("budget", [64, 4096])
def test_a_shard_answers_as_the_whole_does_whatever_the_batch(budget: int, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model")
    rows = made_up(10)
    task = loaded(rows, rows, 2, tmp_path / "task")
    whole = task.answer(Harness(model, 1024), range(20))
    parts = [
        answer for at in range(0, 20, 7) for answer in task.answer(Harness(model, budget), range(at, min(at + 7, 20)))
    ]
    assert [(a.question, a.chosen) for a in whole] == [(a.question, a.chosen) for a in parts]
    for one, other in zip(whole, parts, strict=True):
        assert one.option_nlls == pytest.approx(other.option_nlls, abs=1e-5)


def test_drawn_examples_do_not_depend_on_the_shard(tmp_path: Path) -> None:
    """ARC's examples are drawn at random, from one stream over all questions."""
    questions = [
        {"id": f"q{n}", "instruction": f"What is {n}?", "answer": LETTERS[n % 4], "option_e": ""}
        | {f"option_{letter.lower()}": f"it is {n + i}" for i, letter in enumerate(LETTERS)}
        for n in range(12)
    ]
    documents = [(split, json.dumps(question)) for split in ("test", "train") for question in questions]
    model = random_model(tmp_path / "model")
    (tmp_path / "task").mkdir()
    task = LoadedTask(ready_task(READY["arc"], "de", documents, tmp_path / "task"), 2)
    prompts = {row: made[0].args[0] for row, _, made in task._requests(range(12))}
    assert prompts[9] == next(made[0].args[0] for _, _, made in task._requests(range(9, 10)))
    assert len({prompt.rsplit("Question", 1)[0] for prompt in prompts.values()}) > 6
    answers = task.answer(Harness(model, 1024), range(9, 12))
    assert [answer.row for answer in answers] == [9, 10, 11] and all(a.correct_norm is not None for a in answers)


def test_a_question_that_does_not_fit_is_not_cut(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", positions=128)
    rows = made_up(2, ("law",))
    rows[1]["question"] = "long " * 60
    short, long = loaded(rows, rows, 0, tmp_path / "task").answer(Harness(model, 1024), range(2))
    assert short.status == "ok" and short.option_nlls is not None
    assert (long.status, long.option_nlls, long.correct) == (TOO_LONG, None, None)


def test_a_continuation_that_does_not_fit_is_not_counted_as_wrong(tmp_path: Path) -> None:
    """lm_eval's type "loglikelihood" asks whether a text's continuation is the likeliest one."""
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": text, "end": " end"}) + "\n" for text in ("short", "long " * 200))
    )
    (tmp_path / "task.yaml").write_text(
        "task: anything\ndataset_path: json\noutput_type: loglikelihood\ntest_split: test\n"
        "dataset_kwargs: {data_files: {test: texts.jsonl}}\ndoc_to_text: text\ndoc_to_target: end\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    (tmp_path / "written").mkdir()
    task = LoadedTask(own_task(tmp_path / "task.yaml", "ends", tmp_path / "written"), None)
    harness = Harness(random_model(tmp_path / "model", positions=128), 1024)
    short, long = task.answer(harness, range(2))
    assert short.status == "ok" and short.correct in (0.0, 1.0)
    assert (long.status, long.correct) == (TOO_LONG, None)


def test_likelihoods_that_are_no_numbers_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that overflows gives nan, which does not mean that a question is too long."""
    model, rows = random_model(tmp_path / "model"), made_up(1)
    forward = model.network.forward

    def overflowing(**arguments: Any) -> Any:
        out = forward(**arguments)
        out.logits = out.logits * float("nan")
        return out

    monkeypatch.setattr(model.network, "forward", overflowing)
    answers = loaded(rows, rows, 0, tmp_path / "task").answer(Harness(model, 1024), range(2))
    assert {(answer.status, answer.correct) for answer in answers} == {("failed", None)}


def test_the_metric_of_an_own_task_is_one_of_which_higher_is_better(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "a", "choices": ["b", "c"], "gold": 0}) + "\n")
    metrics = {"brier_score": "false", "acc_norm": "true"}

    def task(names: list[str]) -> LoadedTask:
        listed = ", ".join(
            f"{{metric: {name}, aggregation: mean, higher_is_better: {metrics[name]}}}" for name in names
        )
        (tmp_path / "task.yaml").write_text(
            "task: own\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
            "dataset_kwargs: {data_files: {test: texts.jsonl}}\n"
            f"doc_to_text: text\ndoc_to_choice: choices\ndoc_to_target: gold\nmetric_list: [{listed}]\n"
        )
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        return LoadedTask(own_task(tmp_path / "task.yaml", "own", folder), None)

    assert task(["brier_score", "acc_norm"])._metric == "acc_norm"
    with pytest.raises(InputError, match=r"own: for none of its metrics \(brier_score\) are higher values better"):
        task(["brier_score"])


def test_a_model_that_gives_the_logits_of_all_positions_is_read_at_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = random_model(tmp_path / "model"), made_up(4)
    task = loaded(rows, rows, 0, tmp_path / "task")
    expected = task.answer(Harness(model, 1024), range(8))
    forward = model.network.forward

    def all_positions(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> Any:
        return forward(input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(model.network, "forward", all_positions)
    for ours, theirs in zip(task.answer(Harness(model, 1024), range(8)), expected, strict=True):
        assert ours.option_nlls == pytest.approx(theirs.option_nlls, abs=1e-5)


def test_the_index_of_all_tasks_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lm_eval.tasks.manager as manager

    paths: list[Any] = []
    build = manager.TaskIndex.build
    monkeypatch.setattr(manager.TaskIndex, "build", staticmethod(lambda given: (paths.extend(given), build(given))[1]))
    started = time.monotonic()
    manager.TaskManager(include_defaults=False)
    assert time.monotonic() - started < 1
    loaded(made_up(1), made_up(1), 0, tmp_path / "task")
    assert paths == []
