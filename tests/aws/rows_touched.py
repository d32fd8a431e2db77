"""Checks that a Lambda function touches only the rows and attributes of the table that its role may.

moto checks no rights. A right that no flow over the emulator needs would be missed without this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any

from infra.rows import ATTRIBUTES, rows_of
from local.table_conditions import keys
from tests.aws import bridge

ROLES = {
    "exchange_http": "exchange",
    "exchange_mqtt": "exchangeMqtt",
    "presence": "presence",
    "provisioning": "provisioning",
    "vend_http": "vend",
    "vend_mqtt": "vendMqtt",
    "authorize": "assign",
    "work": "register",
    "jitr": "jitr",
    "sweep": "sweep",
    "invoke": "operate",
    "read": "read",
    "resource": "authority",
}
"""The handlers that use the table, with their roles as infra/rows.py names them."""

_ACTIONS = {"ConditionCheck": "ConditionCheckItem", "Delete": "DeleteItem", "Update": "UpdateItem"}
_role: ContextVar[str | None] = ContextVar("role", default=None)


def playing(role: str, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a Lambda handler, or another function, that is checked against the rights of a role."""

    def handle(*arguments: Any) -> Any:
        before = _role.set(role)
        try:
            return handler(*arguments)
        finally:
            _role.reset(before)

    return handle


@contextmanager
def checked() -> Iterator[None]:
    """Check each call of the product to DynamoDB in the context, which fails at its end if one was wrong."""
    wrong: list[str] = []

    def check(**event: Any) -> None:
        role, operation = _role.get(), event["model"].name
        if role and operation != "Scan":
            wrong.extend(_wrong(role, operation, event["params"]))

    bridge.events().register("before-parameter-build.dynamodb", check)
    yield
    assert not wrong, wrong


def _wrong(role: str, operation: str, params: dict[str, Any]) -> Iterator[str]:
    if operation != "TransactWriteItems":
        yield from _refused(role, operation, params)
    for each in params.get("TransactItems", ()):
        for kind, item in each.items():
            yield from _refused(role, _ACTIONS[kind], item)


def _refused(role: str, action: str, item: dict[str, Any]) -> Iterator[str]:
    found = keys(item)
    (row,) = found["dynamodb:LeadingKeys"]
    if not any(fnmatchcase(row, kind) for kind in rows_of(role)[action]):
        yield f"{role}: {action} of {row}"
    named = set(found["dynamodb:Attributes"])
    if action == "UpdateItem" and role in ATTRIBUTES and not named <= set(ATTRIBUTES[role]):
        yield f"{role}: {action} of {row} names {named - set(ATTRIBUTES[role])}"
