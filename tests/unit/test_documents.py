"""The documents agree with the code: error table, routes, links, names of modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.errors import leaves
from firstboot.runtime.routes import ROUTES

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
LAMBDAS = {path.stem: path.read_text() for path in (ROOT / "functions").glob("*.py")}
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/*/*.md"), *ROOT.glob("fleet/*/*.md")]
)


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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_a_document_names_exist(document: Path) -> None:
    """A path to a Python file is below the repository's root, `functions/` or `functions/firstboot/`."""
    text = document.read_text()
    assert [path for path in re.findall(r"`([\w./]+\.py)`", text) if not _is_a_module(path)] == []
    dotted = re.findall(r"`(firstboot(?!\.sh`)(?:\.[a-z_0-9]+)+)`", text)
    assert [name for name in dotted if not _is_a_module(f"{name.replace('.', '/')}.py")] == []
    folders = re.findall(r"`((?:functions|infra|console|device|local|tests)/[\w/]*)`", text)
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []


def _is_a_module(path: str) -> bool:
    package = Path(path).with_suffix("")
    roots = (ROOT, ROOT / "functions", ROOT / "functions/firstboot")
    return any((root / path).is_file() or (root / package / "__init__.py").is_file() for root in roots)


def test_lambda_functions_of_the_security_model_exist() -> None:
    """`register.jitr` is the name `jitr` in `functions/register.py`."""
    named = re.findall(rf"`({'|'.join(LAMBDAS)})\.(\w+)`", (ROOT / "docs/security-model.md").read_text())
    assert named
    for file, function in named:
        assert re.search(rf"^{function} = ", LAMBDAS[file], re.MULTILINE), f"{file}.{function}"


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text()))))
def test_every_command_in_the_readme_exists(target: str) -> None:
    """A `make` target that the README names is in the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
