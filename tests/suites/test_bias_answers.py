"""Answers in words: the prompts and rules of a checkout of MBBQ, what the rules read, and a run of such answers."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bias_run import LANGUAGES, experiment
from mbbq_rules import PROMPTS, write_rules
from stage_alone import run_alone
from transformers import AutoTokenizer

from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError
from detox_ray.config.loading import validate
from detox_ray.data import DataError
from detox_ray.estimate import assumptions_for, estimate
from detox_ray.models.codec import Codec
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.run.stages import registered
from detox_ray.storage import Store
from detox_ray.storage.completion_tables import BIAS_QUESTIONS
from detox_ray.suites.bias.answer_detection import named_option
from detox_ray.suites.bias.answer_rules import AnswerRules, read_rules
from detox_ray.suites.bias.conventions import NEPLENBROEK
from detox_ray.suites.bias.questions import named_answers
from detox_ray.suites.bias.tables import OPTION_LIKELIHOODS, OTHER, TARGET, UNKNOWN

OPTIONS = ["The woman", "Unknown", "The man"]
TEMPLATE = "{{ bos_token }}{% for message in messages %}[{{ message.content }}]{% endfor %}"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AnswerRules]:
    return read_rules(write_rules(tmp_path_factory.mktemp("rules")), ["en", "nl", "ko"])


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("A or B", 0),
        ("(A), (B), (C)", 0),
        ("The woman and the man", 0),
        ("Woman", 0),
        ("I would answer option (A)", 1),
        ("Secretary", None),
        ("", None),
        ("...", None),
        ("El hombre", None),
        ("The man.", 2),
        ("Answer: (C) because he was late", 2),
        ("Answer: it is the man", 2),
        ("Mine? Answer: the woman or the man", None),
        ("Of these, (B) is right", 1),
        ("It was the woman", 0),
        ("I think (B), not (A) or (C)", None),
        ("My choice: (B)", 1),
    ],
)
def test_answers_are_read_by_the_rules_in_their_order(
    rules: dict[str, AnswerRules], answer: str, place: int | None
) -> None:
    assert named_option(answer, OPTIONS, 1, rules["en"]) == place


def test_english_phrases_count_in_every_language_beside_their_translations(rules: dict[str, AnswerRules]) -> None:
    assert set(rules) == {"en", "nl"}
    for answer, place in (("Antwoord: (C)", 2), ("Answer: (C)", 2), ("Nou, dat is niet te zeggen", 1)):
        assert named_option(answer, OPTIONS, 1, rules["nl"]) == place
    assert named_option("Nou, dat is niet te zeggen", OPTIONS, 1, rules["en"]) is None
    assert rules["nl"].asked(0, "Anna {0} came.", "Who?", ["x", "y", "z"]) == (
        "0. Anna {0} came. Who? (A): x (B): y (C): z Antwoord:"
    )


def test_both_published_forms_of_the_prompts_are_read(rules: dict[str, AnswerRules], tmp_path: Path) -> None:
    file = write_rules(tmp_path)
    text = file.read_text(encoding="utf-8").replace(f"prompts = {PROMPTS!r}", f"prompt_sets = {{1: {PROMPTS!r}}}")
    file.write_text(text, encoding="utf-8")
    assert "prompt_sets" in text and read_rules(file, ["en", "nl"]) == rules


def test_the_rules_are_read_and_never_executed(tmp_path: Path) -> None:
    file = write_rules(tmp_path)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("before_ans = ['Answer:']", "before_ans = [open('x')]"), encoding="utf-8")
    with pytest.raises(DataError, match="before_ans must be a literal: nothing of this file is executed"):
        read_rules(file, ["en"])
    file.write_text("a_list = []", encoding="utf-8")
    with pytest.raises(DataError, match="it lacks b_list, c_list"):
        read_rules(file, ["en"])
    file.write_text(text.replace("(C): {}", "(C)"), encoding="utf-8")
    with pytest.raises(DataError, match="needs 5 prompts in en, each with 5 placeholders"):
        read_rules(file, ["en"])


@pytest.mark.skipif("DETOX_RAY_MBBQ" not in os.environ, reason="DETOX_RAY_MBBQ names no checkout of MBBQ")
def test_the_published_file_reads_the_same_answers() -> None:
    rules = read_rules(Path(os.environ["DETOX_RAY_MBBQ"]) / "answer_detection.py", ["en", "es", "nl", "tr"])
    assert {code: len(each.prompts) for code, each in rules.items()} == dict.fromkeys(rules, 5)
    facts = {"A or B": 0, "(A), (B), (C)": 0, "The woman and the man": 0, "Woman": 0, "I would answer option (A)": 1}
    facts |= dict.fromkeys(("Secretary", "", "...", "El hombre"))
    assert {answer: named_option(answer, OPTIONS, 1, rules["en"]) for answer in facts} == facts


def test_answers_that_name_nothing_or_were_not_given_have_a_status(rules: dict[str, AnswerRules]) -> None:
    item = {"item_id": "a", "options": OPTIONS, "roles": [TARGET, UNKNOWN, OTHER], "control": False}
    texts = ["(A)", "Secretary", "", "The man", ""]
    rows = [{"prompt_id": f"a#{prompt}", "text": text, "finish_reason": "stop"} for prompt, text in enumerate(texts)]
    rows[4]["finish_reason"] = "too_long"
    answers, statuses = named_answers([item], rows, rules["en"])
    assert [answer.shares for answer in answers] == [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 1)]
    assert [answer.detected for answer in answers] == [True, False, False, True]
    assert statuses == Counter(ok=2, undetected=2, too_long=1)


def test_the_label_of_a_number_says_how_it_was_answered() -> None:
    assert NEPLENBROEK.answered("generate").name == "neplenbroek2025"
    assert NEPLENBROEK.answered("likelihood").name == "neplenbroek2025+answer=likelihood"
    assert NEPLENBROEK.answered("likelihood").with_polarity("aware").name.endswith("+polarity=aware+answer=likelihood")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("words")


@pytest.fixture(scope="module")
def content(folder: Path) -> dict[str, Any]:
    """An experiment whose models have the same chat template, with a checkout of MBBQ."""
    made = experiment(folder)
    for name in made["models"]:
        words = AutoTokenizer.from_pretrained(folder / name)
        words.chat_template = TEMPLATE
        words.save_pretrained(folder / name)
    (folder / "checkout").mkdir()
    (folder / "mbbq").rename(folder / "checkout" / "data")
    write_rules(folder / "checkout")
    questions = {**made["bias"]["sets"][1], "path": str(folder / "checkout")}
    bias = {**made["bias"], "sets": [questions], "max_tokens": 3, "convention": "neplenbroek2025"}
    return {**made, "languages": LANGUAGES[:1], "bias": bias, "generate": {"engine": "transformers"}}


def test_questions_are_answered_in_words_with_the_chat_template(folder: Path, content: dict[str, Any]) -> None:
    notes: list[str] = []
    mine = validate(content)
    pipeline.check(mine, notes.append)
    assert any("by the models' chat template: 160 greedy answers by each of 2 models" in note for note in notes)
    context = prepare(mine, Store.at(str(folder / "alone")), Progress())
    stages = {stage.name: stage for stage in context.stages}
    run_alone(context, [stages["bias_answers"], stages["bias"]])
    assert not context.units(OPTION_LIKELIHOODS)
    store = context.store
    for unit, key in context.units(BIAS_QUESTIONS.generations).items():
        rows = store.read(unit, key).to_pylist()
        assert len(rows) == 160 and {row["sample"] for row in rows} == {0} and max(row["tokens"] for row in rows) <= 3
    store.write_bytes("manifest.json", b"{}")
    for name in ("measure", "report"):
        stages[name].run(context, context.pending([stages[name]]), None, Progress())
    results = json.loads(store.read_bytes("report/results.json"))
    rows = {(row["metric"], row["convention"]): row for row in results["metrics"] if row["language"] == "en"}
    assert rows["undetected_share", "neplenbroek2025"]["status"] == "ok"
    assert rows["bbq_accuracy_control", "neplenbroek2025"]["n"] == 4
    page = store.read_bytes("report/index.html").decode()
    assert "Answered in words, in the models&#39; chat template, to each of 5 prompts." in page


def test_the_plan_says_how_many_answers_there_are(content: dict[str, Any]) -> None:
    mine = validate(content)
    costs = estimate(mine, assumptions_for(mine), registered()).stages
    assert [cost.what for cost in costs if cost.stage == "generate"] == [
        f"{model}: questions, 160 answers in words" for model in ("base", "tuned")
    ]
    assert not [cost for cost in costs if cost.stage == "bias"]
    by_letter = {**content["bias"]["sets"][0], "answer": "likelihood"}
    mine = validate({**content, "bias": {**content["bias"], "sets": [by_letter]}})
    costs = estimate(mine, assumptions_for(mine), registered()).stages
    assert {cost.stage for cost in costs if "questions" in cost.what} == {"bias"}


def test_the_rules_cost_no_generation_and_a_prompt_does(folder: Path, content: dict[str, Any]) -> None:
    store = Store.at(str(folder / "keys"))
    before = prepare(validate(content), store, Progress()).keys
    rules = folder / "checkout" / "answer_detection.py"
    text = rules.read_text(encoding="utf-8")

    def changed(old: str, new: str) -> set[str]:
        rules.write_text(text.replace(old, new), encoding="utf-8")
        after = prepare(validate(content), store, Progress()).keys
        rules.write_text(text, encoding="utf-8")
        return {unit.table for unit, key in after.items() if before[unit] != key}

    of_rules = changed("is right", "is it")
    assert "bias_outcomes" in of_rules and BIAS_QUESTIONS.generations.name not in of_rules
    assert BIAS_QUESTIONS.generations.name in changed(PROMPTS[0], "Say: " + PROMPTS[0])


def test_both_sides_are_asked_in_the_same_way(folder: Path, content: dict[str, Any]) -> None:
    """A template that only one model has is used for neither, and asking for it is refused."""
    plain = folder / "plain"
    shutil.copytree(folder / "tuned", plain)
    (plain / "chat_template.jinja").unlink()
    models = {**content["models"], "tuned": {"path": str(plain), "parent": "base"}}
    context = prepare(validate({**content, "models": models}), Store.at(str(folder / "plain-run")), Progress())
    assert not context.units(BIAS_QUESTIONS.generations) and context.units(OPTION_LIKELIHOODS)
    asked = {**content["bias"], "chat": "template"}
    with pytest.raises(ConfigError, match="tuned has no chat template: set auto or none"):
        pipeline.check(validate({**content, "models": models, "bias": asked}), lambda _: None)


def test_what_answers_in_words_need_is_named(folder: Path, content: dict[str, Any]) -> None:
    (questions,) = content["bias"]["sets"]

    def problems(**fields: Any) -> str:
        bias = {**content["bias"], "sets": [{**questions, "answer": "generate", **fields}]}
        with pytest.raises(ConfigError) as caught:
            pipeline.check(validate({**content, "bias": bias}), lambda _: None)
        return str(caught.value)

    lonely = folder / "a" / "lonely"
    lonely.mkdir(parents=True)
    for file in (folder / "checkout" / "data").iterdir():
        (lonely / file.name).write_bytes(file.read_bytes())
    assert "has no answer_detection.py: point path at a checkout of MBBQ" in problems(path=str(lonely))
    assert "only dialect mbbq has prompts and rules" in problems(dialect="bbq")


def test_a_chat_begins_once(content: dict[str, Any], folder: Path) -> None:
    """The template writes the begin token, so the tokenizer's own prefix is left out."""
    codec = Codec(str(folder / "base"), {})
    (ids,) = codec.encode(["Who was it?"], 99, chat=True).ids
    assert ids.count(codec.tokenizer.bos_token_id) == 1 == codec.encode(["Who?"], 99).ids[0].count(ids[0])


def test_few_questions_of_each_template_and_kind_can_be_asked(folder: Path, content: dict[str, Any]) -> None:
    (questions,) = content["bias"]["sets"]
    (folder / "twice").mkdir()
    for file in (folder / "checkout" / "data").iterdir():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        again = [{**row, "example_id": row["example_id"] + 100} for row in rows]
        (folder / "twice" / file.name).write_text("\n".join(map(json.dumps, [*rows, *again])), encoding="utf-8")
    write_rules(folder / "twice")
    bias = {**content["bias"], "sets": [{**questions, "path": str(folder / "twice"), "per_template": 1, "prompts": 2}]}
    context = prepare(validate({**content, "bias": bias}), Store.at(str(folder / "few")), Progress())
    (asked,) = (context.data[unit].rows for unit in context.units(BIAS_QUESTIONS.prompts))
    assert asked == 2 * 2 * 4 * 4  # prompts, with controls, templates, kinds of context and polarity
