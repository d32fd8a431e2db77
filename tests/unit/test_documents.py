"""The documents agree with the code: error table, routes, links, names of modules and tests, decisions."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from docs.errors import leaves
from firstboot.domain.errors import Reason
from firstboot.runtime.routes import ROUTES

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
LAMBDAS = {path.stem: path.read_text() for path in (ROOT / "functions").glob("*.py")}
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("*/*.md"),
        *ROOT.glob("docs/*/*.md"),
        *ROOT.glob("fleet/*/*.md"),
        *ROOT.glob("examples/*/*.md"),
    ]
)
DECISIONS = sorted(path for path in (ROOT / "docs/decisions").glob("*.md") if path.name != "README.md")
HEADINGS = ["Context", "Decision", "Consequence", "What would change it"]

ERRORS = leaves()


def _rows() -> dict[str, tuple[str, str, str]]:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (\w+) \| ([^|]*) \|", PROTOCOL, re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows}), "a code has two rows"
    return {code: (status, action, title) for code, status, action, title in rows}


def test_every_error_has_its_row() -> None:
    """Each error has one row in docs/protocol.md, with its code, status, action and title."""
    assert _rows() == {e.code: (str(e.status), e.action.value, e.title) for e in ERRORS}


def test_every_code_is_unique() -> None:
    """No two errors have the same code."""
    assert len({e.code for e in ERRORS}) == len(ERRORS)


def test_every_route_is_described() -> None:
    """docs/protocol.md names every route."""
    assert [route.key for route in ROUTES if f"`{route.key}`" not in PROTOCOL] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link in a document leads to an existing file and heading."""
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
    """Every Python file and folder that a document names exists.

    A path is relative to the repository's root, `functions/` or `functions/firstboot/`.
    """
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
    """Each name such as `register.jitr` in the security model is a name in that Lambda file."""
    named = re.findall(rf"`({'|'.join(LAMBDAS)})\.(\w+)`", (ROOT / "docs/security-model.md").read_text())
    assert named
    for file, function in named:
        assert re.search(rf"^{function} = ", LAMBDAS[file], re.MULTILINE), f"{file}.{function}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_a_document_names_exist(document: Path) -> None:
    """Every test that a document names as `file::name` is in that file."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text())
    assert [f"{file}::{name}" for file, name in named if not _is_a_test(ROOT / file, name)] == []


def _is_a_test(file: Path, name: str) -> bool:
    return file.is_file() and re.search(rf"^def {name}\(", file.read_text(), re.MULTILINE) is not None


def test_decisions_are_numbered_without_gaps() -> None:
    """The decisions' files are numbered from 0001 on, each number once."""
    numbers = [path.name[:5] for path in DECISIONS]
    assert numbers == [f"{number:04}-" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_form(decision: Path) -> None:
    """A decision has its file's number, an ISO date, and text below each of the four headings."""
    title, dated, *sections = re.split(r"\n\n(?:## )?", decision.read_text().strip(), maxsplit=2)
    assert title.startswith(f"# {decision.name[:4]}: ")
    assert dated == f"Date: {date.fromisoformat(dated.removeprefix('Date: ')).isoformat()}"
    found = re.findall(r"^## (.+)\n\n(?=[^#\s])", f"## {sections[0]}", re.MULTILINE)
    assert found == HEADINGS


def test_the_index_lists_every_decision() -> None:
    """The index of decisions has a row for each file, in order, with the file's number and title."""
    index = (ROOT / "docs/decisions/README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w.-]+)\) \| ([^|]+) \| [^|]+ \|$", index, re.MULTILINE)
    titles = [path.read_text().splitlines()[0].removeprefix("# ") for path in DECISIONS]
    assert [name for _, name, _ in rows] == [path.name for path in DECISIONS]
    assert [f"{number}: {title}" for number, _, title in rows] == titles


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make (\w+)`", (ROOT / "README.md").read_text()))))
def test_every_command_in_the_readme_exists(target: str) -> None:
    """Each `make` target that the README names is in the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_reason_is_documented() -> None:
    """docs/protocol.md has one row for each reason of a problem, in the order of the code."""
    table = PROTOCOL.partition("\n## Reasons\n")[2].partition("\n#")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [reason.value for reason in Reason]


def test_the_security_model_names_each_attack() -> None:
    """Each file of tests/attacks is named in the security model."""
    model = (ROOT / "docs/security-model.md").read_text()
    files = [f"tests/attacks/{path.name}" for path in (ROOT / "tests/attacks").glob("test_*.py")]
    assert files
    assert [file for file in files if file not in model] == []
