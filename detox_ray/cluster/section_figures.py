"""Small SVG figures for the report's sections: dots with intervals, lines, heat maps.

The figures use the page's colours. Its Content-Security-Policy forbids style attributes, so colours are plain
attributes with the page's variables. Every mark has a title with its numbers.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import NamedTuple

BEFORE, AFTER, MUTED, LINE = "var(--before)", "var(--after)", "var(--muted)", "var(--line)"
WIDTH = 640
ROW, LEFT, RIGHT, TOP, BOTTOM = 18, 170, 24, 8, 38  # in SVG's units
PLOT = 240  # height of a line figure
DOT_GAP = 5  # distance between the dots of a row


class Dot(NamedTuple):
    """A value with its interval. ``hollow`` marks values before tuning, and controls."""

    value: float
    low: float | None
    high: float | None
    colour: str = AFTER
    hollow: bool = False


class DotRow(NamedTuple):
    """A row of a dot figure."""

    name: str
    dots: list[Dot]
    note: str = ""  # text next to the row if there is no dot


class HeatCell(NamedTuple):
    """A cell of a heat map: blue for an improvement, orange for a deterioration."""

    text: str  # text in the cell
    spoken: str  # full description in words
    strength: float  # from -1 (worst) to 1 (best)
    hatched: bool = False  # too few cases
    strong: bool = False  # significant


class Curve(NamedTuple):
    """A line through points (x, y), with an optional band."""

    name: str
    points: list[tuple[float, float]]
    colour: str = AFTER
    dashed: bool = False
    band: tuple[tuple[float, float, float], ...] = ()  # (x, low, high)


def _ticks(low: float, high: float) -> list[float]:
    """Return four to ten round numbers between two bounds."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if span / (power * factor) <= 8)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "var(--text)") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="11">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg class="figure" role="img" viewBox="0 0 {WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _placed(low: float, left: float, scale: float, value: float) -> float:
    """Return the position of a value on an axis that begins at ``left`` with the value ``low``."""
    return left + (value - low) * scale


def _mark(name: str, dot: Dot, x: Callable[[float], float], y: float) -> str:
    """Return a dot with its interval and a title with its numbers."""
    tooltip, interval = f"{name}: {_number(dot.value)}", ""
    if dot.low is not None and dot.high is not None:
        interval = _line(x(dot.low), y, x(dot.high), y, dot.colour, 1.4)
        tooltip += f" [{_number(dot.low)}, {_number(dot.high)}]"
    fill = "var(--ground)" if dot.hollow else dot.colour
    circle = f'<circle cx="{x(dot.value):.1f}" cy="{y:.1f}" r="2.6" fill="{fill}" stroke="{dot.colour}"/>'
    return f"<g><title>{escape(tooltip)}</title>{interval}{circle}</g>"


def dot_figure(
    rows: Sequence[DotRow],
    axis: str,
    title: str,
    marks: Sequence[float] = (),
    band: tuple[float, float] | None = None,
) -> str:
    """Draw dots with intervals, one row per name.

    Args:
        rows: the rows from top to bottom.
        axis: label of the axis.
        title: title for screen readers.
        marks: values marked by a grey line.
        band: lower and upper value of a grey background.
    """
    ends = [end for row in rows for dot in row.dots for end in (dot.value, dot.low, dot.high) if end is not None]
    ends += [*marks, *(band or ())]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    high = high if high > low else low + 1
    x = partial(_placed, low, LEFT, (WIDTH - LEFT - RIGHT) / (high - low))
    height = max([ROW, *(DOT_GAP * len(row.dots) + 6 for row in rows)])  # keeps adjacent rows apart
    bottom = TOP + height * len(rows)
    parts = []
    if band is not None:
        ground = f'x="{x(band[0]):.1f}" y="{TOP}" width="{x(band[1]) - x(band[0]):.1f}" height="{bottom - TOP}"'
        parts.append(f'<rect {ground} fill="{LINE}" fill-opacity="0.6"/>')
    parts += [_line(x(mark), TOP, x(mark), bottom, MUTED, 1, "3 3") for mark in marks]
    for tick in _ticks(low, high):
        parts.append(_line(x(tick), bottom, x(tick), bottom + 4, LINE))
        parts.append(_text(x(tick), bottom + 16, _number(tick), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, axis, "middle", MUTED))
    for place, row in enumerate(rows):
        y = TOP + height * (place + 0.5)
        parts.append(_text(LEFT - 8, y + 4, row.name, "end"))
        if row.note:
            parts.append(_text(LEFT + 4, y + 4, row.note, colour=MUTED))
        for number, dot in enumerate(row.dots):
            at = y + (number - (len(row.dots) - 1) / 2) * DOT_GAP
            parts.append(_mark(row.name, dot, x, at))
    return _svg(bottom + BOTTOM, parts, title)


class Panel(NamedTuple):
    """One of several small figures that stand side by side."""

    title: str
    dots: Sequence[Dot | None]  # one for each row; None for no value
    mark: float = 0.0  # value marked by a grey line


def multiples_figure(names: Sequence[str], panels: Sequence[Panel], title: str) -> str:
    """Draw panels side by side over the same rows, each with its own scale.

    Args:
        names: names of the rows from top to bottom.
        panels: the panels from left to right.
        title: title for screen readers.
    """
    names_width, gap = 96, 28
    width = (WIDTH - names_width) / max(1, len(panels)) - gap
    top = TOP + 16
    bottom = top + ROW * len(names)
    parts = [_text(names_width - 8, top + ROW * (row + 0.5) + 4, name, "end") for row, name in enumerate(names)]
    for number, panel in enumerate(panels):
        left = names_width + number * (width + gap)
        ends = [end for dot in panel.dots if dot for end in (dot.value, dot.low, dot.high) if end is not None]
        low, high = min([*ends, panel.mark]), max([*ends, panel.mark])
        high = high if high > low else low + 1
        x = partial(_placed, low, left, width / (high - low))
        parts.append(_text(left + width / 2, top - 6, panel.title, "middle"))
        parts.append(_line(x(panel.mark), top, x(panel.mark), bottom, MUTED, 1, "3 3"))
        for end, anchor in ((low, "start"), (high, "end")):
            parts.append(_text(x(end), bottom + 14, _number(end), anchor, MUTED))
        parts += [
            _mark(f"{names[row]}, {panel.title}", dot, x, top + ROW * (row + 0.5))
            for row, dot in enumerate(panel.dots)
            if dot is not None
        ]
    return _svg(bottom + 20, parts, title)


def heat_figure(rows: Sequence[tuple[str, Sequence[HeatCell | None]]], columns: Sequence[str], title: str) -> str:
    """Draw a heat map.

    Args:
        rows: name and cells of each row, one cell per column; None for a cell without a measurement.
        columns: names of the columns.
        title: title for screen readers, unique on the page.
    """
    width = min(72.0, (WIDTH - LEFT) / max(1, len(columns)))
    hatch = "hatch-" + "".join(c if c.isalnum() else "-" for c in title)
    lines = f'<path d="M0,6 L6,0" stroke="{MUTED}" stroke-width="1"/>'
    parts = [f'<defs><pattern id="{hatch}" width="6" height="6" patternUnits="userSpaceOnUse">{lines}</pattern></defs>']
    head = TOP + 14
    parts += [_text(LEFT + width * (n + 0.5), head - 4, name, "middle") for n, name in enumerate(columns)]
    for row, (name, cells) in enumerate(rows):
        y = head + (ROW + 2) * row
        parts.append(_text(LEFT - 8, y + 13, name, "end"))
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            at = f'x="{LEFT + width * column:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{ROW}"'
            colour, opacity = (AFTER if cell.strength > 0 else BEFORE), 0.08 + 0.5 * min(1.0, abs(cell.strength))
            shapes = f'<rect {at} fill="{colour}" fill-opacity="{opacity:.2f}"/>'
            if cell.hatched:
                shapes += f'<rect {at} fill="url(#{hatch})"/>'
            text = _text(LEFT + width * (column + 0.5) - 1, y + 13, cell.text + ("*" if cell.strong else ""), "middle")
            parts.append(f"<g><title>{escape(f'{name}, {columns[column]}: {cell.spoken}')}</title>{shapes}{text}</g>")
    return _svg(head + (ROW + 2) * len(rows) + 6, parts, title)


class SquarePoint(NamedTuple):
    """A point of a square figure."""

    name: str
    x: float
    y: float
    colour: str = AFTER
    hollow: bool = False


def square_figure(
    points: Sequence[SquarePoint], links: Sequence[tuple[int, int]], axes: tuple[str, str], title: str
) -> str:
    """Draw points with a share (x, 0 to 1) and a score (y, -1 to 1).

    Args:
        points: the points.
        links: pairs of indices of points that are joined by a line.
        axes: labels of the axes.
        title: title for screen readers.
    """
    left, bottom = 56, TOP + PLOT
    right = left + PLOT * 1.5

    def x(value: float) -> float:
        return left + value * (right - left)

    def y(value: float) -> float:
        return bottom - (value + 1) / 2 * PLOT

    parts = [_line(left, y(0), right, y(0), MUTED, 1, "3 3"), _line(left, TOP, left, bottom, LINE)]
    parts.append(_line(left, bottom, right, bottom, LINE))
    parts += [_text(x(tick), bottom + 16, _number(tick), "middle") for tick in (0, 0.25, 0.5, 0.75, 1)]
    parts += [_text(left - 6, y(tick) + 4, _number(tick), "end") for tick in (-1, -0.5, 0, 0.5, 1)]
    parts += [
        _text((left + right) / 2, bottom + 32, axes[0], "middle", MUTED),
        _text(left + 6, TOP + 10, axes[1], colour=MUTED),
    ]
    parts += [_line(x(points[a].x), y(points[a].y), x(points[b].x), y(points[b].y), MUTED, 0.8) for a, b in links]
    for point in points:
        fill = "var(--ground)" if point.hollow else point.colour
        circle = f'<circle cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="3.2" fill="{fill}" stroke="{point.colour}"/>'
        tooltip = escape(f"{point.name}: {axes[0]} {_number(point.x)}, {axes[1]} {_number(point.y)}")
        parts.append(f"<g><title>{tooltip}</title>{circle}</g>")
    return _svg(bottom + BOTTOM, parts, title)


def line_figure(curves: Sequence[Curve], x_axis: str, y_axis: str, title: str, whole: bool = False) -> str:
    """Draw curves, with their names below the figure.

    Args:
        curves: the curves; the result is "" if they have no points.
        x_axis: label of the horizontal axis.
        y_axis: label of the vertical axis.
        title: title for screen readers.
        whole: whether x is a count, such as layers, so that the axis shows only whole numbers.
    """
    points = [point for curve in curves for point in curve.points]
    points += [(x, y) for curve in curves for x, low, high in curve.band for y in (low, high)]
    if not points:
        return ""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    x_high, y_high = (x_high if x_high > x_low else x_low + 1), (y_high if y_high > y_low else y_low + 1)
    y_high += 0.1 * (y_high - y_low)  # space for the axis label above the curves
    left, bottom = 56, TOP + PLOT

    def x(value: float) -> float:
        return left + (value - x_low) * (WIDTH - left - RIGHT) / (x_high - x_low)

    def y(value: float) -> float:
        return bottom - (value - y_low) * PLOT / (y_high - y_low)

    parts = [_line(left, bottom, WIDTH - RIGHT, bottom, LINE), _line(left, TOP, left, bottom, LINE)]
    x_ticks = [tick for tick in _ticks(x_low, x_high) if not whole or tick == int(tick)]
    parts += [_text(x(tick), bottom + 16, _number(tick), "middle") for tick in x_ticks]
    parts += [_text(left - 6, y(tick) + 4, _number(tick), "end") for tick in _ticks(y_low, y_high)]
    parts += [
        _text((left + WIDTH) / 2, bottom + 32, x_axis, "middle", MUTED),
        _text(left + 6, TOP + 10, y_axis, colour=MUTED),
    ]
    for curve in curves:
        if curve.band:
            edge = [(at, high) for at, _, high in curve.band] + [(at, low) for at, low, _ in reversed(curve.band)]
            shape = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in edge)
            parts.append(f'<polygon points="{shape}" fill="{curve.colour}" fill-opacity="0.15"/>')
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in curve.points)
        dashed = ' stroke-dasharray="4 3"' if curve.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="1.6"{dashed}/>')
        for at, value in curve.points:
            tooltip = escape(f"{curve.name}, {_number(at)}: {_number(value)}")
            circle = f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="2.6" fill="{curve.colour}"/>'
            parts.append(f"<g><title>{tooltip}</title>{circle}</g>")
    names = [f"{'dashed' if c.dashed else 'solid'}: {c.name}" for c in curves if c.name]
    parts += [_text(left, bottom + 48 + 14 * place, name, colour=MUTED) for place, name in enumerate(names)]
    return _svg(bottom + 40 + 14 * max(1, len(names)), parts, title)
