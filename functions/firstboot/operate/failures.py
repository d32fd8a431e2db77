"""The operator's calls about dead-letter queues.

A message in a dead-letter queue is one of three:

1. A request over MQTT on which a Lambda function failed. The function is invoked again with the event that
   AWS IoT had sent. A repeat is harmless (exchange/issue.py).
2. A request that AWS IoT could not hand over. AWS IoT's error message has no `principal()`, so nothing in it
   proves whose request it was. Its client gets an answer that asks it to repeat the request.
3. A message of our own from another queue. It is sent to that queue again.

A message is deleted when it has been handled. A crash before the deletion repeats the handling, which is
harmless.
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
        """Return about how many messages there are."""

    def receive(self) -> list[Letter]:
        """Return some messages, hidden from other receivers for a minute; none if there are none."""

    def give_back(self, body: str) -> bool:
        """Send a message to the queue that it came from; return False if it came from none."""

    def delete(self, letter: Letter) -> None:
        """Delete a received message."""


class Functions(Protocol):
    """The Lambda functions that may be invoked again."""

    def again(self, failed: Failed) -> None:
        """Invoke a function with its failed request, without waiting for the result. Raises Unavailable."""


@dataclass(frozen=True)
class Failures:
    """The operations on dead-letter queues, which have names.

    `publish` sends an answer's members to a topic. Every method raises Unavailable when AWS does not answer.
    """

    queues: Mapping[str, DeadLetters]
    functions: Functions
    publish: Callable[[str, Json], None]
    audit: Audit

    def show(self, _: NoMembers, __: datetime) -> Json:
        """Return how many messages each dead-letter queue holds."""
        return {"failures": {name: queue.waiting() for name, queue in self.queues.items()}}

    def redrive(self, parameters: RedriveFailures, now: datetime) -> Json:
        """Handle a batch of messages of a dead-letter queue, and return how many there were.

        0 means that none are left. Raises MalformedRequest for an unknown queue.
        """
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
    """Return the request that a dead-letter message is about.

    None for a message about a connection, which the next connection makes superfluous, and for a message that
    can't be read.

    Lambda developer guide, "Capturing records of asynchronous invocations"; AWS IoT developer guide, "Error
    handling (error action)", message format.
    """
    match _json(body):
        case {"requestContext": {"functionArn": str(arn)}, "requestPayload": dict(event)}:
            # Lambda's record has the qualified ARN, but the role's permission is for the function.
            return Failed(arn.removesuffix(":$LATEST"), event)
        case {"topic": str(topic), "clientId": str(client_id)}:
            # The topic must be the client's own: the answer must not go to another client.
            for call in topics.CALLS:
                if topic == call.request_topic(client_id):
                    return Lost(call, client_id)
    return None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
