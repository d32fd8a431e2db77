"""Taking up again what could not be handled: the letters of a dead-letter queue, one by one.

A letter is one of three:
1. A request over MQTT that a Lambda took and failed on: it is handed to that Lambda again, as AWS
   IoT had handed it over. Repeating it is harmless (issuance.py).
2. A request that AWS IoT could not hand over. It does not say any more whose certificate came with
   it, and the rest proves nothing: its client is told to ask again.
3. Work of ours for another queue (`source`): it goes back there.

A letter is deleted once its part is done. A stop in between repeats one of these, all harmless.
"""

from __future__ import annotations

import json
from typing import Protocol

from firstboot.domain import topics
from firstboot.domain.dead_letters import Failed, Letter, Lost


class DeadLetters(Protocol):
    """A dead-letter queue, and where its letters go from there."""

    def receive(self) -> list[Letter]:
        """Some letters, none if there are none; held for a minute."""

    def again(self, failed: Failed) -> None:
        """Hand a request to its function, not waiting for what becomes of it."""

    def tell(self, lost: Lost) -> None:
        """Tell a client to ask again."""

    def give_back(self, body: str) -> None:
        """Send a message to the queue that it came from."""

    def delete(self, letter: Letter) -> None:
        """Forget a letter."""


def redrive(letters: DeadLetters, *, to_source: bool) -> int:
    """Take up some letters, a batch at most; how many. `to_source`: they are another queue's.

    Raises Unavailable.
    """
    received = letters.receive()
    for letter in received:
        if to_source:
            letters.give_back(letter.body)
        else:
            _take_up(understood(letter.body), letters)
        letters.delete(letter)
    return len(received)


def _take_up(what: Failed | Lost | None, letters: DeadLetters) -> None:
    match what:
        case Failed():
            letters.again(what)
        case Lost():
            letters.tell(what)


def understood(body: str) -> Failed | Lost | None:
    """What a letter about a request says; None for one about a connection, or that says nothing: the
    next connection brings the same.

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
