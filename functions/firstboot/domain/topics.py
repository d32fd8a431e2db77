"""The MQTT topics `firstboot/{clientId}/…`. Each call has a topic for requests and two for answers.

The second segment of every topic is the client's id. So one policy variable restricts each client to its own
topics, and one comparison in a topic rule does the same for the requests that reach a Lambda function.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.names import TOPIC_ROOT

ROOT = TOPIC_ROOT

STALE_SECONDS = 120
"""After this time a request or an answer is dropped, because its client has repeated the request."""


@dataclass(frozen=True)
class Call:
    """A call: the parts of its topics below the client's segment, and the QoS of its answers."""

    request: str
    answer: str
    answer_qos: int = 1

    def request_topic(self, client_id: str) -> str:
        """Return the topic to which the client publishes its request."""
        return f"{ROOT}/{client_id}/{self.request}"

    def accepted_topic(self, client_id: str) -> str:
        """Return the topic on which the client receives the answer."""
        return f"{ROOT}/{client_id}/{self.answer}/accepted"

    def rejected_topic(self, client_id: str) -> str:
        """Return the topic on which the client receives a problem instead of the answer."""
        return f"{ROOT}/{client_id}/{self.answer}/rejected"

    def answer_topics(self, client_id: str) -> list[str]:
        """Return the topics of the answer and of the problem."""
        return [self.accepted_topic(client_id), self.rejected_topic(client_id)]


CERTIFICATES = Call("certificates/request", "certificates")
COMMIT = Call("certificates/commit", "certificates/commit")
# AWS IoT stores a QoS 1 message for a client with a persistent session that is not connected, and delivers it
# to the next connection under that client id. Credentials are for the connection that asked and no other.
CREDENTIALS = Call("credentials/request", "credentials", answer_qos=0)
CALLS = (CERTIFICATES, COMMIT, CREDENTIALS)

CONNECTED = "$aws/events/presence/connected/"
"""AWS IoT publishes here that a client connected. The client id follows (developer guide, "Lifecycle
events")."""

REGISTERED = "$aws/events/certificates/registered/"
"""AWS IoT publishes here that it registered a certificate of a known CA at its first connection; the CA's id
follows (developer guide, "Register a client certificate when the client connects")."""
