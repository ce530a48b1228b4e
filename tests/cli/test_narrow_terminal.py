"""Every command's tables on a terminal of 80 columns, in a pipe, and the same results as JSON and CSV."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contexts import context
from rich.cells import cell_len
from shown_results import LONG, SCORER, half_done_run, results, timed_work, validity_rows, verdict

from detox_ray.cli import run_tables
from detox_ray.cli.output import Format, Output
from detox_ray.cli.run_tables import write_closing, write_headlines, write_state, write_verdicts
from detox_ray.cli.scorer_tables import write_scorers, write_validity
from detox_ray.cli.terminal_tables import bounded
from detox_ray.run import headlines, open_run
from detox_ray.run.pipeline import CommandDone, Outcome
from detox_ray.run.validity import ValidityOutcome
from detox_ray.score import ready_scorers
from detox_ray.storage import Store

Writer = Callable[[Output], None]
COMMANDS = ("closing", "state", "validity", "scorers", "verdict", "headlines")


@pytest.fixture
def writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Writer]:
    store = Store.at(str(tmp_path))
    half_done_run(store)
    work = [
        timed_work("generate", "generate", LONG, "5,812 tokens/s"),
        timed_work("generate", "generate", f"{LONG}-detox", "12,345 tokens/s"),
        timed_work("score", f"scores: {SCORER}", LONG, "1,234 texts/s"),
        timed_work("score", "imports", "an-adapter", ""),
    ]
    monkeypatch.setattr(run_tables, "timed_groups", lambda _: work)
    commands = [
        CommandDone("train", 0, 1, 0.02),
        CommandDone("generate", 136, 0, 754.26),
        CommandDone("score", 9, 8, 9.87),
    ]
    outcome = Outcome(context({}, store=store, storage=str(tmp_path)), commands, 764.04, 12.34)
    return {
        "closing": lambda output: write_closing(output, outcome),
        "state": lambda output: write_state(output, open_run(str(tmp_path))),
        "validity": lambda output: write_validity(
            output, ValidityOutcome(validity_rows(), f"{tmp_path}/validity.csv", None, None)
        ),
        "scorers": write_scorers,
        "verdict": lambda output: write_verdicts(output, [verdict()]),
        "headlines": lambda output: write_headlines(output, [("small", results()), ("again", results())]),
    }


def numbers(command: str) -> list[str]:
    """Return the texts that a command's tables must contain, each in one line."""
    rows = validity_rows()
    return {
        "closing": ["12 min 34 s", "9.9 s", "136"],
        "state": ["1/1", "68/68", "15/68", "0/17"],
        "validity": [
            text
            for row in rows
            for text in (
                bounded(row.auroc, row.ci_low, row.ci_high),
                bounded(row.average_precision, row.average_precision_low, row.average_precision_high),
                bounded(row.calibration_error, row.calibration_error_low, row.calibration_error_high),
                bounded(row.spearman, row.spearman_low, row.spearman_high),
            )
        ],
        "scorers": list(ready_scorers()),
        "verdict": [
            part
            for check in verdict().checks
            for finding in check.findings
            if finding.reason
            for part in finding.numbers
            if part
        ],
        "headlines": [bounded(line.difference, line.ci_low, line.ci_high, "+") for line in headlines(results())],
    }[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_are_whole_at_80_columns(
    writers: dict[str, Writer], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    writers[command](Output(Format.TABLE))
    lines = capsys.readouterr().out.splitlines()
    wide = [line for line in lines if cell_len(line) > 80]
    assert not [line for line in wide if " " in line.strip().partition(" ")[2]], "only a path may be longer"
    assert not [line for line in lines if "…" in line.replace("path, …", "")]
    for number in numbers(command):
        assert any(number in line for line in lines), number


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_is_not_cut_at_80_columns(
    writers: dict[str, Writer], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    writers[command](Output(Format.TABLE))
    text = capsys.readouterr().out
    assert "…" not in text.replace("path, …", "")
    headers = [line for line in text.splitlines() if line.startswith(("language", "table", "stage", "run", "asked"))]
    assert len(headers) == {"validity": 2, "scorers": 0, "verdict": 3}.get(command, 1)  # no table is in blocks


@pytest.mark.parametrize("command", COMMANDS)
def test_json_and_csv_hold_the_same_exact_values(
    writers: dict[str, Writer], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writers[command](Output(Format.JSON))
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    writers[command](Output(Format.CSV))
    cells = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows and len(cells) == len(rows)
    for row, texts in zip(rows, cells, strict=True):
        assert list(texts) == list(row)
        assert {name: parsed(texts[name], value) for name, value in row.items()} == row


def parsed(text: str, like: Any) -> Any:
    """Read a cell of CSV as a value of the type that JSON has there."""
    if like is None:
        return None if text == "" else text
    if isinstance(like, bool):
        return {"true": True, "false": False}[text]
    return (text.split("; ") if text else []) if isinstance(like, list) else type(like)(text)


def test_validity_rows_are_in_full_precision(writers: dict[str, Writer], capsys: pytest.CaptureFixture[str]) -> None:
    writers["validity"](Output(Format.TABLE, as_json=True))
    rows = json.loads(capsys.readouterr().out)
    expected = validity_rows()
    assert [row["spearman_low"] for row in rows] == [row.spearman_low for row in expected]
    assert not any(row["evidence"] for row in rows)  # no interval of AUROC lies above 0.5


def test_work_without_a_rate_is_left_out_of_the_closing_table(
    writers: dict[str, Writer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    writers["closing"](Output(Format.TABLE))
    printed = capsys.readouterr().out
    assert "1,234 texts/s" in printed and "an-adapter" not in printed


def test_state_names_the_languages_that_are_left(
    writers: dict[str, Writer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    writers["state"](Output(Format.TABLE))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"generations {LONG} 68/68 ✓" in lines
    begun = "ar 3/4, cs 3/4, de 3/4, en 3/4, es 3/4"
    untouched = "fr, hi, id, it, ja, ko, nl, pl, pt, ru, sv, zh"
    assert f"generations {LONG}-detox 15/68 {begun}, {untouched}" in lines
    assert f"scores {SCORER}, {LONG} 0/17 all" in lines


def test_messages_leave_standard_output_to_rows(writers: dict[str, Writer], capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(Format.CSV)
    with output.kept_for_rows():
        print("a worker's log")
    output.say("a message")
    writers["verdict"](output)
    printed = capsys.readouterr()
    assert "a worker's log" in printed.err and "a message" in printed.err and "gate: fail" in printed.err
    assert printed.out.startswith("model,parent,asked,")
    assert len(list(csv.reader(io.StringIO(printed.out)))) == 1 + 17 + 1
