"""A meter of what AWS bills of a flow over moto, as docs/deploy.md counts it in "What it costs"."""

from __future__ import annotations

from collections import Counter
from typing import Any

import botocore.client
import pytest

from firstboot.domain.names import RATE_LIMITER_KEY

# AWS IoT Core pricing, "additional metering details": calls about certificates and policies are not in it.
REGISTRY = frozenset(
    {
        "AddThingToThingGroup",
        "AttachThingPrincipal",
        "CreateThing",
        "DescribeThing",
        "ListThingGroupsForThing",
        "ListThingPrincipals",
    }
)


ONE = {
    "UpdateItem": "writes",
    "PutItem": "writes",
    "DeleteItem": "writes",
    "Sign": "signatures",
    "PutObject": "puts",
    "GetObject": "gets",
} | dict.fromkeys(REGISTRY, "registry")
"""The operations that AWS bills as one unit, each with the unit's name."""

LIMITER = {"pk": {"S": RATE_LIMITER_KEY}}
"""The rate limiter's row. How often it is read and written depends on the time between two orders, so its
calls are not metered."""

SLOT = Counter(writes=2)
"""The units of a slot of the rate limiter whose last one is in the past: a refused update and another."""


def _units(operation: str, parameters: dict[str, Any]) -> dict[str, float]:
    """Return what AWS bills of a call, for rows and objects of at most 1 KB.

    A consistent read takes one unit, another half of one. Each item of a transaction takes two, also one
    whose condition is checked only (DynamoDB developer guide, "DynamoDB read and write operations").
    """
    if parameters.get("Key") == LIMITER:
        return {}
    if operation == "TransactWriteItems":
        return {"writes": 2 * len(parameters["TransactItems"])}
    if operation == "GetItem":
        return {"reads": 1 if parameters.get("ConsistentRead") else 0.5}
    return {ONE[operation]: 1} if operation in ONE else {}


class Meter:
    """A meter of the AWS calls that follow. `counts` are the units that AWS bills, by name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: Counter[str] = Counter()
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            self.counts.update(_units(operation, parameters))
            return make(client, operation, parameters)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
