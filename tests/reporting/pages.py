"""A page as it is parsed: its elements, its text, and whether it is safe."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</style></title><svg onload=alert(1)>",
    "`<b>`",
]
VOID = {"meta", "img", "input", "line", "circle", "path", "polyline", "polygon", "br"}
NUMBER = r"-?\d+\.?\d*(?:e-?\d+)?"
URL_ATTRIBUTES = {"href", "src", "action", "xlink:href", "srcset", "data", "poster"}


class Page(HTMLParser):
    """Elements, their attributes, and the text of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.headline = ""
        self.told: list[tuple[str, str, str]] = []  # protocol, name and value of a fact
        self.anchor = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "details" or dict(attrs).get("class") == "protocol":
            self.anchor = dict(attrs).get("id") or ""
        if tag == "dt":
            self.told.append((self.anchor, "", ""))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data
            if self.open and self.open[-1] == "h1":
                self.headline += data
            if self.open and self.open[-1] in ("dt", "dd"):
                anchor, name, value = self.told[-1]
                own = (name + data, value) if self.open[-1] == "dt" else (name, value + data)
                self.told[-1] = (anchor, *own)

    def facts(self, anchor: str) -> dict[str, str]:
        """The names and values of a protocol."""
        return {name: value for found, name, value in self.told if found == anchor}

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def assert_safe(page: Page) -> None:
    assert page.open == []
    assert len(page.scripts) == 1
    given = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    ids = set(given)
    assert len(given) == len(ids)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in URL_ATTRIBUTES & attributes.keys():
            link = attributes[name] or ""
            assert link.startswith("data:image/png;base64,") or link.removeprefix("#") in ids
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert len(policies) == 1 and policies[0] is not None
    digest = hashlib.sha256(page.scripts[0].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policies[0]
    assert "default-src 'none'" in policies[0]


def elements(svg: str, kind: str, *styles: str) -> list[ElementTree.Element]:
    """Those of a chart that are of a kind, as "path", and have all of these styles."""
    found = ElementTree.fromstring(svg).iter(kind)
    return [e for e in found if all(style in e.attrib.get("style", "") for style in styles)]


def places(path: ElementTree.Element) -> list[tuple[float, float]]:
    """Where the corners of a path lie, from the upper left corner of the chart."""
    numbers = [float(n) for n in re.findall(NUMBER, path.attrib["d"])]
    right, down = _read_place(path.get("transform", "0 0"))
    return [(x + right, y + down) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def curves(svg: str, tone: str) -> list[list[tuple[float, float]]]:
    """The lines of a tone, as the places of their points."""
    return [places(path) for path in elements(svg, "path", "fill: none", f"stroke: var(--{tone})")]


def bands(svg: str, tone: str) -> list[ElementTree.Element]:
    return elements(svg, "path", f"fill: var(--{tone})", "fill-opacity")


def dots(svg: str, tone: str) -> list[tuple[float, float]]:
    """The centres of the markers of a tone."""
    moved = [path.get("transform") for path in elements(svg, "path", f"stroke: var(--{tone})")]
    return [_read_place(move) for move in moved if move]


def _read_place(move: str) -> tuple[float, float]:
    x, y = re.findall(NUMBER, move)
    return float(x), float(y)


def texts(svg: str) -> dict[str, tuple[float, float]]:
    """What is written in a chart, and where."""
    found = elements(svg, "text")
    return {e.text or "": (float(e.attrib["x"]), float(e.attrib["y"])) for e in found}


def assert_inside(svg: str) -> None:
    """Everything that is drawn lies in the chart's frame."""
    _, _, width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split())
    corners = [place for path in elements(svg, "path") for place in places(path)]
    for x, y in [*corners, *texts(svg).values()]:
        assert 0 <= x <= width and 0 <= y <= height
