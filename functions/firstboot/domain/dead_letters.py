"""What a dead-letter queue holds: requests and work that could not be handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firstboot.domain import topics


@dataclass(frozen=True)
class Letter:
    """A received message, hidden from other receivers for a while; `receipt` deletes it."""

    receipt: str
    body: str


@dataclass(frozen=True)
class Failed:
    """A request that the function `function_arn` failed on."""

    function_arn: str
    event: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """A request of `client_id` that reached no function."""

    call: topics.Call
    client_id: str
