"""Figures as files for papers and slides: the same rows and points as on the page, drawn by Matplotlib on white.

SVG keeps its text as text; PDF embeds its font. The bytes hold no date and no random id: same results, same files.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detox_ray.report.forest import LEFT_OUT, SIGNIFICANT, ForestRow, marked_change, marked_name
from detox_ray.report.heat import Heat
from detox_ray.report.labels import shortened, visible
from detox_ray.report.published import LI
from detox_ray.report.scales import Reading
from detox_ray.report.tradeoff import Cloud
from detox_ray.report.training import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER, MUTED, LINE = "#c2500a", "#0068a6", "#5a6472", "#d9dde3"  # as in colours.css
DASHES = ("solid", "dashed", "dotted", "dashdot")  # of curves
LEARNING = {  # kind of a training's line -> colour, style
    **{"training": (MUTED, "solid"), "validation": (AFTER, "solid")},
    **{"chosen": (AFTER, "solid"), "rejected": (BEFORE, "dashed")},
}
SHADES = {
    **{"good3": "#8cc0e8", "good2": "#b9d9f2", "good1": "#e0eefa", "even": "#f2f3f5", "": "#ffffff"},
    **{"bad1": "#fdebd6", "bad2": "#f9cfa0", "bad3": "#f0ab66"},
    **{"v0": "#f2f6fa", "v1": "#dbe8f4", "v2": "#bfd7ec", "v3": "#9cc2e2", "v4": "#78abd6"},
}
_STYLE: Any = {
    **{"svg.hashsalt": "detox_ray", "svg.fonttype": "none", "pdf.fonttype": 42, "font.family": "sans-serif"},
    **{"font.sans-serif": ["DejaVu Sans"], "font.size": 8, "text.parse_math": False, "axes.unicode_minus": True},
    **{"axes.edgecolor": LINE, "axes.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": "black"},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "figure.dpi": 100},
}


def forest_files(
    name: str, rows: Sequence[ForestRow], title: str, axis: str, before: str, after: str
) -> dict[str, bytes]:
    """Relative path -> SVG and PDF of the forest plot."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
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
            change = axes.get_yaxis_transform()
            axes.text(1.01, at, visible(marked_change(row)), va="center", transform=change)
        axes.axhline(0.5, color=LINE, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [visible(marked_name(row)) for row in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        notes = [f"{SIGNIFICANT} significant after correction"]
        notes += [] if all(row.in_macro for row in rows) else [f"{LEFT_OUT} left out of the mean"]
        _footnote(figure, "; ".join(notes))
        return _files(name, figure)


def heat_files(name: str, heat: Heat, title: str) -> dict[str, bytes]:
    """Relative path -> SVG and PDF of a heat map."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    with rc_context(_STYLE):
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
        return _files(name, figure)


def tradeoff_files(name: str, clouds: Sequence[Cloud]) -> dict[str, bytes]:
    """Relative path -> SVG and PDF of all panels side by side."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        columns = min(len(clouds), 2)
        rows = -(-len(clouds) // columns)
        figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
        for index, cloud in enumerate(clouds):
            axes = figure.add_subplot(rows, columns, index + 1)
            _cloud(axes, cloud)
        points = [point for cloud in clouds for point in cloud.points]
        notes = ["dashed: models that no other beats on both axes"] if any(cloud.ranked for cloud in clouds) else []
        notes += [f"hollow diamonds: published by {LI} (another scorer)"] if any(p.published for p in points) else []
        notes += ["hollow dot: before tuning"] if any(p.parent for p in points) else []
        _footnote(figure, "; ".join(notes))
        return _files(name, figure)


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
        x, y = point.x.value, point.y.value
        if point.published:
            axes.plot(x, y, marker="D", markersize=4, markerfacecolor="white", markeredgecolor=MUTED, linestyle="")
            continue
        (x_low, x_high), (y_low, y_high) = point.x.ends, point.y.ends
        colour = BEFORE if point.parent else AFTER
        axes.plot([x_low, x_high], [y, y], color=colour, linewidth=1)
        axes.plot([x, x], [y_low, y_high], color=colour, linewidth=1)
        axes.plot(x, y, marker="o", markersize=5, color=colour, markerfacecolor="white" if point.parent else colour)
        axes.annotate(visible(shortened(point.name)), (x, y), xytext=(4, 5), textcoords="offset points")
    axes.margins(0.08)
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=5)


def curve_files(name: str, charts: Sequence[Chart], title: str) -> dict[str, bytes]:
    """Relative path -> SVG and PDF of a training's curves, one panel a quantity."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        columns = min(len(charts), 3)
        rows = -(-len(charts) // columns)
        figure = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
        figure.suptitle(visible(title), fontsize=9)
        for index, chart in enumerate(charts):
            axes = figure.add_subplot(rows, columns, index + 1, title=chart.title, xlabel="step", ylabel=chart.unit)
            for line in chart.lines:
                colour, style = LEARNING[line.kind]
                steps, values = [step for step, _ in line.points], [value for _, value in line.points]
                axes.plot(steps, values, color=colour, linestyle=style, linewidth=1.1, label=line.name)
            for mark in chart.marks:
                axes.axvline(mark.step, color="black", linewidth=0.7, linestyle=(":", "--")[mark.kind == "kept"])
            axes.set_xlim(0, chart.steps)
            axes.legend(frameon=False, fontsize=7)
        stopped = any(mark.kind == "stopped" for chart in charts for mark in chart.marks)
        _footnote(figure, "dashed: the step whose weights were kept" + "; dotted: stopped early" * stopped)
        return _files(name, figure)


def _bar(axes: "Axes", reading: Reading, at: float, colour: str, hollow: bool, label: str) -> None:
    low, high = reading.ends
    axes.plot([low, high], [at, at], color=colour, linewidth=1.4, alpha=0.75)
    face = "white" if hollow else colour
    mark = {"marker": "o", "markersize": 4.5, "markerfacecolor": face, "markeredgecolor": colour, "linestyle": ""}
    axes.plot(reading.value, at, **mark, label=visible(label) or "_")  # type: ignore[arg-type]


def _footnote(figure: "Figure", text: str) -> None:
    figure.supxlabel(text, fontsize=7, color=MUTED)


def _files(name: str, figure: "Figure") -> dict[str, bytes]:
    files = {}
    for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, metadata=metadata)
        files[f"figures/{name}.{kind}"] = data.getvalue()
        figure.set_layout_engine("none")  # what the first one laid out stays
    return files
