"""Open a page in a browser without a window, and return its elements and the URLs that it requests."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from tests.clients.programs import program

_BROWSER = "chromium-headless-shell"
_VOID = {"meta", "br", "img", "link", "input", "hr", "base"}


class _Elements(HTMLParser):
    """A parser that collects each element's name, attributes and text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Element] = []
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        element = Element(tag, dict(attrs))
        self.found.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element. A browser's output is always nested correctly."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Add text to each open element."""
        for element in self._open:
            element.text += data


@dataclass
class Element:
    """An element of the page."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass(frozen=True)
class Opened:
    """A page that was opened: its elements, and the URLs that it requested beside its own."""

    elements: list[Element]
    asked: list[str]

    def texts(self, tag: str) -> list[str]:
        """Return the text of each element with a tag."""
        return [element.text for element in self.elements if element.tag == tag]


def open_page(page: Path, folder: Path) -> Opened:
    """Open a file, and run its scripts and load its images and styles. `folder` holds the browser's files."""
    log = folder / "net.json"
    own = page.resolve().as_uri()
    done = subprocess.run(
        [
            *(program(_BROWSER), "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", own),
        ],
        capture_output=True,
        check=True,
        timeout=120,
    )
    parser = _Elements()
    parser.feed(done.stdout.decode())
    return Opened(parser.found, sorted(_asked(log) - {own}))


def _asked(log: Path) -> set[str]:
    """Return every URL in the browser's network log."""
    events = json.loads(log.read_text())["events"]
    return {event["params"]["url"] for event in events if "url" in event.get("params", {})}
