"""The documents say what the code does: error table, routes, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from firstboot.runtime.routes import ROUTES
from tests.domain_errors import leaves

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("fleet/*/*.md")])


ERRORS = leaves()


def _rows() -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\w+) \| ([^|]*) \|", PROTOCOL, re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows}), "a code has two rows"
    return {code: (status, action, title) for code, status, action, title in rows}


def test_every_error_has_its_row() -> None:
    """Code, status, action and title in docs/protocol.md are the class's, and no row is left over."""
    assert _rows() == {e.code: (str(e.status), e.action.value, e.title) for e in ERRORS}


def test_every_code_is_unique() -> None:
    """A code names one error."""
    assert len({e.code for e in ERRORS}) == len(ERRORS)


def test_every_route_is_described() -> None:
    """docs/protocol.md has every call of the route table."""
    assert [route.key for route in ROUTES if f"`{route.key}`" not in PROTOCOL] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link in a document names a file, and every anchor a heading, that is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith(("https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        other = (document.parent / file) if file else document
        assert other.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor in _anchors(other), f"{document.name}: {target}"


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text()))))
def test_every_command_in_the_readme_exists(target: str) -> None:
    """A `make` target that the README names is in the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
