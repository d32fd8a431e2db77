"""The MQTT topics: `firstboot/{clientId}/…`, one request and two answers each. DESIGN's contract.

A client's own segment comes second everywhere, so that one policy variable, and one comparison in
a topic rule, keeps every client to its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.names import TOPIC_ROOT

ROOT = TOPIC_ROOT


@dataclass(frozen=True)
class Call:
    """A request and its answers, below the client's segment."""

    request: str
    answer: str

    def request_topic(self, client_id: str) -> str:
        """Where the client publishes."""
        return f"{ROOT}/{client_id}/{self.request}"

    def accepted_topic(self, client_id: str) -> str:
        """Where the client hears the answer."""
        return f"{ROOT}/{client_id}/{self.answer}/accepted"

    def rejected_topic(self, client_id: str) -> str:
        """Where the client hears the problem."""
        return f"{ROOT}/{client_id}/{self.answer}/rejected"

    def answer_topics(self, client_id: str) -> list[str]:
        """Both answers' topics."""
        return [self.accepted_topic(client_id), self.rejected_topic(client_id)]


CERTIFICATES = Call("certificates/request", "certificates")
COMMIT = Call("certificates/commit", "certificates/commit")
CREDENTIALS = Call("credentials/request", "credentials")
CALLS = (CERTIFICATES, COMMIT, CREDENTIALS)

CONNECTED = "$aws/events/presence/connected/"
"""AWS IoT says here who connected; the client id follows (developer guide, "Lifecycle events")."""

REGISTERED = "$aws/events/certificates/registered/"
"""AWS IoT says here that a certificate of a registered CA came for the first time; the CA's id
follows (developer guide, "Register a client certificate when the client connects")."""
