"""Knowledge: lm_eval's tasks on our own forwards, against a loop that evaluates one option at a time."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from stage_alone import run_alone
from tiny_tokenizers import FORMS, save, tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.config import ConfigError, Experiment
from detox_ray.config.loading import validate
from detox_ray.measure import measure
from detox_ray.measure.stage import inputs_of, metrics_of, settings_of
from detox_ray.models.causal_model import CausalModel
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.storage import Store, UnitTables
from detox_ray.storage.metric_spec import ALL, MetricInput
from detox_ray.suites.knowledge.catalogue import READY
from detox_ray.suites.knowledge.harness import Harness, LoadedTask, ready_task
from detox_ray.suites.knowledge.metrics import ACCURACY, NORMALISED
from detox_ray.suites.knowledge.tables import ANSWERS, TOO_LONG

DEV = Path(__file__).parents[2].parent / "shared/data/bias/global-mmlu/global_mmlu_dev_en.json"
LETTERS = "ABCD"


def random_model(folder: Path, seed: int = 0, form: str = "bos", positions: int = 4096) -> CausalModel:
    words = tokenizer(FORMS[form])
    save(folder, words, positions)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return CausalModel(str(folder), {}, "float32")


def made_up(count: int, subjects: tuple[str, ...] = ("physics", "law")) -> list[dict[str, Any]]:
    """Questions in the form of Global-MMLU."""
    return [
        {
            "sample_id": f"{subject}/test/{number}",
            "subject": subject,
            "subject_category": "STEM" if subject == "physics" else "Social Sciences",
            "question": f" Which {subject} number is {number}? ",
            **{f"option_{letter.lower()}": f"{number + place}" for place, letter in enumerate(LETTERS)},
            "answer": LETTERS[number % 4],
            "cultural_sensitivity_label": "-" if number % 3 else "CS",
        }
        for subject in subjects
        for number in range(count)
    ]


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


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refused(*_: Any) -> None:
        raise AssertionError("a socket is opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    yield


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


# The stage.


def experiment(folder: Path, **knowledge: Any) -> Experiment:
    random_model(folder / "one", 1)
    random_model(folder / "two", 2)
    raw = {
        "name": "knowing",
        "storage": str(folder / "runs"),
        "languages": ["de", "en"],
        "models": {"one": {"path": str(folder / "one")}, "two": {"path": str(folder / "two"), "parent": "one"}},
        "knowledge": {"questions_per_unit": 10, **knowledge},
        "measure": {"bootstrap": 200},
    }
    return validate(raw)


def files(folder: Path, languages: tuple[str, ...] = ("de", "en")) -> str:
    for language in languages:
        (folder / "global-mmlu" / language).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(made_up(12)), folder / "global-mmlu" / language / "test.parquet")
        dev = "".join(json.dumps(row) + "\n" for row in made_up(2))
        (folder / "global-mmlu" / language / "dev.jsonl").write_text(dev)
    return str(folder)


def made(config: Experiment) -> Context:
    context = prepare(config, Store.at(config.folder), Progress(), pipeline.check(config))
    run_alone(context, [stage for stage in context.stages if stage.name == "knowledge"])
    return context


def test_two_models_answer_every_question_and_do_not_share_answers(tmp_path: Path, no_socket: None) -> None:
    config = experiment(tmp_path, tasks=["global-mmlu", "toy17-cloze"], shots={"global-mmlu": 1}, path=files(tmp_path))
    context = made(config)
    assert len(context.units(ANSWERS)) == 2 * 2 * (3 + 5)  # models, languages; 24 and 48 questions by tens
    tables = UnitTables(context.store, context.units(ANSWERS))
    one, two = (tables["global-mmlu", model, "de"] for model in ("one", "two"))
    assert one["question"].to_pylist() == [row["sample_id"] for row in made_up(12)] == two["question"].to_pylist()
    assert one["option_nlls"].to_pylist() != two["option_nlls"].to_pylist()
    assert set(one["groups"].to_pylist()[0]) == {"STEM", "culturally CS"} and one["part"].to_pylist()[-1] == "law"
    measured = measure(inputs_of(context, {}), settings_of(config), metrics_of(context))
    accuracy = {
        (row["scorer"], row["model"], row["language"], row["part"]): row["value"]
        for row in measured.metrics.to_pylist()
        if row["metric"] == "knowledge_accuracy"
    }
    correct = two["correct"].to_pylist()
    assert accuracy["global-mmlu", "two", "de", "all"] == pytest.approx(sum(correct) / 24)
    assert accuracy["global-mmlu", "two", "de", "STEM"] == pytest.approx(sum(correct[:12]) / 12)
    (gap,) = [
        row
        for row in measured.comparisons.to_pylist()
        if (row["metric"], row["scorer"], row["language"], row["part"])
        == ("knowledge_accuracy", "global-mmlu", "de", "all")
    ]
    assert gap["n"] == 24 and gap["difference"] == pytest.approx((sum(correct) - sum(one["correct"].to_pylist())) / 24)
    norms = {row["scorer"] for row in measured.metrics.to_pylist() if row["metric"] == "knowledge_accuracy_norm"}
    assert norms == {"toy17-cloze"}  # Global-MMLU's options are letters


def test_fewer_questions_keep_the_finished_units(tmp_path: Path) -> None:
    path = files(tmp_path)
    first = made(experiment(tmp_path, tasks=["global-mmlu"], shots={"global-mmlu": 0}, path=path))
    fields = {"tasks": ["global-mmlu"], "shots": {"global-mmlu": 0}, "path": path, "per_task": 20}
    config = experiment(tmp_path, **fields)
    again = prepare(config, Store.at(config.folder), Progress(), pipeline.check(config))
    stages = [stage for stage in again.stages if stage.name == "knowledge"]
    assert len(first.units(ANSWERS)) == 12 and len(again.units(ANSWERS)) == 8 and not again.pending(stages)


def test_an_own_task_brings_its_folder(tmp_path: Path) -> None:
    task = tmp_path / "capitals"
    task.mkdir()
    (task / "words.py").write_text("def shout(doc):\n    return doc['q'].upper() + ':'\n")
    (task / "questions.jsonl").write_text(
        "".join(json.dumps({"q": f"city {n}", "options": [" a", " b"], "right": n % 2}) + "\n" for n in range(6))
    )
    (task / "capitals.yaml").write_text(
        "task: anything\ndataset_path: json\noutput_type: multiple_choice\ntest_split: test\n"
        "dataset_kwargs: {data_files: {test: questions.jsonl}}\ndoc_to_text: !function words.shout\n"
        "doc_to_choice: options\ndoc_to_target: right\ntarget_delimiter: ''\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    own = {"name": "capitals", "path": str(task / "capitals.yaml"), "languages": ["de"]}
    context = made(experiment(tmp_path, tasks=[own], per_task=5))
    rows = UnitTables(context.store, context.units(ANSWERS))["capitals", "one", "de"].to_pylist()
    assert [row["gold"] for row in rows] == [0, 1, 0, 1, 0] and {row["status"] for row in rows} == {"ok"}
    assert all(len(row["option_nlls"]) == 2 and len(row["question"]) == 64 for row in rows)
    before = set(context.units(ANSWERS).values())
    (task / "words.py").write_text("def shout(doc):\n    return doc['q']\n")
    changed = experiment(tmp_path, tasks=[own], per_task=5)
    again = prepare(changed, Store.at(changed.folder), Progress(), pipeline.check(changed))
    assert before.isdisjoint(again.units(ANSWERS).values()), "another function asks other questions"


def test_mistakes_are_named_before_anything_starts(tmp_path: Path) -> None:
    path = files(tmp_path, ("de",))
    (tmp_path / "global-mmlu" / "de" / "dev.jsonl").unlink()
    own = {"name": "mine", "path": str(tmp_path / "absent.yaml")}
    fields = {"tasks": ["global-mmlu", "arc", "quiz", own], "path": path, "shots": {"other": 1}}
    notes: list[str] = []
    with pytest.raises(ConfigError) as error:
        pipeline.check(experiment(tmp_path, **fields), notes.append)
    assert [(problem.field, problem.rule.split(":")[0]) for problem in error.value.problems] == [
        ("knowledge.tasks", "must be one of global-mmlu, arc, hellaswag, toy17-cloze, or {name"),
        ("knowledge.shots.other", "must be one of global-mmlu, arc, quiz, mine"),
        (
            "knowledge.shots.global-mmlu",
            "global-mmlu needs de/dev.parquet (or .jsonl, .csv) for its examples, or shots",
        ),
        ("knowledge.path", "arc has no questions in any of the experiment's languages"),
        ("knowledge.tasks", "must be an existing YAML file of an lm_eval task"),
    ]
    assert notes == ["knowledge: global-mmlu has no questions in en"]


def test_shares_count_what_could_not_be_asked_and_make_up_nothing() -> None:
    def table(*rows: tuple[str, float | None, str]) -> MetricInput:
        content = [
            {"question": name, "row": 0, "part": "x", "groups": ["g"], "correct": correct, "status": status}
            for name, correct, status in rows
        ]
        return MetricInput("m", "en", pa.table({}), {ANSWERS.name: pa.Table.from_pylist(content, ANSWERS.columns)})

    compute = ACCURACY.compute
    assert compute is not None and NORMALISED.compute is not None
    sums = compute(table(("a", 1.0, "ok"), ("b", 0.0, "ok"), ("b", 1.0, "ok"), ("c", None, "too_long")))
    assert isinstance(sums, dict) and list(sums) == [ALL, "g"]
    assert list(sums[ALL].clusters) == ["a", "b"] and sums[ALL].denominators.tolist() == [1, 2]
    assert sums[ALL].numerators.tolist() == [1, 1] and sums[ALL].counts == {"ok": 3, "too_long": 1}
    nothing = compute(table(("c", None, "too_long")))
    assert isinstance(nothing, dict) and nothing[ALL].status == "too_long"
    assert NORMALISED.compute(table(("a", 1.0, "ok"))) == {}


def test_an_own_task_may_ask_for_an_answer_in_free_text(tmp_path: Path) -> None:
    task = tmp_path / "copying"
    task.mkdir()
    (task / "test.jsonl").write_text("".join(json.dumps({"q": f"say {n}:", "a": f"{n}"}) + "\n" for n in range(3)))
    (task / "copying.yaml").write_text(
        "task: anything\ndataset_path: json\noutput_type: generate_until\ntest_split: test\n"
        "dataset_kwargs: {data_files: {test: test.jsonl}}\ndoc_to_text: q\ndoc_to_target: a\n"
        "generation_kwargs: {until: ['\\n'], max_gen_toks: 4, do_sample: false}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    own = {"name": "copying", "path": str(task / "copying.yaml"), "languages": ["en"]}
    context = made(experiment(tmp_path, tasks=[own]))
    rows = UnitTables(context.store, context.units(ANSWERS))["copying", "one", "en"].to_pylist()
    assert len(rows) == 3 and all(row["status"] == "ok" and row["correct"] in (0, 1) for row in rows)
    assert all(row["option_nlls"] is None and row["chosen"] is None for row in rows)
