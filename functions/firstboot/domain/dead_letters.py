"""The contents of dead-letter queues: requests and work that could not be handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from firstboot.domain import topics


@dataclass(frozen=True)
class Letter:
    """A message received from a queue.

    SQS hides it from other receivers until its visibility time-out ends. `receipt` is needed to delete it.
    """

    receipt: str
    body: str


@dataclass(frozen=True)
class Failed:
    """An event that the Lambda function `function_arn` failed to handle."""

    function_arn: str
    event: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """A request of the MQTT client `client_id` that AWS IoT could not hand to a Lambda function."""

    call: topics.Call
    client_id: str
