"""The operator's calls about dead-letter queues.

A letter is one of three:
1. A request over MQTT that a Lambda function took and failed on: it is handed to that function again, as
   AWS IoT had handed it over. Repeating it is harmless (exchange/issue.py).
2. A request that AWS IoT could not hand over. It no longer says whose certificate came with it, and the
   rest proves nothing: its client is told to ask again.
3. Work of ours for another queue: it goes back there.

A letter is deleted once its part is done. A crash in between repeats one of these, which is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain import topics
from firstboot.domain.dead_letters import Failed, Letter, Lost
from firstboot.domain.errors import Unavailable
from firstboot.operate.audit import Audit
from firstboot.operate.requests import RedriveFailures
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json, NoMembers
from firstboot.runtime.problem import problem


class DeadLetters(Protocol):
    """A dead-letter queue. Every method raises Unavailable when AWS does not answer."""

    def waiting(self) -> int:
        """Return about how many letters there are."""

    def receive(self) -> list[Letter]:
        """Return some letters, held for a minute; none if there are none."""

    def give_back(self, body: str) -> bool:
        """Send a message to the queue that it came from; False if these letters came from no queue."""

    def delete(self, letter: Letter) -> None:
        """Delete a letter."""


class Functions(Protocol):
    """The Lambda functions that may be handed an event again."""

    def again(self, failed: Failed) -> None:
        """Hand a request to its function, without waiting for the result. Raises Unavailable."""


@dataclass(frozen=True)
class Failures:
    """Carry out the calls about dead-letter queues, which have names.

    `publish` sends an answer's members to a topic.
    """

    queues: Mapping[str, DeadLetters]
    functions: Functions
    publish: Callable[[str, Json], None]
    audit: Audit

    def show(self, _: NoMembers, __: datetime) -> Json:
        """Return how many letters each dead-letter queue holds."""
        return {"failures": {name: queue.waiting() for name, queue in self.queues.items()}}

    def redrive(self, parameters: RedriveFailures, now: datetime) -> Json:
        """Take up some letters of a dead-letter queue, a batch at most; 0 says that none are left."""
        name = parameters.failures
        if name not in self.queues:
            raise MalformedRequest(f"`failures` must be one of {', '.join(sorted(self.queues))}")
        queue = self.queues[name]
        received = queue.receive()
        for letter in received:
            if not queue.give_back(letter.body):
                self._take_up(understood(letter.body), now)
            queue.delete(letter)
        if received:
            self.audit("FailuresRedriven", failures=name, letters=len(received))
        return {"redriven": len(received)}

    def _take_up(self, letter: Failed | Lost | None, now: datetime) -> None:
        match letter:
            case Failed():
                self.functions.again(letter)
            case Lost(call, client_id):
                self.publish(call.rejected_topic(client_id), problem(Unavailable(), "redrive", now))


def understood(body: str) -> Failed | Lost | None:
    """Return what a letter about a request says.

    None for a letter about a connection, or one that says nothing: the next connection brings the same.
    Lambda developer guide, "Capturing records of asynchronous invocations"; AWS IoT developer
    guide, "Error handling (error action)", message format.
    """
    match _json(body):
        case {"requestContext": {"functionArn": str(arn)}, "requestPayload": dict(event)}:
            return Failed(arn.removesuffix(":$LATEST"), event)
        case {"topic": str(topic), "clientId": str(client_id)}:
            for call in topics.CALLS:
                if topic == call.request_topic(client_id):
                    return Lost(call, client_id)
    return None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
