"""The knowledge stage: units, own tasks, mistakes, and what is measured of the answers."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from knowledge_world import made_up, random_model
from stage_alone import run_alone

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.stage import Context
from detox_ray.config import ConfigError, Experiment, InputError
from detox_ray.config.loading import validate
from detox_ray.measure import measure
from detox_ray.measure.stage import inputs_of, metrics_of, settings_of
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.storage import Store, UnitTables
from detox_ray.storage.metric_spec import ALL, MetricInput
from detox_ray.storage.tables import PROMPTS
from detox_ray.suites.knowledge import plan
from detox_ray.suites.knowledge.catalogue import READY
from detox_ray.suites.knowledge.metrics import ACCURACY, NORMALISED
from detox_ray.suites.knowledge.tables import ANSWERS


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


def test_another_yaml_of_the_same_folder_asks_other_questions(tmp_path: Path) -> None:
    task = tmp_path / "several"
    task.mkdir()
    keys = []
    for name in ("capitals", "rivers"):
        for each in ("capitals", "rivers"):
            (task / f"{each}.yaml").write_text(f"task: {each}\n")
        own = {"name": "geography", "path": str(task / f"{name}.yaml"), "languages": ["de"]}
        config = experiment(tmp_path, tasks=[own])
        context = prepare(config, Store.at(config.folder), Progress(), pipeline.check(config))
        keys.append(set(context.units(ANSWERS).values()))
    assert keys[0] and keys[0].isdisjoint(keys[1])


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


def test_equally_likely_options_share_the_answer_unless_the_convention_takes_the_first() -> None:
    rows = [
        {"question": "a", "option_nlls": [1.0, 1.0, 2.0, 3.0], "chosen": 0, "gold": 1, "correct": 0.0},
        {"question": "b", "option_nlls": [1.0, 1.0, 2.0, 3.0], "chosen": 0, "gold": 2, "correct": 0.0},
        {"question": "c", "option_nlls": [3.0, 1.0, 2.0, 3.0], "chosen": 1, "gold": 1, "correct": 1.0},
    ]
    common = {"row": 0, "part": "all", "groups": [], "option_bytes": None, "correct_norm": None, "status": "ok"}
    table = pa.Table.from_pylist([{**common, **row} for row in rows], schema=ANSWERS.columns)

    def accuracy(convention: str) -> float:
        assert ACCURACY.compute is not None
        given = MetricInput("m", "en", PROMPTS.columns.empty_table(), {ANSWERS.name: table}, convention)
        sums = ACCURACY.compute(given)
        assert isinstance(sums, dict)
        return float(sums[ALL].numerators.sum() / sums[ALL].denominators.sum())

    assert accuracy("corrected") == pytest.approx(1.5 / 3)
    assert accuracy("neplenbroek2025+threshold") == pytest.approx(1 / 3)


def test_the_hubs_commit_is_in_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path, tasks=["global-mmlu"])

    def keys(commit: str) -> set[str]:
        monkeypatch.setattr(plan, "hub_commit", lambda source: commit)
        context = prepare(config, Store.at(config.folder), Progress())
        return {context.keys[unit] for unit in context.units(ANSWERS)}

    assert keys("one") == keys("one") and keys("one").isdisjoint(keys("two"))


def test_a_hub_that_cannot_be_reached_is_the_users_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    def refused(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(HfApi, "dataset_info", refused)
    with pytest.raises(
        InputError, match=r"nobody/nothing is not in the local cache, and the hub cannot be reached \(no route\)"
    ):
        plan.hub_commit("nobody/nothing")


def test_hellaswags_questions_have_the_same_name_in_all_languages() -> None:
    assert READY["hellaswag"].identity == "ind"
