"""Small figures as SVG for the report's page, in the page's own colours: dots with intervals, and lines.

The page's Content-Security-Policy forbids styles in attributes, so colours are plain attributes that name the page's
variables. Every mark says its numbers in a title.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

BEFORE, AFTER, MUTED, LINE = "var(--before)", "var(--after)", "var(--muted)", "var(--line)"
WIDTH = 640
ROW, LEFT, RIGHT, TOP, BOTTOM = 18, 170, 24, 8, 38  # in SVG's units
PLOT = 240  # height of a line figure


class Dot(NamedTuple):
    """A value with its interval; ``hollow`` ones are before tuning, or a control."""

    value: float
    low: float | None
    high: float | None
    colour: str = AFTER
    hollow: bool = False


class DotRow(NamedTuple):
    """A row of a dot figure."""

    name: str
    dots: list[Dot]
    note: str = ""  # beside the row, if there is no dot


class Curve(NamedTuple):
    """A line through points, each (x, y); with a band if it has lows and highs."""

    name: str
    points: list[tuple[float, float]]
    colour: str = AFTER
    dashed: bool = False
    band: tuple[tuple[float, float, float], ...] = ()  # (x, low, high)


def _ticks(low: float, high: float) -> list[float]:
    """Return four to ten round numbers between two bounds."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.1, 0.2, 0.25, 0.5, 1.0) if span / (power * factor) <= 8)
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


def dot_figure(rows: Sequence[DotRow], axis: str, title: str, marks: Sequence[float] = ()) -> str:
    """Return a figure with a row for each name.

    Args:
        rows: from top to bottom.
        axis: what the values are.
        title: for screen readers.
        marks: values at which a grey line stands.
    """
    ends = [end for row in rows for dot in row.dots for end in (dot.value, dot.low, dot.high) if end is not None]
    low, high = min([*ends, *marks], default=0.0), max([*ends, *marks], default=1.0)
    high = high if high > low else low + 1
    scale = (WIDTH - LEFT - RIGHT) / (high - low)
    bottom = TOP + ROW * len(rows)

    def x(value: float) -> float:
        return LEFT + (value - low) * scale

    parts = [_line(x(mark), TOP, x(mark), bottom, MUTED, 1, "3 3") for mark in marks]
    for tick in _ticks(low, high):
        parts += [
            _line(x(tick), bottom, x(tick), bottom + 4, LINE),
            _text(x(tick), bottom + 16, _number(tick), "middle"),
        ]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, bottom + 32, axis, "middle", MUTED))
    for place, row in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        parts.append(_text(LEFT - 8, y + 4, row.name, "end"))
        if row.note:
            parts.append(_text(LEFT + 4, y + 4, row.note, colour=MUTED))
        for number, dot in enumerate(row.dots):
            at = y + (number - (len(row.dots) - 1) / 2) * 5
            tooltip = f"{row.name}: {_number(dot.value)}"
            interval = ""
            if dot.low is not None and dot.high is not None:
                interval = _line(x(dot.low), at, x(dot.high), at, dot.colour, 1.4)
                tooltip += f" [{_number(dot.low)}, {_number(dot.high)}]"
            fill = "var(--ground)" if dot.hollow else dot.colour
            circle = f'<circle cx="{x(dot.value):.1f}" cy="{at:.1f}" r="2.6" fill="{fill}" stroke="{dot.colour}"/>'
            parts.append(f"<g><title>{escape(tooltip)}</title>{interval}{circle}</g>")
    return _svg(bottom + BOTTOM, parts, title)


def line_figure(curves: Sequence[Curve], x_axis: str, y_axis: str, title: str) -> str:
    """Return a figure of curves, with their names below it."""
    points = [point for curve in curves for point in curve.points]
    points += [(x, y) for curve in curves for x, low, high in curve.band for y in (low, high)]
    if not points:
        return ""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    x_high, y_high = (x_high if x_high > x_low else x_low + 1), (y_high if y_high > y_low else y_low + 1)
    left, bottom = 56, TOP + PLOT

    def x(value: float) -> float:
        return left + (value - x_low) * (WIDTH - left - RIGHT) / (x_high - x_low)

    def y(value: float) -> float:
        return bottom - (value - y_low) * PLOT / (y_high - y_low)

    parts = [_line(left, bottom, WIDTH - RIGHT, bottom, LINE), _line(left, TOP, left, bottom, LINE)]
    parts += [_text(x(tick), bottom + 16, _number(tick), "middle") for tick in _ticks(x_low, x_high)]
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
