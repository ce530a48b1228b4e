"""The page: one HTML file with everything inside it, and the figure beside it.

Everything that is not ours is escaped by Jinja (autoescape), and a Content-Security-Policy names the hashes of the
page's own script and styles, so that nothing else would run or load even if an escape were forgotten.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detox_ray.languages import LANGUAGES, Language
from detox_ray.report import words
from detox_ray.report.content import CountRow, ReportContent, Sample
from detox_ray.report.views import PairView, language_name, pair_views


class CountLine(NamedTuple):
    """Statuses of one scorer and model, summed over languages."""

    scorer: str
    model: str
    by_status: dict[str, int]
    troubles: list[str]  # "Hindi: 12 × empty completion"


class SampleGroup(NamedTuple):
    language: Language
    samples: list[Sample]


def page(content: ReportContent) -> bytes:
    """The whole of ``index.html``, UTF-8."""
    style = _asset("colours.css") + _asset("page.css") + _asset("figure.css")
    script = _asset("page.js")
    text = (
        _environment()
        .get_template("page.html")
        .render(
            c=content,
            pairs=pair_views(content),
            style=style,
            script=script,
            policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}",
            counts=_count_lines(content.counts),
            statuses=list(dict.fromkeys(row.status for row in content.counts)),
            validity=_by_scorer(content),
            samples=_sample_groups(content),
            facts=facts(content.manifest),
            values=content.metrics.to_pylist(),
            w=words,
            language_name=language_name,
        )
    )
    return text.encode("utf-8", "replace")  # a lone surrogate cannot be written


def figure_file(content: ReportContent, view: PairView) -> bytes:
    """The headline figure as an SVG file of its own, light or dark as its viewer asks."""
    assert view.figure is not None
    module = _environment().get_template("figure.html").make_module()
    drawn = module.draw(  # type: ignore[attr-defined]  # a macro of the template
        view.figure, "figure", *figure_words(content, view), standalone=_asset("colours.css") + _asset("figure.css")
    )
    return str(drawn).encode("utf-8")


def figure_words(content: ReportContent, view: PairView) -> tuple[str, str, str, str, str]:
    """(title, description, axis, name of before, name of after) of the headline figure."""
    metric = words.metric_words(words.HEADLINE)
    return (
        f"{metric.title} per language, {view.parent} and {view.model}",
        "One row per language, sorted by relative reduction, the mean of languages first. A hollow dot is "
        f"{view.parent}, a filled dot {view.model}; bars are {100 * content.confidence:g} % intervals.",
        f"{metric.title.lower()} by {content.primary} (lower is better)",
        f"before: {view.parent}",
        f"after: {view.model}",
    )


def facts(manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """The manifest as tables: one per top-level mapping, and one of the plain values at the top."""
    plain = {key: value for key, value in manifest.items() if not isinstance(value, Mapping)}
    groups = {"run": plain} | {key: value for key, value in manifest.items() if isinstance(value, Mapping)}
    return {name: rows for name, group in groups.items() if (rows := _flat(group))}


def _flat(group: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in group.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)))
    return rows


def _count_lines(counts: Sequence[CountRow]) -> list[CountLine]:
    lines: dict[tuple[str, str], CountLine] = {}
    for row in counts:
        line = lines.setdefault((row.scorer, row.model), CountLine(row.scorer, row.model, {}, []))
        line.by_status[row.status] = line.by_status.get(row.status, 0) + row.n
        if row.status != words.OK:
            line.troubles.append(f"{language_name(row.language)}: {row.n} × {words.status_words(row.status)}")
    return list(lines.values())


def _by_scorer(content: ReportContent) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for row in content.validity:
        groups.setdefault(row.scorer, []).append(row)
    return groups


def _sample_groups(content: ReportContent) -> list[SampleGroup]:
    groups: dict[str, SampleGroup] = {}
    for sample in content.samples:
        groups.setdefault(sample.language, SampleGroup(LANGUAGES[sample.language], [])).samples.append(sample)
    return list(groups.values())


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("detox_ray", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["figure_words"] = figure_words
    return environment


def _asset(name: str) -> Markup:
    return Markup(resources.files("detox_ray.report").joinpath(name).read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
