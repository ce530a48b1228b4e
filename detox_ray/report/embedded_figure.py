"""Figures within a page: the SVG of their files as part of the HTML, in the page's colours.

A file is drawn on white, with style attributes that the page's Content-Security-Policy forbids. This module turns the
styles into plain attributes and the colours into the page's variables, so that figures follow dark mode. It puts the
figure's name before each id, because ids must be unique on a page.
"""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from markupsafe import Markup

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
COLOURS = {  # colour in figure_files.py -> variable of colours.css
    "#c2500a": "var(--before)",
    "#0068a6": "var(--after)",
    "#5a6472": "var(--muted)",
    "#d9dde3": "var(--line)",
    "#ffffff": "var(--ground)",
    "#1b1f24": "var(--text)",
    "#000000": "var(--text)",
}

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def drawings(files: Mapping[str, bytes]) -> dict[str, Markup]:
    """Return the drawings of a page, by the names of their figures."""
    svgs = {path.removeprefix("figures/").removesuffix(".svg"): data for path, data in files.items() if ".svg" in path}
    return {name: embedded(data, f"figure-{number}") for number, (name, data) in enumerate(svgs.items())}


def embedded(svg: bytes, name: str) -> Markup:
    """Return the drawing in an SVG file for a page, on which ``name`` must be unique."""
    root = ElementTree.fromstring(svg)
    for tag in ("metadata", "defs"):
        for element in root.findall(f"{{{SVG}}}{tag}"):
            if tag == "metadata" or element.find(f"{{{SVG}}}style") is not None:
                root.remove(element)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    for element in root.iter():
        for rule in filter(None, element.attrib.pop("style", "").split(";")):
            key, _, value = rule.partition(":")
            element.set(key.strip(), COLOURS.get(value.strip(), value.strip()))
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == "aria-labelledby":
                element.set(key, " ".join(f"{name}-{label}" for label in value.split()))
            elif key == f"{{{XLINK}}}href":
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
    root.set("class", "figure")
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def described(svg: bytes, title: str, text: str, tooltips: Mapping[str, str]) -> bytes:
    """Add a title and a text for screen readers to an SVG file, and tooltips (id of an element -> text)."""
    root = ElementTree.fromstring(svg)
    root.set("role", "img")
    root.set("aria-labelledby", "title text")
    for element in root.iter(f"{{{SVG}}}g"):
        if element.get("id") in tooltips:
            tooltip = ElementTree.Element(f"{{{SVG}}}title")
            tooltip.text = tooltips[element.get("id", "")]
            element.insert(0, tooltip)
    for place, (tag, words) in enumerate((("title", title), ("desc", text))):
        child = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": ("title", "text")[place]})
        child.text = words
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
