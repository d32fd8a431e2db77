"""The OpenAPI document and the protocol's generated tables follow from the declarations in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from console.cloud import READING
from docs import calls, errors, openapi, schemas, wire_tables
from firstboot.domain import topics
from firstboot.domain.errors import FirstbootError
from firstboot.operate.operations import OPERATIONS
from firstboot.runtime import routes
from firstboot.runtime.invoke import Bound, by_name
from firstboot.runtime.messages import Answer
from firstboot.runtime.problem import Problem
from firstboot.vend import credential_provider

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
PAGES = "".join(page.read_text() for page in sorted(ROOT.glob("docs/protocol*.md")))
DOCUMENT: dict[str, Any] = msgspec.json.decode(openapi.text())
HTTP, MQTT = list(calls.HTTP), list(calls.MQTT)


def test_the_document_is_valid() -> None:
    """The document conforms to the OpenAPI specification."""
    validate(DOCUMENT)


def test_the_document_has_exactly_the_routes() -> None:
    """The document has one operation for each route, and demands a proof where the route table does."""
    operations = {
        f"{method.upper()} {path}": bool(operation["security"])
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == {route.key: route.proof != "none" for route in routes.ROUTES}


@pytest.mark.parametrize(
    ("http", "mqtt"),
    [
        (HTTP[:-1], MQTT),
        ([*HTTP, routes.Route("GET", "/v1/other", "vend", "none", "Other")], MQTT),
        (HTTP, MQTT[:-1]),
        (HTTP, [*MQTT, topics.Call("other/request", "other")]),
    ],
)
def test_a_missing_or_an_unknown_call_is_an_error(http: list[routes.Route], mqtt: list[topics.Call]) -> None:
    """Generation fails if a route or an MQTT call has no entry, or an entry has no route or call."""
    with pytest.raises(ValueError, match="needs exactly"):
        calls.check(http, mqtt)


def test_an_undescribed_path_parameter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generation fails if an entry does not describe exactly its route's path parameters."""
    described = calls.HTTP[routes.CREDENTIALS]
    changed = dict(calls.HTTP) | {routes.CREDENTIALS: calls.HttpCall(described.answers)}
    monkeypatch.setattr(calls, "HTTP", changed)
    with pytest.raises(ValueError, match="path parameters"):
        openapi.text()


def test_codes_are_those_of_the_devices_table() -> None:
    """The document lists exactly the codes in docs/protocol.md's first table, which reach devices."""
    table = PROTOCOL.partition("## Every code")[2].partition("These reach an operator")[0]
    codes = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert set(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(codes)


def _provider_rows() -> list[tuple[int, str, list[str]]]:
    table = PROTOCOL.partition("| status | message | our code |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d{3}) \| (.+) \| (.+) \|$", table, re.MULTILINE)
    return [(int(status), message, re.findall(r"`([a-z-]+)`", codes)) for status, message, codes in rows]


def test_the_credential_providers_refusals_are_in_the_protocol() -> None:
    """docs/protocol.md lists each refusal of the credential provider and the codes that result in it."""
    expected = [*credential_provider.REFUSALS.values(), credential_provider.UNFORESEEN]
    assert {row[:2] for row in _provider_rows()} == {(status, text) for status, _, text in expected}
    by_code = {error.code: error for error in errors.leaves()}
    for status, message, codes in _provider_rows():
        for code in codes:
            assert _refusal(by_code[code]) == (status, message), code


def _refusal(kind: type[FirstbootError]) -> tuple[int, str]:
    response = credential_provider.failure(kind.__new__(kind), "r")
    return response.status, msgspec.json.decode(response.body)["message"]


def test_every_member_is_named_in_the_protocol() -> None:
    """A page of the protocol names each member of each request, answer and problem."""
    kinds = [call.request for call in calls.MQTT.values()]
    kinds += [call.request for call in calls.HTTP.values() if call.request]
    found = schemas.of([*kinds, *_answers(), Problem])
    missing = {
        f"{name}.{member}"
        for name, schema in found.items()
        for member in schema.get("properties", {})
        if not re.search(rf"[`\".]{member}[`\"]", PAGES)
    }
    assert missing == set()


def _answers() -> list[type[Answer]]:
    over_http = [success.members for call in calls.HTTP.values() for success in call.answers.values()]
    return over_http + [kind for call in calls.MQTT.values() for kind in call.answers]


def test_a_member_without_a_description_is_an_error() -> None:
    """Generation fails if a member has no description."""

    class Undescribed(Answer, frozen=True, kw_only=True):
        member: str

    with pytest.raises(ValueError, match=r"Undescribed\.member has no description"):
        wire_tables.members(Undescribed)


def test_a_member_with_a_default_is_always_in_an_answer() -> None:
    """The schema requires every member of an answer that is never UNSET, also if it has a default."""
    schema = DOCUMENT["components"]["schemas"]["DeviceAnswer"]
    assert {"status", "time"} <= set(schema["required"])
    assert "serial" not in schema["required"]


def _bound() -> list[Bound[Any]]:
    return [each.bind(lambda _parameters, _now: {}) for each in OPERATIONS]


@pytest.mark.parametrize("bound", [_bound()[:-1], [*_bound(), _bound()[0]], []])
def test_operations_are_bound_exactly(bound: list[Bound[Any]]) -> None:
    """The operate function is not built unless each declared operation has exactly one function."""
    with pytest.raises(ValueError, match="Exactly these operations must be bound"):
        by_name(OPERATIONS, bound)


def test_operations_have_one_name_each() -> None:
    """Operations are found by their names, in the order of their declaration."""
    assert list(by_name(OPERATIONS, _bound()[::-1])) == [each.name for each in OPERATIONS]


def test_the_console_reads_by_the_read_only_function() -> None:
    """The console calls the read-only operate function for each operation that only reads, and no other."""
    assert {each.name for each in OPERATIONS if each.reads} == READING


def test_the_console_calls_every_operation_and_no_other() -> None:
    """The console names every operation, and it names no operation that does not exist."""
    domains = "|".join(sorted({each.name.partition(".")[0] for each in OPERATIONS}))
    used = {
        node.value
        for file in (ROOT / "console").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(rf"({domains})\.[a-z]+", node.value)
    }
    assert used - {"fleet.toml"} == {each.name for each in OPERATIONS}
