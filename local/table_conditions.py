"""The condition keys of DynamoDB that ministack lacks: a request's leading keys, and the attributes in it.

ministack knows `dynamodb:Attributes` of a projection alone, and no `dynamodb:LeadingKeys`. AWS has both, and
authorises a transaction by its items (DynamoDB developer guide, "Using IAM policy conditions for fine-grained
access control" and "Using IAM with DynamoDB transactions").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ministack.core import iam_actions, iam_evaluator

_context: Any = iam_actions.dynamodb_service_context
_checks: Any = iam_actions.dynamodb_transaction_checks
_enforce: Any = iam_evaluator.enforce

Members = dict[str, Any]

_EXPRESSIONS = ("UpdateExpression", "ConditionExpression", "FilterExpression", "ProjectionExpression")
# A name that is no value, no part of a path after the first, and no function.
_NAME = re.compile(r"(?<![:.\w#])#?[A-Za-z_]\w*(?!\w|\s*\()")
_WORDS = {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "IN", "BETWEEN"}


class _ItemsTable(str):
    """The ARN of the table of a transaction's item, with the condition keys of that item."""

    __slots__ = ("keys",)

    keys: Members


def keys(request: Members) -> Members:
    """Return the condition keys of a request for one item, or of a scan."""
    row = request.get("Key") or request.get("Item") or {}
    leading = [value["S"] for name, value in row.items() if name == "pk"]
    found = {"dynamodb:Attributes": sorted({*row, *_named(request)})}
    return found | ({"dynamodb:LeadingKeys": leading} if leading else {})


def _named(request: Members) -> Iterator[str]:
    """Yield the top-level attributes in a request's expressions."""
    names = request.get("ExpressionAttributeNames", {})
    for expression in _EXPRESSIONS:
        for name in _NAME.findall(request.get(expression, "")):
            if name.upper() not in _WORDS:
                yield names.get(name, name)


def _service_context(body: bytes) -> Members:
    with suppress(ValueError, TypeError, AttributeError):
        return dict(_context(body)) | keys(json.loads(body))
    return dict(_context(body))


def _transaction_checks(action: str, body: bytes, *rest: object) -> list[tuple[str, str]]:
    checks: list[tuple[str, str]] = _checks(action, body, *rest)
    if not checks:
        return []
    items = [detail for item in json.loads(body)["TransactItems"] for detail in item.values()]
    return [(each, _table_of(arn, item)) for (each, arn), item in zip(checks, items, strict=True)]


def _table_of(arn: str, item: Members) -> _ItemsTable:
    table = _ItemsTable(arn)
    table.keys = keys(item)
    return table


def _enforced(*arguments: Any, resource_arn: str = "*", service_context: Members | None = None) -> Any:  # noqa: ANN401
    if isinstance(resource_arn, _ItemsTable):
        service_context = (service_context or {}) | resource_arn.keys
    return _enforce(*arguments, resource_arn=str(resource_arn), service_context=service_context)


def install() -> None:
    """Have ministack decide with these condition keys."""
    iam_actions.dynamodb_service_context = _service_context
    iam_actions.dynamodb_transaction_checks = _transaction_checks
    iam_evaluator.enforce = _enforced
