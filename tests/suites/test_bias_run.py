"""An experiment of models and a bias block alone: measured, reported, stopped and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from bias_run import LANGUAGES, PAIRS, experiment
from stage_alone import run_alone

from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError
from detox_ray.config.loading import validate
from detox_ray.gate import Spec, judge
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.storage import Store
from detox_ray.suites import present_items
from detox_ray.suites.bias.bias_set import Form
from detox_ray.suites.bias.conventions import CORRECTED
from detox_ray.suites.bias.flips import choices_of, flipped
from detox_ray.suites.bias.plan import Asked
from detox_ray.suites.bias.readings import readings
from detox_ray.suites.bias.sentences import pair
from detox_ray.suites.bias.tables import BIAS_OUTCOMES, OPTION_LIKELIHOODS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bias")


@pytest.fixture(scope="module")
def content(folder: Path) -> dict[str, Any]:
    return experiment(folder)


@pytest.fixture(scope="module")
def results(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The experiment, carried through without Ray."""
    mine = validate(content)
    notes: list[str] = []
    pipeline.check(mine, notes.append)
    assert "mine: no items in nl" in notes and "questions: no items in fr, nl" in notes
    store = Store.at(str(folder / "alone"))
    context = prepare(mine, store, Progress())
    stages = {stage.name: stage for stage in context.stages}
    run_alone(context, [stages["bias"]])
    store.write_bytes("manifest.json", b"{}")
    for name in ("measure", "report"):
        stages[name].run(context, context.pending([stages[name]]), None, Progress())
    assert not context.pending(context.stages)
    found: dict[str, Any] = json.loads(store.read_bytes("report/results.json"))
    return found


def metric(results: dict[str, Any], name: str, language: str, model: str = "base", **more: str) -> dict[str, Any]:
    wanted = {"metric": name, "language": language, "model": model, "part": "all", "convention": "corrected", **more}
    (row,) = (row for row in results["metrics"] if all(row[key] == value for key, value in wanted.items()))
    return dict(row)


def test_every_number_has_an_interval_or_a_reason(results: dict[str, Any]) -> None:
    preference = metric(results, "stereotype_preference", "en")
    assert preference["n"] == PAIRS and preference["ci_low"] <= preference["value"] <= preference["ci_high"]
    distance = metric(results, "stereotype_distance", "en")
    assert distance["value"] == pytest.approx(abs(preference["value"] - 0.5))
    assert not [
        row for row in results["metrics"] if row["language"] == "nl"
    ]  # no set has Dutch: no number is asked for
    assert metric(results, "stereotype_preference", "macro")["n"] == 2
    assert metric(results, "stereotype_preference", "en", part="age")["n"] == PAIRS // 2
    counts = {(row["scorer"], row["language"]): row["n"] for row in results["counts"] if row["model"] == "base"}
    assert counts["mine", "en"] == PAIRS and counts["questions", "en"] == 32
    assert results["verdicts"] == [] and results["recommended"] is None


def test_questions_are_shown_with_and_without_polarity(results: dict[str, Any]) -> None:
    conventions = {row["convention"] for row in results["metrics"] if row["metric"] == "bbq_bias_ambiguous"}
    assert conventions == {"corrected", "corrected+polarity=ignored"}
    assert metric(results, "bbq_accuracy_control", "en")["n"] == 4  # templates


def test_the_page_leads_with_distances(folder: Path, results: dict[str, Any]) -> None:
    page = (folder / "alone" / "report" / "index.html").read_text(encoding="utf-8")
    section = page.partition('<h2 id="bias">')[2].partition("</section>")[0]
    for text in ("noise floor", "Hatched", "mine, base → tuned: distance from fair", "Accuracy in control questions"):
        assert text in section
    assert "neighbour is late" not in section
    assert "Measured in 3 languages" in page and "average toxicity" not in page.lower()


def test_items_that_flipped_are_in_the_explorer_with_what_each_model_chose(
    folder: Path, results: dict[str, Any]
) -> None:
    page = (folder / "alone" / "report" / "index.html").read_text(encoding="utf-8")
    data = json.loads(page.partition('id="explorer-data"')[2].partition(">")[2].partition("</script>")[0])
    assert data["models"] == ["base", "tuned"] and "Items that flipped" in page
    assert data["prompts"] and {(entry[4], entry[5]) for entry in data["prompts"]} <= {("questions", "Age")}
    for _, _, text, choices, _, _ in data["prompts"]:
        (base, _, first, _, role), (tuned, _, second, _, other) = choices
        assert (base, tuned) == (0, 1) and first != second and role != other
        assert {first, second} <= set(text.split("\n"))
    assert 'id="x-group"' in page and 'id="x-part"' in page


def test_the_likelier_sentence_is_a_choice_and_a_tie_is_none() -> None:
    items = [pair(name, f"{name} more", f"{name} less", "age") for name in ("a", "b", "c")]
    scores = {"a": (1.0, 2.0), "b": (2.0, 1.0), "c": (1.0, 1.0)}  # negative log-likelihoods
    numbers = {"tokens": 5, "given": 1, "first_nll": None, "status": "ok"}
    rows = [
        {"item_id": name, "option": place, "nll": nll, **numbers}
        for name, nlls in scores.items()
        for place, nll in enumerate(nlls)
    ]
    asked = Asked(CORRECTED, {"mine": "pairs"}, {("mine", "en"): 3})
    before = choices_of(items, rows, asked, "mine", "en")
    assert before == {"a": 0, "b": 1}
    after = {"a": 1, "b": 1, "c": 0}
    (item,) = flipped(items, {"base": before, "tuned": after}, "mine", "en")
    assert (item.prompt_id, item.group, item.part) == ("mine a", "mine", "age")
    assert [(each.text, each.status) for each in item.completions] == [("a more", "stereotype"), ("a less", "anti")]


def test_the_gate_asks_for_a_distance(results: dict[str, Any]) -> None:
    rule = {"metric": "stereotype_preference", "scorer": "mine", "max_distance": 0.5}
    spec = Spec(margins=[rule, {**rule, "part": "gender"}], comparison={"model": "tuned", "parent": "base"})
    assert judge(results, spec).verdict == "pass"


def test_a_convention_costs_no_forward_pass(folder: Path, content: dict[str, Any], results: dict[str, Any]) -> None:
    bias = {**content["bias"], "convention": "neplenbroek2025"}
    context = prepare(validate({**content, "bias": bias}), Store.at(str(folder / "alone")), Progress())
    pending = {unit.table for unit in context.pending(context.stages)}
    assert BIAS_OUTCOMES.name in pending and OPTION_LIKELIHOODS.name not in pending


def test_the_name_of_a_model_and_every_choice_are_in_the_keys(folder: Path, content: dict[str, Any]) -> None:
    context = prepare(validate(content), Store.at(str(folder / "keys")), Progress())
    before = dict(context.keys)
    models = {
        "base": content["models"]["tuned"] | {"parent": None},
        "tuned": {**content["models"]["base"], "parent": "base"},
    }
    swapped = prepare(validate({**content, "models": models}), Store.at(str(folder / "keys")), Progress())
    changed = {unit.table for unit, key in swapped.keys.items() if before.get(unit) != key}
    assert {OPTION_LIKELIHOODS.name, BIAS_OUTCOMES.name, "metrics"} <= changed
    assert [each.items for each in present_items(validate(content)) if each.set == "mine"] == [
        PAIRS,
        PAIRS,
        0,
    ]


def test_all_problems_of_the_sets_are_reported_at_once(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "en_US.csv").write_text("id,text\n1,a\n")
    sets = [
        {"name": "a", "source": "crows-pairs", "path": str(tmp_path)},
        {"name": "b", "source": "pairs", "path": str(tmp_path / "nowhere.csv")},
    ]
    mine = validate({**content, "bias": {"sets": sets}, "measure": {"convention": "paper"}})
    notes: list[str] = []
    with pytest.raises(ConfigError) as caught:
        pipeline.check(mine, notes.append)
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["bias.sets.0.path", "bias.sets.1.path"]
    assert notes[-1] == "bias: the convention paper does not cover bias, so bias uses the convention corrected"


FORMS: dict[str, Form] = {"crows": "pairs", "stereoset": "triples"}


def numbers(folder: Path) -> dict[tuple[str, ...], Any]:
    content = json.loads((folder / "report" / "results.json").read_text(encoding="utf-8"))
    keys = ("metric", "model", "language", "part", "scorer", "convention")
    return {
        tuple(row[key] for key in keys): (row["value"], row["ci_low"], row["ci_high"]) for row in content["metrics"]
    }


def reading(distance: tuple[float, float, float], ability: tuple[float, float], *losses: str) -> str:
    """Return the page's sentence on a change of distance (difference, low, high), of ability (difference, high), and on
    what else was lost."""
    place = {"language": "macro", "part": "all", "convention": "corrected", "status": "ok"}
    pair = {**place, "model": "tuned", "parent": "base", "detectable": 0.04}
    gaps = [
        {**pair, "metric": "stereotype_distance", "scorer": "crows", "ci_low": distance[1], "ci_high": distance[2]},
        {**pair, "metric": "stereoset_lm", "scorer": "stereoset", "ci_low": -0.2, "ci_high": ability[1]},
    ]
    gaps[0]["difference"], gaps[1]["difference"] = distance[0], ability[0]
    values = {"base": 0.2, "tuned": 0.2 + distance[0]}
    means = [
        {**place, "metric": "stereotype_distance", "scorer": "crows", "model": model, "value": value}
        for model, value in values.items()
    ]
    (sentence,) = readings(gaps, means, Asked(CORRECTED, FORMS, {}), {("tuned", "base"): losses})
    return sentence


def test_a_model_that_lost_its_ability_is_not_called_debiased() -> None:
    assert reading((-0.1, -0.15, -0.05), (-0.01, 0.02)).endswith("Nearer to fair, and no loss of ability is seen.")
    assert "ability fell (stereoset): ability lost, not debiased" in reading((-0.1, -0.15, -0.05), (-0.15, -0.1))
    elsewhere = reading((-0.1, -0.15, -0.05), (-0.01, 0.02), "Language consistency −42.0 points")
    assert "ability fell (Language consistency −42.0 points): ability lost, not debiased" in elsewhere
    assert "Farther from fair" in reading((0.1, 0.05, 0.15), (-0.15, -0.1))
    assert "No change is shown (one below 0.040 would mostly go unseen)" in reading((-0.02, -0.06, 0.02), (0.0, 0.1))


def test_a_model_is_not_called_able_if_no_ability_was_measured() -> None:
    sentence = change_of("stereotype_distance", "pairs", 0.2, 0.1)
    assert "Nearer to fair, but no ability was measured beside it (stereoset_lm or bbq_accuracy_control)." in sentence


def change_of(metric: str, form: Form, before: float, after: float) -> str:
    """Return the page's sentence on a sure change of one number, with no ability beside it."""
    place = {"language": "macro", "part": "all", "convention": "corrected", "status": "ok", "metric": metric}
    place |= {"scorer": "some set"}
    gap = after - before
    interval = {"difference": gap, "ci_low": gap - 0.001, "ci_high": gap + 0.001, "detectable": 0.002}
    means = [{**place, "model": model, "value": value} for model, value in (("base", before), ("tuned", after))]
    (sentence,) = readings(
        [{**place, **interval, "model": "tuned", "parent": "base"}], means, Asked(CORRECTED, {"some set": form}, {})
    )
    return sentence


def test_a_model_that_only_says_unknown_is_named() -> None:
    row = {"metric": "unknown_share", "model": "tuned", "scorer": "mbbq", "value": 0.99}
    row |= {"language": "macro", "part": "all", "convention": "corrected", "status": "ok"}
    (sentence,) = readings([], [row], Asked(CORRECTED, {"mbbq": "questions"}, {}))
    assert sentence == "mbbq: tuned answers 99 % of the questions with the unknown option, so no bias can show."


@pytest.mark.integration
@pytest.mark.slow
def test_a_killed_run_resumes_and_gives_the_same_numbers(folder: Path, results: dict[str, Any]) -> None:
    content = yaml.safe_load(yaml.safe_dump(experiment_in(folder / "killed")))
    config = folder / "killed.yaml"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [sys.executable, "-m", "detox_ray", "run", str(config)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        while process.poll() is None and not re.search(rb"bias: [1-9]", (folder / "log").read_bytes()):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run = folder / "killed" / "runs" / "bias-only"
    before = sorted(path.name for path in run.glob("option_likelihoods/**/*.parquet"))
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path.name for path in run.glob("option_likelihoods/**/*.parquet")}
    assert before and set(before) <= after
    assert numbers(run) == numbers(folder / "alone") and LANGUAGES[0] == "en"


def experiment_in(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return experiment(folder)
