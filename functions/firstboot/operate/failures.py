"""The operator's calls about dead-letter queues.

A dead-letter queue holds one of two kinds of messages:

1. Requests of devices on which a Lambda function failed, or which AWS IoT could not hand over. They are
   shown and deleted. They are never handled again: AWS IoT verified the certificate of the connection, and a
   letter proves nothing of that. A forged letter would enroll the device of its writer. Devices repeat their
   requests themselves.
2. Messages of our own from another queue. They can be sent to that queue again, whose reader takes only an id
   from the message and looks up all else.

A message is deleted when it was sent again. A crash before the deletion repeats the sending, which is
harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.dead_letters import Letter
from firstboot.domain.errors import Unavailable
from firstboot.operate.audit import Audit
from firstboot.operate.letters import described
from firstboot.operate.requests import OneKindOfFailures, ShowFailures
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json

MOST_SHOWN = 50
"""Letters in an answer of `show`."""

_SHOWN_SECONDS = 5
"""For how long a shown letter is hidden, so that one call does not receive it twice."""

_HANDLED_SECONDS = 60
"""For how long a letter is hidden that is to be deleted or sent again."""


class DeadLetters(Protocol):
    """A dead-letter queue. Every method raises Unavailable when AWS does not answer."""

    @property
    def is_ours(self) -> bool:
        """Return whether its messages are our own, from another queue."""

    def waiting(self) -> int:
        """Return about how many messages there are."""

    def receive(self, seconds: int) -> list[Letter]:
        """Return some messages, hidden from other receivers for `seconds`; none if there are none."""

    def give_back(self, letter: Letter) -> None:
        """Send a message to the queue that it came from."""

    def delete(self, letter: Letter) -> None:
        """Delete a received message."""


@dataclass(frozen=True)
class Failures:
    """The operations on dead-letter queues, which have names.

    Every method raises Unavailable when AWS does not answer.
    """

    queues: Mapping[str, DeadLetters]
    audit: Audit

    def show(self, parameters: ShowFailures, _: datetime) -> Json:
        """Return how many messages each dead-letter queue holds, or the messages of one queue.

        Raises MalformedRequest for an unknown queue.
        """
        name = parameters.failures
        if name is None:
            return {"failures": {each: queue.waiting() for each, queue in self.queues.items()}}
        queue = self._queue(name)
        letters: list[Letter] = []
        while len(letters) < MOST_SHOWN and (received := queue.receive(_SHOWN_SECONDS)):
            letters += received
        # Counted last, because SQS's count is late for messages that have just come.
        waiting = max(queue.waiting(), len(letters))
        shown = [described(each) for each in sorted(letters[:MOST_SHOWN], key=lambda each: each.sent_at)]
        return {"failures": name, "waiting": waiting, "letters": shown}

    def delete(self, parameters: OneKindOfFailures, _: datetime) -> Json:
        """Delete a batch of messages of a dead-letter queue, and return how many there were.

        0 means that none are left. Raises MalformedRequest for an unknown queue.
        """
        name = parameters.failures
        queue = self._queue(name)
        received = queue.receive(_HANDLED_SECONDS)
        for letter in received:
            queue.delete(letter)
        if received:
            self.audit("FailuresDeleted", failures=name, letters=len(received))
        return {"deleted": len(received)}

    def redrive(self, parameters: OneKindOfFailures, _: datetime) -> Json:
        """Send a batch of messages of our own to their queue again.

        Return how many were sent and how many were not. The latter stay among the dead letters, hidden for a
        minute. Two zeros mean that none are left. Raises MalformedRequest for an unknown queue and for one of
        device requests.
        """
        name = parameters.failures
        queue = self._queue(name)
        if not queue.is_ours:
            raise MalformedRequest(
                f"`{name}` can't be redriven: nothing in a letter proves which device sent the request. "
                "Devices repeat their requests; delete the letters"
            )
        received = queue.receive(_HANDLED_SECONDS)
        redriven = sum(self._again(name, queue, letter) for letter in received)
        if redriven:
            self.audit("FailuresRedriven", failures=name, letters=redriven)
        return {"redriven": redriven, "failed": len(received) - redriven}

    def _again(self, name: str, queue: DeadLetters, letter: Letter) -> bool:
        """Send a message to its queue again and return whether it was sent and deleted."""
        try:
            queue.give_back(letter)
            queue.delete(letter)
        # The messages after this one do not depend on it.
        except Unavailable as error:
            self.audit.guard.warning("not redriven", failures=name, reason=error.log)
            return False
        return True

    def _queue(self, name: str) -> DeadLetters:
        if name not in self.queues:
            raise MalformedRequest(f"`failures` must be one of {', '.join(sorted(self.queues))}")
        return self.queues[name]
