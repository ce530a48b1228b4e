"""The help of commands on a terminal of 80 columns, and what a pipe and a terminal take."""

import io
import os
import re

import pytest
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.cli.help_text import reflowed
from detox_ray.cli.output import Format, Listing, Output, write_anything


class Destination(io.BytesIO):
    """Bytes that go to a terminal or to a file."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def help_of(*command: str) -> str:
    return CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output


def test_an_example_stays_on_its_line() -> None:
    lines = [line.strip() for line in help_of().splitlines()]
    assert "detox-ray run my.yaml generate.samples=10  any field can be set like this" in lines
    assert "detox-ray keys alice >> keys.txt" in [line.strip() for line in help_of("keys").splitlines()]


def test_paragraphs_break_where_the_terminal_does() -> None:
    assert reflowed("One.\n\nTwo\nlines.\n\n  an example\n  of two") == "One.\n\nTwo lines.\n\n  an example\n  of two"
    assert re.search(r"finished run takes\s+seconds\. If you change", help_of("run"))


@pytest.mark.parametrize(
    ("command", "usage"),
    [("run", "{CONFIG} [KEY=VALUE]..."), ("compare", "{RUN}..."), ("serve", "[RUN] [KEY=VALUE]...")],
)
def test_usage_has_one_pair_of_brackets(command: str, usage: str) -> None:
    assert f"detox-ray {command} [OPTIONS] {usage} \n" in re.sub(" +", " ", help_of(command))


def test_the_help_of_a_stage_names_each_table_once() -> None:
    text = " ".join(help_of("score").split())
    assert text.count("the language of every completion") == 1


@pytest.mark.parametrize("form", list(Format))
def test_a_reader_that_stops_early_is_no_failure(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    end, start = os.pipe()
    os.close(end)
    with os.fdopen(start, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        output = Output(form)
        output.write(Listing(("a",), [{"a": 1}], ["a paragraph"]))
        output.say("and one more line")


@pytest.mark.parametrize(("terminal", "written"), [(False, "−1 ✓"), (True, "?1 ?")])
def test_a_locale_without_unicode_fails_no_command(terminal: bool, written: str) -> None:
    content = Destination()
    content.terminal = terminal
    stream = io.TextIOWrapper(content, encoding="ascii")
    write_anything(stream)
    stream.write("−1 ✓")
    stream.flush()
    assert content.getvalue().decode() == written
