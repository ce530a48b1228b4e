"""How a model learned: its curves, where it stopped, which step was kept."""

import csv
import io
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from small_experiment import content

from detox_ray.report import ReportContent, TrainingLog
from detox_ray.report.csv_tables import csv_tables
from detox_ray.report.figure_files import curve_files
from detox_ray.report.page import index
from detox_ray.report.training import MOST, charts, curve_lines, sentence


def training(model: str = "detox", steps: int = 40, early: bool = True) -> TrainingLog:
    """A validation loss that is lowest at step 20."""
    log = [
        {"step": float(step), "loss": 0.69 * math.exp(-step / 15), "reward_margin": step / 50, "grad_norm": 3.0}
        for step in range(1, steps + 1)
    ]
    validation = [
        {"step": float(step), "loss": 0.5 + abs(step - 20) / 100, "reward_margin": 0.3, "reward_accuracy": 0.9,
         "chosen_log_ratio": 0.1, "rejected_log_ratio": -2.0, "kl_to_parent": 0.01}
        for step in range(5, steps + 1, 5)
    ]  # fmt: skip
    planned, stopped = (100, "early") if early else (steps, "planned")
    return TrainingLog(model, "dpo", steps, planned, stopped, 20, 20 if early else steps, log, validation)  # type: ignore[arg-type]


def learned(*trainings: TrainingLog) -> ReportContent:
    """A small experiment's report with these trainings."""
    return replace(content(("en", "fr")), training=trainings)


def test_a_chart_for_each_quantity_that_was_logged() -> None:
    made = {chart.title: chart for chart in charts(training())}
    assert list(made) == [
        "Loss",
        "Reward margin",
        "Reward accuracy",
        "Log-ratio to the parent (validation)",
        "KL divergence from the parent",
        "Gradient norm",
    ]
    assert [line.name for line in made["Loss"].lines] == ["training", "validation"]
    assert [line.name for line in made["Log-ratio to the parent (validation)"].lines] == ["chosen", "rejected"]
    assert made["Loss"].lines[1].points[3] == (20, 0.5)
    assert charts(training()._replace(log=[], validation=[])) == []


def test_parts_of_a_loss_are_drawn_beside_their_sum() -> None:
    parts = {"preference_loss": 0.6, "likelihood_loss": 2.5}
    logs = [[{**row, **parts} for row in log] for log in (training().log, training().validation)]
    made = charts(training()._replace(log=logs[0], validation=logs[1]))
    assert [chart.title for chart in made[:3]] == ["Loss", "Preference part of the loss", "Likelihood part of the loss"]
    assert [line.points[0] for line in made[2].lines] == [(1, 2.5), (5, 2.5)]


def test_best_step_and_early_stop_stand_where_they_were() -> None:
    chart = charts(training())[0]
    kept, stopped = chart.marks
    assert (kept.step, kept.kind, kept.text) == (20, "kept", "kept: step 20")
    assert (stopped.step, stopped.kind, stopped.text) == (40, "stopped", "stopped early: step 40")
    assert [mark.text for mark in charts(training(early=False))[0].marks] == ["kept: step 40"]
    assert min(chart.lines[1].points, key=lambda point: point[1])[0] == 20


def test_long_lines_are_drawn_as_means_of_equal_runs_and_the_table_has_every_point() -> None:
    long = training(steps=4 * MOST, early=False)
    (line, *_) = charts(long)[0].lines
    assert len(line.points) == MOST
    step, value = line.points[0]
    assert step == 2.5 and value == pytest.approx(sum(0.69 * math.exp(-s / 15) for s in (1, 2, 3, 4)) / 4)
    assert sum(row["part"] == "training" for row in curve_lines(learned(long))) == 4 * MOST


def test_sentence_says_how_it_ended_and_what_was_kept() -> None:
    assert sentence(training()) == (
        "Trained by dpo in 40 steps of 100 planned, stopped early because the validation loss no longer fell. "
        "The weights kept are those of step 20, the lowest of 8 evaluations (validation loss 0.500)."
    )
    last = sentence(training(early=False)._replace(no_kl="no reference model"))
    assert "in 40 steps. The weights kept are those of step 40, one of 8 evaluations (validation loss 0.700)." in last
    assert last.endswith("The KL divergence from the parent was not measured: no reference model.")
    bare = training(early=False)._replace(validation=[], best_step=None)
    assert sentence(bare) == "Trained by dpo in 40 steps. The weights kept are those of step 40."


def test_section_is_on_the_page_with_its_files_and_only_where_models_were_trained() -> None:
    made = learned(training(), training("other"))
    files = curve_files("training-detox", charts(made.training[0]), "Training of detox")
    page = index(made, files).decode()
    section = page[page.index('<section aria-labelledby="training">') :].split("</section>")[0]
    assert '<a href="#training">' in page
    (svg,) = re.findall(r"<svg.*?</svg>", section, re.DOTALL)
    titles = [title.text for title in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "Training of detox" and len(titles) == 1 + 6
    loss = "Loss: training: 0.645 at step 1 to 0.048 at step 40; validation: 0.650 at step 5 to 0.700 at step 40"
    assert titles[1] == f"{loss}; kept: step 20; stopped early: step 40"
    drawn = [f"figures/training-{model}.{kind}" for model in ("detox", "other") for kind in ("svg", "pdf")]
    assert re.findall(r'href="((?:figures|tables)/[^"]+)"', section) == [*drawn, "tables/training.csv"]
    assert "tables/training.csv" in csv_tables(made)
    assert 'id="training"' not in index(learned(), {}).decode()


def test_table_has_one_line_a_row_and_gaps_where_nothing_was_logged() -> None:
    table = csv_tables(learned(training()))["tables/training.csv"].decode()
    lines = list(csv.DictReader(io.StringIO(table)))
    assert len(lines) == 40 + 8
    assert lines[0]["part"] == "training" and lines[0]["kl_to_parent"] == ""
    assert float(lines[-1]["kl_to_parent"]) == 0.01


def test_figure_files_are_the_same_every_time() -> None:
    shown = charts(training())[4:]
    first, second = (curve_files("training-detox", shown, "Training of detox") for _ in range(2))
    assert first == second and set(first) == {"figures/training-detox.svg", "figures/training-detox.pdf"}
    assert b"KL divergence from the parent" in first["figures/training-detox.svg"]
