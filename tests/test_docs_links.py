"""Links of the Markdown pages lead to files and headings, and the navigation of the site to every page.

`make lint` runs this. It reads no address on the web.
"""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_HTML = re.compile(r"(?:src|href)=\"([^\"]+)\"")
_ADDRESS = re.compile(r"[a-z]+:")


def pages(root: Path) -> list[Path]:
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def targets(page: Path) -> Iterator[str]:
    """Yield what a page's links and images point to."""
    for block in tokens(page):
        for token in [block, *(block.children or ())]:
            if token.type == "link_open":
                yield str(token.attrs["href"])
            elif token.type == "image":
                yield str(token.attrs["src"])
            elif token.type in ("html_block", "html_inline"):
                yield from _HTML.findall(token.content)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings. The site makes the same."""
    made: dict[str, int] = {}
    following = zip(tokens(page), tokens(page)[1:], strict=False)
    for heading in (text for opening, text in following if opening.type == "heading_open"):
        words = "".join(child.content for child in heading.children or ())
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        made[name] = made.get(name, -1) + 1
    return {f"{name}-{n}" if n else name for name, count in made.items() for n in range(count + 1)}


def broken_links(page: Path, root: Path) -> list[str]:
    """Return the links of a page that lead to no file or no heading."""
    broken = []
    for target in targets(page):
        if _ADDRESS.match(target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{page.relative_to(root)}: {target}")
    return broken


def test_every_relative_link_leads_to_a_file_or_a_heading() -> None:
    assert [flaw for page in pages(ROOT) for flaw in broken_links(page, ROOT)] == []


def test_a_page_links_to_no_page_outside_the_site() -> None:
    """Elsewhere a link to another file of the repository is one to a source, which a clone has beside its site."""
    outside = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages(ROOT)
        if page.is_relative_to(ROOT / "docs")
        for target in targets(page)
        if not _ADDRESS.match(target) and ".md" in target
        if not (page.parent / target.partition("#")[0]).resolve().is_relative_to(ROOT / "docs")
    ]
    assert outside == []


def navigated(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from navigated(value)


def test_the_site_leads_to_every_page_once() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    docs = [str(page.relative_to(ROOT / "docs")) for page in pages(ROOT) if page.is_relative_to(ROOT / "docs")]
    assert sorted(navigated(nav)) == docs


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n\n## `Sums` of losses\n\n## Here\n\n```\n# No heading\n[x](x.md)\n```\n\n"
        "[a](#sums-of-losses) [b](#here-1) [c](lost.md) [d](https://x.org/y.md) `[e](e.md)` [f](#no-heading)\n"
        "![g](g.png)\n\n"
        '<img src="picture.png"> [h][1] [i](page.md#here)\n\n| [j](j.md) |\n|---|\n| [k](.) |\n\n[1]: other.md\n',
        encoding="utf-8",
    )
    assert broken_links(page, tmp_path) == [
        "page.md: lost.md",
        "page.md: #no-heading",
        "page.md: g.png",
        "page.md: picture.png",
        "page.md: other.md",
        "page.md: j.md",
    ]
