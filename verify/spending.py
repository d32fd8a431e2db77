"""Estimate what a walk costs, from the calls that its steps make and AWS's list prices.

The prices are those of us-east-1 in November 2026, without free tiers, for a million. The counts are those of
docs/deploy.md, "What it costs".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Price:
    """The price of a million units in dollars, and AWS's page that has it."""

    million: float
    page: str


_PAGE = "https://aws.amazon.com/{}/pricing/"

PRICES = {
    "request to an HTTP API": Price(1.00, _PAGE.format("api-gateway")),
    "invocation": Price(0.20, _PAGE.format("lambda")),
    "GB-second": Price(13.33, _PAGE.format("lambda")),
    "write of a row": Price(0.625, _PAGE.format("dynamodb")),
    "read of a row": Price(0.125, _PAGE.format("dynamodb")),
    "ECC signature": Price(15.00, _PAGE.format("kms")),
    "PUT": Price(5.00, _PAGE.format("s3")),
    "GET": Price(0.40, _PAGE.format("s3")),
    "request to SQS": Price(0.40, _PAGE.format("sqs")),
    "call of AWS IoT": Price(1.25, _PAGE.format("iot-core")),
    "message of AWS IoT": Price(1.00, _PAGE.format("iot-core")),
    # 2 KB of log at 0.50 $ a GB.
    "log of an invocation": Price(1.00, _PAGE.format("cloudwatch")),
}


class Act(StrEnum):
    """An act of a step that costs money. A deletion costs what the calls of AWS IoT for it cost."""

    BOOT = "first boot or renewal, with its deletion"
    MQTT_BOOT = "first boot over MQTT, with its deletion"
    VEND = "request for credentials"
    CALL = "other call of a host"
    OPERATE = "call of operate"
    CONNECTION = "connection and message of AWS IoT"


_BOOT = {
    "request to an HTTP API": 2,
    "invocation": 3,
    "GB-second": 0.63,
    "write of a row": 22,
    "read of a row": 3,
    "ECC signature": 1,
    "PUT": 1,
    "GET": 2,
    "request to SQS": 6,
    "call of AWS IoT": 26,
    "log of an invocation": 3,
}

_ACTS: dict[Act, dict[str, float]] = {
    Act.BOOT: _BOOT,
    Act.MQTT_BOOT: _BOOT | {"call of AWS IoT": 34, "message of AWS IoT": 6, "GB-second": 1.2},
    Act.VEND: {
        "request to an HTTP API": 1,
        "invocation": 1,
        "GB-second": 0.1,
        "read of a row": 1,
        "log of an invocation": 1,
    },
    Act.CALL: {
        "request to an HTTP API": 1,
        "invocation": 1,
        "GB-second": 0.1,
        "read of a row": 1,
        "log of an invocation": 1,
    },
    Act.OPERATE: {"invocation": 1, "GB-second": 0.2, "read of a row": 5, "log of an invocation": 1},
    Act.CONNECTION: {"call of AWS IoT": 1, "message of AWS IoT": 4},
}

ASKS_ABOVE = 1.00
"""The estimate in dollars above which the walk asks before it starts."""


def total(spends: Iterable[Mapping[Act, int]]) -> Counter[Act]:
    """Return how often each act is done in all."""
    acts: Counter[Act] = Counter()
    for each in spends:
        acts.update(each)
    return acts


def dollars(acts: Mapping[Act, int]) -> float:
    """Return what the acts cost together."""
    return sum(count * _dollars(act) for act, count in acts.items())


def _dollars(act: Act) -> float:
    return sum(count * PRICES[unit].million / 1_000_000 for unit, count in _ACTS[act].items())
