"""The first screen's figure: the headline metric of every model in every language."""

from typing import TYPE_CHECKING

from detox_ray.gate import FAIL, INCONCLUSIVE, PASS
from detox_ray.report.figure_files import AFTER, BEFORE, LINE, MUTED, STYLE, TEXT, figure_pair
from detox_ray.report.forest import LEFT_OUT, change
from detox_ray.report.interval_value import IntervalValue
from detox_ray.report.labels import number, shortened, visible
from detox_ray.report.overview import PARENT, Dots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "overview"
TONES = {PARENT: MUTED, PASS: AFTER, FAIL: BEFORE, INCONCLUSIVE: TEXT}
MARKERS = {"○": "o", "●": "o", "■": "s", "▲": "^", "◆": "D"}
SPREAD = 0.3  # the part of a row's height over which its models are spread
COLUMNS = 2  # columns of changes beside the axes; if there are more models, only the first has one
COLUMN = 44  # width of a column, in typographic points


def overview_files(dots: Dots) -> dict[str, bytes]:
    """Draw the figure as SVG and PDF: a row per language, a mark per model, and tuned models' changes beside them."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 0.75 + 0.2 * len(dots.names)), layout="constrained")
        axes = figure.add_subplot(xlabel=visible(dots.axis))
        spread = [SPREAD * (place / (len(dots.models) - 1) - 0.5) for place in range(len(dots.models))]
        tuned = [model for model in dots.models if model.tone != PARENT]
        beside = tuned if len(tuned) <= COLUMNS else tuned[:1]
        values_of = {model.name: model.values for model in dots.models}
        for row, reason in enumerate(dots.reasons):
            values = [(model, shift, model.values[row]) for model, shift in zip(dots.models, spread, strict=True)]
            known = [(model, row + shift, value) for model, shift, value in values if value is not None]
            if not known:
                axes.text(0, row, f" {visible(reason)}", va="center", color=MUTED, style="italic")
            axes.plot([value.value for _, _, value in known], [row] * len(known), color=LINE, zorder=1)
            for model, at, value in known:
                colour = TONES[model.tone]
                face = "white" if model.tone == PARENT else colour
                axes.plot(value.ends, [at, at], color=colour, linewidth=1.3, alpha=0.75)
                axes.plot(
                    value.value,
                    at,
                    marker=MARKERS[model.shape],
                    markersize=4.6,
                    markerfacecolor=face,
                    markeredgecolor=colour,
                    linestyle="",
                    label=visible(shortened(model.name, 24)) if row == 0 else "_",
                )
            for column, model in enumerate(beside):
                assert model.parent is not None, "a tuned model has a parent"
                text = change(values_of[model.parent][row], model.values[row])
                _beside(axes, row, column, text, TONES[model.tone])
            axes.axhspan(row - 0.5, row + 0.5, facecolor="white", alpha=0, zorder=9, gid=f"row-{row}")
        for column, model in enumerate(beside):
            _beside(axes, -0.95, column, visible(shortened(model.name, 9)), TONES[model.tone])
        axes.axhline(0.5, color=LINE, linewidth=0.8)
        axes.set_yticks(range(len(dots.names)), [visible(name) for name in dots.names])
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(dots.names) - 0.5, -0.5)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        if any(name.endswith(LEFT_OUT) for name in dots.names):
            figure.supxlabel(f"{LEFT_OUT} left out of the mean", fontsize=7, color=MUTED)
        tooltips = {f"row-{row}": _spoken(dots, row) for row in range(len(dots.names))}
        return figure_pair(NAME, figure, dots.title, tooltips)


def _beside(axes: "Axes", row: float, column: int, text: str, colour: str) -> None:
    """Write a column's text beside a row, at a distance that does not depend on the axes' width."""
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(
        text,
        (1, row),
        (COLUMN * (column + 1), 0),
        ha="right",
        va="center",
        color=colour,
        annotation_clip=False,
        **place,  # type: ignore[arg-type]
    )


def _spoken(dots: Dots, row: int) -> str:
    """Return a row in words, for screen readers and tooltips."""
    parts = [f"{model.name} {_value(model.values[row])}" for model in dots.models]
    return f"{dots.names[row]}: {dots.reasons[row] or ', '.join(parts)}"


def _value(value: IntervalValue | None) -> str:
    if value is None:
        return "no value"
    bounds = "" if value.low is None else f" ({number(value.low)} to {number(value.high)})"
    return f"{number(value.value)}{bounds}"
