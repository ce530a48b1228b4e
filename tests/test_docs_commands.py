"""The commands on the pages exist: subcommands, options and overrides of detox-ray, scripts, targets of make."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main
from markdown_it import MarkdownIt
from omegaconf import OmegaConf
from typer.exceptions import TyperException

from detox_ray.cli.app import app
from detox_ray.config import ServeConfig
from detox_ray.config.loading import load

ROOT = Path(__file__).parents[1]
COMMAND_LINE: Any = typer.main.get_command(app)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SHELL = {"", "bash", "console", "sh", "shell"}
_END = {"|", "||", "&&", ";", ">", ">>"}


class NoSuchCommand(Exception):
    """A word in the place of a command that is none."""


class Line(NamedTuple):
    """A command as a page shows it: a line of a block, or code in a sentence, which may be incomplete."""

    page: str
    text: str
    whole: bool


def lines(page: Path) -> Iterator[Line]:
    name = str(page.relative_to(ROOT))
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if block.type in ("fence", "code_block") and block.info in _SHELL:
            for line in re.sub(r"\\\n\s*", "", block.content).split("\n"):
                yield Line(name, line.strip(), True)
        for token in block.children or ():
            if token.type == "code_inline":
                yield Line(name, token.content, False)


def words(text: str) -> list[str]:
    """Return the words of the first command of a line, without comment."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[str] = []
    for word in lexer:
        if word in _END:
            break
        found.append(word)
    return found


LINES = [line for page in PAGES for line in lines(page)]
DETOX_RAY = [line for line in LINES if re.match(r"(\.venv/bin/)?detox-ray( \w|$)", line.text)]
SCRIPTS = [line for line in LINES if re.match(r"(\S*/)?python3? \S+\.py\b", line.text)]


def parse(line: Line) -> dict[str, Any]:
    """Parse a line as the command line does, without carrying it out, and return the command's parameters."""
    command: Any = COMMAND_LINE
    _, *arguments = words(line.text)
    while arguments and hasattr(command, "commands"):
        name, *arguments = arguments
        if name not in command.commands:
            raise NoSuchCommand(name)
        command = command.commands[name]
    if hasattr(command, "commands"):  # a group alone, such as `detox-ray`
        return {}
    params: dict[str, Any] = command.make_context(command.name, arguments).params
    return params


@pytest.mark.parametrize("line", DETOX_RAY, ids=lambda line: f"{line.page}: {line.text[:60]}")
def test_a_command_exists_with_its_options(line: Line) -> None:
    try:
        params = parse(line)
    except TyperException as error:
        incomplete = "Missing" in str(error) or "requires an argument" in str(error)
        assert incomplete and not line.whole, str(error)
        return
    # The fields that are set exist, too.
    overrides = params.get("overrides") or ()
    if isinstance(config := params.get("config"), Path) and (ROOT / config).is_file():
        load(ROOT / config, overrides)
    elif "write_config" in params:
        ServeConfig.model_validate(OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides))))


@pytest.mark.parametrize(
    "text",
    [
        "detox-ray runs x.yaml",
        "detox-ray run x.yaml --fast",
        "detox-ray toy17 make",
        "detox-ray gate runs/a --spec",
        "detox-ray archive a.jsonl  # --out x",
        "detox-ray plan x.yaml --gpus many",
    ],
)
def test_a_wrong_command_is_found(text: str) -> None:
    with pytest.raises((TyperException, NoSuchCommand)):
        parse(Line("page", text, True))


@pytest.mark.parametrize("line", SCRIPTS, ids=lambda line: f"{line.page}: {line.text[:60]}")
def test_a_script_exists_with_its_options(line: Line) -> None:
    _, script, *arguments = words(line.text)
    source = (ROOT / script).read_text(encoding="utf-8")
    assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == []


def test_the_targets_of_make_exist() -> None:
    named = {word for line in LINES if line.text.startswith("make ") for word in words(line.text)[1:]}
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for word in named if "=" not in word} <= {*targets}
