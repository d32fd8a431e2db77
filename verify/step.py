"""The steps of the walk: what each one needs, what it spends and what it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from verify.spending import Act

if TYPE_CHECKING:
    from verify.bench import Bench


class Need(StrEnum):
    """A need of a step. The value says what is missing without it."""

    FACTORY = "the key of a factory CA that the fleet trusts: --ca-cert and --ca-key"
    MTLS = "an mTLS host: a domain in cdk.json"
    PUBLIC = "a public host"
    HTTPS = "a host for HTTPS"
    BROKER = "the address of AWS IoT's broker in the settings of the stack"
    ISSUER = "a token issuer in fleet.toml and its key: --issuer-key"
    AWS = "AWS: this endpoint is an emulator's"
    LONG = "many minutes of time: --long"
    PUBLISH = "leave to publish a fleet for a while: --publish"


@dataclass(frozen=True)
class Measurement:
    """A value that a step has found, and its unit. No value is a secret: the page shows it."""

    what: str
    value: str | float
    unit: str = ""

    def __str__(self) -> str:
        text = self.value if isinstance(self.value, str) else _number(self.value)
        return f"{self.what}: {text} {self.unit}".rstrip()


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}".rstrip("0").rstrip(".")


class Failed(Exception):
    """The product did something else than it promises."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}, saw {seen}")


class Lacking(Exception):
    """The environment turned out to lack what the text names. The step counts as skipped."""


Measurements = Iterator[Measurement]
Run = Callable[["Bench"], Measurements]


@dataclass(frozen=True)
class Step:
    """A step of the walk.

    `run` yields what it measures. It raises Failed or Lacking, or any error of the device's client or the
    console, which counts as a failure. `after` names the steps that must have passed before. `spends` says
    how often the step does what costs money, at most.
    """

    name: str
    run: Run
    needs: frozenset[Need] = frozenset()
    after: tuple[str, ...] = ()
    spends: Mapping[Act, int] = field(default_factory=dict)


class Outcome(StrEnum):
    """The ways in which a step ends."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """A step's outcome, how many seconds it took, what it measured, and why it failed or was skipped."""

    step: str
    outcome: Outcome
    seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()
    reason: str = ""
