"""Figures, drawn by Matplotlib on white: SVG for the page and for slides, PDF for papers.

The SVG keeps text as text and has the numbers as titles, for tooltips and screen readers. The PDF embeds its font. The
files contain no date and no random id, so the same results give the same bytes.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from detox_ray.report.embedded_figure import described
from detox_ray.report.forest import LEFT_OUT, SIGNIFICANT, ForestRow, marked_change, marked_name, row_text
from detox_ray.report.heat import Heat
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import shortened, visible
from detox_ray.report.published import LI
from detox_ray.report.tradeoff import Cloud, Point, point_text
from detox_ray.report.training import Chart, chart_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER, MUTED, LINE, TEXT = "#c2500a", "#0068a6", "#5a6472", "#d9dde3", "#1b1f24"  # as in colours.css
Drawing = Callable[[], dict[str, bytes]]  # draws one figure's files
PANEL, LABEL = (230, 170), (90, 9)  # approximate width and height of a panel's axes and of a label, in points
DASHES = ("solid", "dashed", "dotted", "dashdot")  # styles of curves
LEARNING = {  # kind of line in a training's chart -> colour, style
    "training": (MUTED, "solid"),
    "validation": (AFTER, "solid"),
    "chosen": (AFTER, "solid"),
    "rejected": (BEFORE, "dashed"),
}
SHADES = {
    "good3": "#8cc0e8",
    "good2": "#b9d9f2",
    "good1": "#e0eefa",
    "even": "#f2f3f5",
    "": "#ffffff",
    "bad1": "#fdebd6",
    "bad2": "#f9cfa0",
    "bad3": "#f0ab66",
    "v0": "#f2f6fa",
    "v1": "#dbe8f4",
    "v2": "#bfd7ec",
    "v3": "#9cc2e2",
    "v4": "#78abd6",
}
STYLE: Any = {
    "svg.hashsalt": "detox_ray",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": "black",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.dpi": 100,
}


def draw(figures: Sequence[Drawing], processes: int) -> dict[str, bytes]:
    """Draw figures in several processes. Drawings must be picklable; each takes about two seconds of a core."""
    if processes < 2 or len(figures) < 2:
        drawn = [figure() for figure in figures]
    else:
        # Do not fork, because this process may have threads, such as Ray's.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            drawn = [future.result() for future in [pool.submit(figure) for figure in figures]]
    return {path: data for files in drawn for path, data in files.items()}


def forest_files(
    name: str, rows: Sequence[ForestRow], title: str, axis: str, before: str, after: str
) -> dict[str, bytes]:
    """Draw the forest plot as SVG and PDF: two values per row, the macro mean first."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 0.9 + 0.22 * len(rows)), layout="constrained")
        axes = figure.add_subplot(title=visible(title), xlabel=visible(axis))
        first = next(at for at, row in enumerate(rows) if row.before is not None and row.after is not None)
        for at, row in enumerate(rows):
            if row.before is None or row.after is None:
                axes.text(0, at, f" {visible(row.reason)}", va="center", color=MUTED, style="italic")
                continue
            axes.plot([row.before.value, row.after.value], [at - 0.14, at + 0.14], color=LINE, zorder=1)
            _bar(axes, row.before, at - 0.14, BEFORE, hollow=True, label=before if at == first else "")
            _bar(axes, row.after, at + 0.14, AFTER, hollow=False, label=after if at == first else "")
        axes.axhline(0.5, color=LINE, linewidth=0.8)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        tooltips = _forest_rows(axes, rows, f"{SIGNIFICANT} significant after correction")
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        return figure_pair(name, figure, title, tooltips)


def difference_files(name: str, rows: Sequence[ForestRow], title: str, axis: str) -> dict[str, bytes]:
    """Draw a forest plot of differences around zero as SVG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 0.9 + 0.22 * len(rows)), layout="constrained")
        axes = figure.add_subplot(title=visible(title), xlabel=visible(axis))
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for at, row in enumerate(rows):
            if row.after is None:
                axes.text(0, at, f" {visible(row.reason)}", va="center", color=MUTED, style="italic")
            else:
                _bar(axes, row.after, at, AFTER, hollow=False, label="")
        tooltips = _forest_rows(axes, rows, f"{SIGNIFICANT} significant; not corrected over models")
        return figure_pair(name, figure, title, tooltips)


def _forest_rows(axes: "Axes", rows: Sequence[ForestRow], note: str) -> dict[str, str]:
    """Write names and changes beside the rows and notes below them. Return a tooltip for each row."""
    for at, row in enumerate(rows):
        if row.after is not None:
            axes.text(1.01, at, visible(marked_change(row)), va="center", transform=axes.get_yaxis_transform())
        axes.axhspan(at - 0.5, at + 0.5, facecolor="white", alpha=0, zorder=9, gid=f"row-{at}")
    axes.set_yticks(range(len(rows)), [visible(marked_name(row)) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    notes = [note]
    notes += [] if all(row.in_macro for row in rows) else [f"{LEFT_OUT} left out of the mean"]
    figure = axes.get_figure(root=True)
    assert figure is not None
    _footnote(figure, "; ".join(notes))
    return {f"row-{at}": row_text(row) for at, row in enumerate(rows)}


def heat_files(name: str, heat: Heat, title: str) -> dict[str, bytes]:
    """Draw a heat map as SVG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    with rc_context(STYLE):
        size = (1.2 + 0.78 * len(heat.columns), 1.3 + 0.22 * len(heat.rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot(title=visible(title))
        for y, row in enumerate(heat.rows):
            for x, cell in enumerate(row.cells):
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=SHADES[cell.shade], edgecolor="white"))
                axes.text(x + 0.5, y + 0.5, visible(cell.text), ha="center", va="center", fontsize=7)
        axes.set_xlim(0, len(heat.columns))
        axes.set_ylim(len(heat.rows), 0)
        axes.set_yticks([y + 0.5 for y in range(len(heat.rows))], [visible(row.name) for row in heat.rows])
        labels = [visible(column.short) for column in heat.columns]
        axes.set_xticks([x + 0.5 for x in range(len(labels))], labels, rotation=35, ha="right")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        note = (
            f"blue: better, orange: worse; {SIGNIFICANT} significant after correction; {LEFT_OUT} left out of the mean"
        )
        _footnote(figure, f"pp: percentage points; {note}")
        return figure_pair(name, figure, title, {})


def tradeoff_files(name: str, clouds: Sequence[Cloud]) -> dict[str, bytes]:
    """Draw all panels side by side as SVG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        columns = min(len(clouds), 2)
        rows = -(-len(clouds) // columns)
        figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
        tooltips: dict[str, str] = {}
        for index, cloud in enumerate(clouds):
            axes = figure.add_subplot(rows, columns, index + 1)
            _cloud(axes, cloud)
            for number, point in enumerate(cloud.points):
                gid = f"panel-{index}-point-{number}"
                axes.plot(point.x.value, point.y.value, "o", color="white", markersize=12, alpha=0, zorder=9, gid=gid)
                tooltips[gid] = point_text(point, cloud)
        points = [point for cloud in clouds for point in cloud.points]
        notes = ["dashed: models that no other beats on both axes"] if any(cloud.ranked for cloud in clouds) else []
        notes += [f"hollow diamonds: published by {LI} (another scorer)"] if any(p.published for p in points) else []
        notes += ["hollow dot: before tuning"] if any(p.parent for p in points) else []
        _footnote(figure, "; ".join(notes))
        return figure_pair(name, figure, "; ".join(cloud.title for cloud in clouds), tooltips)


def _cloud(axes: "Axes", cloud: Cloud) -> None:
    axes.set(xlabel=visible(cloud.x_label), ylabel=visible(cloud.y_label))
    for a, b in cloud.links:
        ends = cloud.points[a], cloud.points[b]
        axes.plot([p.x.value for p in ends], [p.y.value for p in ends], color=LINE, linewidth=1, zorder=1)
    front = [cloud.points[i] for i in cloud.frontier]
    if len(front) > 1:
        axes.plot([p.x.value for p in front], [p.y.value for p in front], color=AFTER, linestyle="--", linewidth=1)
    for number, curve in enumerate(cloud.curves):
        through = [cloud.points[i] for i in curve]
        line = {"color": AFTER, "linestyle": DASHES[number % len(DASHES)], "linewidth": 1, "alpha": 0.7}
        axes.plot([p.x.value for p in through], [p.y.value for p in through], **line)  # type: ignore[arg-type]
    for point in cloud.points:
        _point(axes, point)
    axes.margins(0.08)
    for zero in (axes.axhline, axes.axvline) if cloud.changes else ():
        zero(0, color=LINE, zorder=0)
    axes.set_ylim(bottom=None if cloud.changes else 0)
    axes.locator_params(nbins=5)
    named = [point for point in cloud.points if not point.published]
    for point, height in zip(named, label_heights(named, axes.get_xlim(), axes.get_ylim()), strict=True):
        place = (point.x.value, point.y.value)
        axes.annotate(visible(shortened(point.name)), place, xytext=(4, height), textcoords="offset points")


def label_heights(points: Sequence[Point], x_limits: tuple[float, float], y_limits: tuple[float, float]) -> list[float]:
    """Return the height of each label above its point, in typographic points, so that no two labels overlap."""
    heights: list[float] = []
    taken: list[tuple[float, float]] = []
    for point in points:
        x = PANEL[0] * (point.x.value - x_limits[0]) / (x_limits[1] - x_limits[0])
        y = PANEL[1] * (point.y.value - y_limits[0]) / (y_limits[1] - y_limits[0])
        height = 5.0
        while any(abs(x - other_x) < LABEL[0] and abs(y + height - other_y) < LABEL[1] for other_x, other_y in taken):
            height += LABEL[1]
        taken.append((x, y + height))
        heights.append(height)
    return heights


def _point(axes: "Axes", point: Point) -> None:
    x, y = point.x.value, point.y.value
    if point.published:
        axes.plot(x, y, marker="D", markersize=4, markerfacecolor="white", markeredgecolor=MUTED, linestyle="")
        return
    (x_low, x_high), (y_low, y_high) = point.x.ends, point.y.ends
    colour = BEFORE if point.parent else AFTER
    axes.plot([x_low, x_high], [y, y], color=colour, linewidth=1)
    axes.plot([x, x], [y_low, y_high], color=colour, linewidth=1)
    axes.plot(x, y, marker="o", markersize=5, color=colour, markerfacecolor="white" if point.parent else colour)


def curve_files(name: str, charts: Sequence[Chart], title: str) -> dict[str, bytes]:
    """Draw a training's curves as SVG and PDF, one panel per quantity."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        columns = min(len(charts), 3)
        rows = -(-len(charts) // columns)
        figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
        figure.suptitle(visible(title), fontsize=9)
        tooltips: dict[str, str] = {}
        for index, chart in enumerate(charts):
            axes = figure.add_subplot(rows, columns, index + 1, title=chart.title, xlabel="step", ylabel=chart.unit)
            for line in chart.lines:
                colour, style = LEARNING[line.kind]
                steps, values = [step for step, _ in line.points], [value for _, value in line.points]
                axes.plot(steps, values, color=colour, linestyle=style, linewidth=1.1, label=line.name)
            for mark in chart.marks:
                style = "--" if mark.kind == "kept" else ":"
                axes.axvline(mark.step, color="black", linewidth=0.7, linestyle=style)
            axes.set_xlim(0, chart.steps)
            axes.legend(frameon=False, fontsize=7)
            axes.axhspan(0, 1, transform=axes.transAxes, facecolor="white", alpha=0, zorder=9, gid=f"chart-{index}")
            tooltips[f"chart-{index}"] = chart_text(chart)
        stopped = any(mark.kind == "stopped" for chart in charts for mark in chart.marks)
        _footnote(figure, "dashed: the step whose weights were kept" + "; dotted: stopped early" * stopped)
        return figure_pair(name, figure, title, tooltips)


def _bar(axes: "Axes", value: IntervalValue, at: float, colour: str, hollow: bool, label: str) -> None:
    low, high = value.ends
    axes.plot([low, high], [at, at], color=colour, linewidth=1.4, alpha=0.75)
    face = "white" if hollow else colour
    mark = {"marker": "o", "markersize": 4.5, "markerfacecolor": face, "markeredgecolor": colour, "linestyle": ""}
    axes.plot(value.value, at, **mark, label=visible(label) or "_")  # type: ignore[arg-type]


def _footnote(figure: "Figure", text: str) -> None:
    figure.supxlabel(text, fontsize=7, color=MUTED)


def figure_pair(name: str, figure: "Figure", title: str, tooltips: Mapping[str, str]) -> dict[str, bytes]:
    """Return a figure as SVG, with its title and tooltips (id of an element -> text), and as PDF."""
    files = {}
    for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, metadata=metadata)
        files[f"figures/{name}.{kind}"] = data.getvalue()
        figure.set_layout_engine("none")  # keep the layout of the first format
    texts = {gid: visible(text) for gid, text in tooltips.items()}
    svg = f"figures/{name}.svg"
    files[svg] = described(files[svg], visible(title), ". ".join(texts.values()), texts)
    return files
