"""A page in headless Chromium: what it asks for, complains of and looks like."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Visit:
    """An open page, and what it asked for and complained of."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._refuse)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def tell(self, script: str) -> Any:
        return self.page.evaluate(script)

    @property
    def cut(self) -> str:
        style = "getComputedStyle(document.querySelector('.shot.after img')).clipPath"
        return self.tell(style)

    def keep(self, name: str) -> None:
        """Save what it looks like in the folder $EFFACE_SCREENSHOTS, where that is set."""
        folder = os.environ.get("EFFACE_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def focus(self, selector: str) -> None:
        """Press Tab until it has the focus: reachable by keyboard."""
        for _ in range(80):
            self.page.keyboard.press("Tab")
            if self.tell(f"document.activeElement.matches({selector!r})"):
                return
        pytest.fail(f"{selector} cannot be reached with the Tab key")


OPEN = "for (const fold of document.querySelectorAll('details')) fold.open = true"
BROKEN = """[...document.links].map(link => link.getAttribute('href'))
    .filter(href => !href.startsWith('#') || !document.getElementById(href.slice(1)))"""
RGB = "getComputedStyle({}).{}.match(/[\\d.]+/g).slice(0, 3).map(Number)"
CONTRAST = """(() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    if (text.startsWith("color(")) for (let i = 0; i < 3; i++) parts[i] *= 255;
    return parts.length < 4 ? [...parts, 1] : parts;
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let worst = {ratio: 99, text: ""};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, svg, .inconclusive")) continue;
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const colours = [element, behind || document.body].map((e, i) => parse(getComputedStyle(e)[i ? "backgroundColor" : "color"]).slice(0, 3));
    const [low, high] = colours.map(luminance).sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: walker.currentNode.data.trim().slice(0, 60), colours, kind: element.className};
  }
  return worst;
})()"""  # noqa: E501
A4 = {"width": 680, "height": 1002}  # in CSS pixels, within the margins that the page asks for
WIDER = """[...document.body.querySelectorAll('*')].filter(e => e.checkVisibility() &&
    !e.closest('.unseen, svg') && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 80))"""
WHOLE = "figure, svg, img, .answers div, tr, .attack, .protocol, .limits li"
# Columns of a page's size break where pages do, and tell which element stands in several.
PAGED = """([width, height]) => {
  document.body.style.cssText = `margin: 0; width: ${width}px; height: ${height}px;` +
    `columns: ${width}px; column-gap: 40px; column-fill: auto`;
  const column = (box) => Math.floor((box.left + 1) / (width + 40));
  const cut = [...document.querySelectorAll('WHOLE')].filter(e => e.checkVisibility()).filter(e => {
    const boxes = [...e.getClientRects()];
    return new Set(boxes.map(column)).size > 1 || boxes.some(box => box.height > height + 0.5);
  });
  const end = document.querySelector('footer p').getBoundingClientRect();
  return {pages: 1 + column(end), cut: cut.map(e => e.outerHTML.slice(0, 80))};
}""".replace("WHOLE", WHOLE)
