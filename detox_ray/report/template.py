"""Rendering of pages: one HTML file that contains its styles and its script.

Jinja escapes every value (autoescape). A Content-Security-Policy allows only the page's script and styles, by their
hashes, so that nothing else would run or load even if an escape were missing.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detox_ray.report import labels

STYLES = ("colours.css", "page.css", "overview.css", "figure.css", "explorer.css", "agreement.css")


def html(template: str, script: str | None, **context: Any) -> bytes:
    """Render a page in UTF-8. ``script`` is the file of its script, if it has one."""
    style = Markup("").join(asset(name) for name in STYLES)
    code = asset(script) if script else Markup("")
    allowed = _digest(code) if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    text = environment().get_template(template).render(style=style, script=code, policy=policy, w=labels, **context)
    return text.encode("utf-8", "replace")  # a lone surrogate cannot be written


def environment() -> Environment:
    return Environment(
        loader=PackageLoader("detox_ray", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    return Markup(resources.files("detox_ray.report").joinpath(name).read_text(encoding="utf-8"))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
