"""The page of `detox-ray agreement`: what changes when one scorer replaces another.

It is one HTML file that contains its styles, figures and script, with the layout of the reports. Texts are escaped, and
each is blurred until the reader activates it.
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from detox_ray.config.languages import LANGUAGES
from detox_ray.measure.successor import ReliabilityBin, Statistic
from detox_ray.report.labels import language_name, visible
from detox_ray.report.template import html
from detox_ray.storage.tables import OK

SIDE = 200.0  # side of a figure, in the units of its viewBox
TEXT_LIMIT = 500  # characters of a text


class Disagreement(NamedTuple):
    """A text that the two scorers judge differently."""

    text: str
    value: float  # by A
    other: float  # by B


class LanguageFigures(NamedTuple):
    """The data of one language's figures."""

    language: str
    density: list[list[int]]  # texts by B's value (rows, rising) and A's (columns, rising)
    reliability: list[ReliabilityBin]
    differing: list[Disagreement]


class AgreementContent(NamedTuple):
    """Everything that the page shows."""

    first: str
    second: str
    attribute: str
    threshold: float
    thresholds: Sequence[float]
    confidence: float
    rows: Sequence[Statistic]
    figures: Sequence[LanguageFigures]
    left_out: dict[str, int]  # language -> texts beyond the sample
    without_value: tuple[int, int]  # texts of each source without a value


class Cell(NamedTuple):
    """A number in a table, as text."""

    value: str
    interval: str


class Square(NamedTuple):
    """A cell of the scatter figure that holds texts."""

    x: float
    y: float
    side: float
    opacity: float
    texts: int


class Dot(NamedTuple):
    """A point of the reliability figure."""

    x: float
    y: float
    radius: float
    spoken: str


class LanguageSection(NamedTuple):
    """The part of the page about one language."""

    code: str
    name: str
    direction: str
    n: int
    summary: list[Cell]  # under SUMMARY
    kappas: list[Cell]  # at each threshold
    moved: list[Cell]  # for each threshold of A, the threshold of B that calls as many texts toxic
    squares: list[Square]
    dots: list[Dot]
    line: str  # the dots' polyline
    differing: list[Disagreement]


SUMMARY = (
    ("spearman", "Rank correlation"),
    ("mean_difference", "Mean difference, B − A"),
    ("kappa", "Kappa"),
    ("share", "Toxic by A"),
    ("other_share", "Toxic by B at the same threshold"),
    ("same_share_threshold", "B's threshold for A's share"),
    ("precision", "A's precision"),
    ("same_precision_threshold", "B's threshold for A's precision"),
)
NOT_ABOUT_A_THRESHOLD = ("spearman", "mean_difference")


def agreement_page(content: AgreementContent) -> bytes:
    """Return the page."""
    sections = [_section(content, figures) for figures in content.figures]
    columns = [title for name, title in SUMMARY if _is_known(content, name)]
    return html("agreement.html", "agreement.js", c=content, sections=sections, columns=columns, side=SIDE)


def _is_known(content: AgreementContent, statistic: str) -> bool:
    """Return whether any language has the statistic: precision needs labels."""
    return any(row.statistic == statistic and row.status == OK for row in content.rows)


def _section(content: AgreementContent, figures: LanguageFigures) -> LanguageSection:
    of = {(row.statistic, row.threshold): row for row in content.rows if row.language == figures.language}
    summary = [
        _cell(of[name, None if name in NOT_ABOUT_A_THRESHOLD else content.threshold], signed=name == "mean_difference")
        for name, _ in SUMMARY
        if _is_known(content, name)
    ]
    dots = [
        Dot(
            SIDE * point.other,
            SIDE * (1 - point.value),
            2 + min(6.0, log(1 + point.n)),
            f"B {point.other:.2f}: A {point.value:.2f}, {point.n:,} texts",
        )
        for point in figures.reliability
    ]
    known = LANGUAGES.get(figures.language)
    return LanguageSection(
        figures.language,
        language_name(figures.language) if known else figures.language,
        known.direction if known else "auto",
        of["spearman", None].n,
        summary,
        [_cell(of["kappa", threshold]) for threshold in content.thresholds],
        [_cell(of["same_share_threshold", threshold]) for threshold in content.thresholds],
        _squares(figures.density),
        dots,
        " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in dots),
        [row._replace(text=_short(row.text)) for row in figures.differing],
    )


def _squares(density: Sequence[Sequence[int]]) -> list[Square]:
    """Return the cells that hold texts: x is A's value, y is B's. Opacity grows with the logarithm of their number."""
    cells = len(density)
    most = max(max(row) for row in density)
    size = SIDE / cells
    return [
        Square(size * column, SIDE - size * (row + 1), size, round(0.15 + 0.85 * log(1 + n) / log(1 + most), 3), n)
        for row, line in enumerate(density)
        for column, n in enumerate(line)
        if n
    ]


def _cell(row: Statistic, signed: bool = False) -> Cell:
    form = "+.3f" if signed else ".3f"
    if row.value is None:
        return Cell("–", "")
    bounded = row.ci_low is not None and row.ci_high is not None
    return Cell(format(row.value, form), f"[{row.ci_low:{form}}, {row.ci_high:{form}}]" if bounded else "")


def _short(text: str) -> str:
    shown = text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]}… [{len(text):,} characters in all]"
    return visible(shown)
