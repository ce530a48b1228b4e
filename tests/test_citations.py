"""Whatever a comment, a docstring or a page cites is in the repository: files, and headings of docs/.

A citation is a word that ends like a file of this repository, or a page of docs/ followed by headings in quotes, as in
this line: docs/papers.md, "Sources". Files that are made by a run, belong to a user or stand in somebody else's
repository are named below; a path that begins with a folder of this repository must exist in any case.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("detox_ray", "tests", "docs", "configs", "benchmarks", "jobs", "cluster")
HASH_COMMENTS = (".yaml", ".toml", ".sh", "Makefile", "Dockerfile")

# Files that a run, a command or another library writes or reads, and files that examples call their own.
ELSEWHERE = {
    *(
        "RTP_LX_*.json",
        "acronyms.txt",
        "answer_detection.py",
        "calibration.json",
        "experiment.yaml",
        "index.html",
        "keys.txt",
        "lexicon.json",
        "manifest.json",
    ),
    *(
        "mine.yaml",
        "my.yaml",
        "whole.yaml",
        "plan.json",
        "results.json",
        "serve.yaml",
        "service.yaml",
        "words.yaml",
        "world.json",
    ),
    *("alive.json", "log-00000.txt", "outcome.json"),
    *("archive.json", "calibrated.yaml", "candidate.yaml", "map.json", "texts.json"),
    *("config.json", "generation_config.json", "peft_helper.py"),  # of Hugging Face's folders, of vLLM
    *("compute_metrics.py", "dpo.py", "qlora.py", "toxicity_eval.py"),  # the papers' scripts
}

_NAME = r"[A-Za-z0-9_*][\w.*-]*"
_PATH = re.compile(
    rf"(?<![\w/.:*{{}}<>$~-])((?:\.\./)*(?:{_NAME}/)*{_NAME}\.(?:md|py|yaml|json|txt|sh|html|css))(?![\w*{{<-])"
)
_HEADINGS = re.compile(r'([\w./-]+\.md), ("[^"]+"(?:(?:,| and|, and) "[^"]+")*)')
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


class Passage(NamedTuple):
    """Text in which something may be cited: a block of comments, a docstring or a page."""

    file: Path
    line: int
    text: str


def files(root: Path) -> list[Path]:
    """Return what may cite: the files of the repository's own folders, and those beside them."""
    found = [path for path in root.iterdir() if path.is_file()]
    found += [path for name in FOLDERS for path in (root / name).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix in (".py", ".md") or path.name.endswith(HASH_COMMENTS))


def passages(file: Path) -> Iterator[Passage]:
    """Yield a file's passages, each with its white space as single spaces and without addresses on the web."""
    text = file.read_text(encoding="utf-8")
    if not _PATH.search(text):  # a second for all files instead of five
        return
    if file.suffix == ".md":
        blocks: Iterator[tuple[int, str]] = iter([(1, text)])
    elif file.suffix == ".py":
        blocks = _python_blocks(text)
    else:
        matches = [re.search(r"(?:^|\s)#(.*)", line) for line in text.split("\n")]
        blocks = _joined([(n, m.start(), m[1]) for n, m in enumerate(matches, start=1) if m])
    for line, block in blocks:
        yield Passage(file, line, " ".join(re.sub(r"https?://\S+", " ", block).split()))


def _python_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the docstrings and of the blocks of comments."""
    nodes: list[ast.AST] = [ast.parse(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if docstring := ast.get_docstring(node, clean=False):
                yield node.body[0].lineno, docstring
            nodes += [statement for statement in node.body if isinstance(statement, ast.stmt)]
        elif isinstance(node, ast.If | ast.With | ast.Try):
            nodes += node.body
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    yield from _joined([(*token.start, token.string.lstrip("#")) for token in tokens if token.type == tokenize.COMMENT])


def _joined(comments: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of comments on successive lines in the same column as one."""
    block: list[tuple[int, int, str]] = []
    for comment in comments:
        if block and (comment[0], comment[1]) != (block[-1][0] + 1, block[-1][1]):
            yield block[0][0], " ".join(text for *_, text in block)
            block = []
        block.append(comment)
    if block:
        yield block[0][0], " ".join(text for *_, text in block)


def missing_files(passage: Passage, root: Path) -> list[str]:
    """Return the cited files that exist neither beside the citing file, nor above it, nor in the package."""
    above = [folder for folder in passage.file.parents if folder.is_relative_to(root)]
    return [
        f"{passage.file.relative_to(root)}:{passage.line}: {path}"
        for path in _PATH.findall(passage.text)
        if not any(_exists(folder, path) for folder in (*above, root / "detox_ray"))
        and (path.rpartition("/")[2] not in ELSEWHERE or path.startswith(tuple(f"{name}/" for name in FOLDERS)))
    ]


def _exists(folder: Path, path: str) -> bool:
    if "*" in path:
        return not path.startswith("../") and any(folder.glob(path))
    return (folder / path).is_file()


def missing_headings(passage: Passage, root: Path) -> list[str]:
    """Return the cited headings that are not in the cited page."""
    return [
        f"{passage.file.relative_to(root)}:{passage.line}: {page}, {heading!r}"
        for page, quoted in _HEADINGS.findall(passage.text)
        for heading in re.findall(r'"([^"]+)"', quoted)
        if (root / page).is_file() and heading not in headings(root / page)
    ]


@cache
def headings(page: Path) -> list[str]:
    """Return the headings of a Markdown page as they read, in order."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [found.replace("`", "") for found in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)]


@pytest.fixture(scope="module")
def everything() -> list[Passage]:
    return [passage for file in files(ROOT) for passage in passages(file)]


def test_every_cited_file_exists(everything: list[Passage]) -> None:
    assert [flaw for passage in everything for flaw in missing_files(passage, ROOT)] == []


def test_every_cited_heading_exists(everything: list[Passage]) -> None:
    assert [flaw for passage in everything for flaw in missing_headings(passage, ROOT)] == []


def test_the_facts_of_the_papers_are_cited_by_heading(everything: list[Passage]) -> None:
    cited = {
        heading
        for passage in everything
        for page, quoted in _HEADINGS.findall(passage.text)
        for heading in re.findall(r'"([^"]+)"', quoted)
        if page == "docs/papers.md" and passage.file.suffix == ".py"
    }
    assert len(cited) > 10  # the search finds what stands there, over the ends of lines too


PACKAGE = '''
"""Rates as in docs/papers.md, "Rates"
and "Sums of losses"; the reader is reader.py, its guide
docs/guide.md."""

FORM = "not_cited.json"  # a string is no citation

# The format of a file results.json, which a run writes, is in
# docs/papers.md, "No such
# heading".
#: Kept in detox_ray/results.json and gone.py
'''


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a module, a config and two pages."""
    texts = {
        "detox_ray/rates.py": PACKAGE,
        "detox_ray/data/reader.py": "",
        "docs/papers.md": "# Facts\n\n## Rates\n\n```\n# No such heading\n```\n\n## `Sums` of losses\n\n## Rates\n",
        "configs/one.yaml": "name: one  # as in two.yaml\n# see rates.py, ../docs/papers.md, *.yaml, https://x.org/a.html\n",
        "README.md": "[a](docs/papers.md#rates) [c](lost.md) [d](https://x.org/y.md) `[e](e.md)`\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_what_is_not_there_is_found_with_its_file_and_line(repository: Path) -> None:
    found = [passage for file in files(repository) for passage in passages(file)]
    assert sorted(flaw for passage in found for flaw in missing_files(passage, repository)) == [
        "README.md:1: e.md",
        "README.md:1: lost.md",
        "configs/one.yaml:1: two.yaml",
        "detox_ray/rates.py:2: docs/guide.md",
        "detox_ray/rates.py:2: reader.py",
        "detox_ray/rates.py:8: detox_ray/results.json",
        "detox_ray/rates.py:8: gone.py",
    ]
    assert [flaw for passage in found for flaw in missing_headings(passage, repository)] == [
        "detox_ray/rates.py:8: docs/papers.md, 'No such heading'"
    ]
