"""The service policies: Firstboot's own AWS IoT policies, which let a client make its calls under any rules.

There is one for current operational certificates, one for superseded ones, one for bootstrap certificates of
a single device and one for claim certificates. They name the client by policy variables, so that each
document serves every client of its kind.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from firstboot.domain import topics
from firstboot.domain.names import RESERVED_PREFIX
from firstboot.policy.render import THING_NAME, VERSION, Place

CLIENT_ID = "${iot:ClientId}"
COMMON_NAME = "${iot:Certificate.Subject.CommonName}"


class ServicePolicy(StrEnum):
    """A service policy. The value is the part of its name after the stack's name and a dash."""

    DEVICE = "device"
    SUPERSEDED = "superseded"
    BOOTSTRAP = "bootstrap"
    CLAIM = "claim"

    def policy_name(self, stack: str) -> str:
        """Return the policy's name in AWS IoT."""
        return f"{stack}-{self}"

    def document(self, place: Place) -> dict[str, Any]:
        """Return the policy document.

        A bootstrap certificate may ask for a certificate and nothing else, because it may have been copied at
        the factory. The same holds for a superseded certificate: it can take over its device's client id, and
        must not receive the credentials that the current certificate asks for. The sweep makes the policies
        and brings them up to date.
        """
        if self is ServicePolicy.DEVICE:
            # The six topics of all answers do not fit into a policy, so a wildcard stands for the call.
            answers = [f"{topics.ROOT}/{THING_NAME}/*/{answer}" for answer in ("accepted", "rejected")]
            return _document(THING_NAME, THING_NAME, topics.CALLS, answers, place)
        if self is ServicePolicy.SUPERSEDED:
            answers = topics.CERTIFICATES.answer_topics(THING_NAME)
            return _document(THING_NAME, THING_NAME, (topics.CERTIFICATES,), answers, place)
        # The broker takes the common name from the certificate, so a client cannot choose another device's.
        # A claim certificate does not name its device, so there only the prefix is fixed.
        segment = COMMON_NAME if self is ServicePolicy.BOOTSTRAP else CLIENT_ID
        client = COMMON_NAME if self is ServicePolicy.BOOTSTRAP else f"{RESERVED_PREFIX}*"
        answers = topics.CERTIFICATES.answer_topics(segment)
        return _document(client, segment, (topics.CERTIFICATES,), answers, place)


def grant_policy_name(stack: str, grant: str) -> str:
    """Return the name of a grant's policy in AWS IoT."""
    return f"{stack}-grant-{grant}"


def _document(
    client: str, segment: str, calls: tuple[topics.Call, ...], answers: list[str], place: Place
) -> dict[str, Any]:
    requests = [call.request_topic(segment) for call in calls]
    return {
        "Version": VERSION,
        "Statement": [
            _allow("iot:Connect", [f"client/{client}"], place),
            _allow("iot:Publish", [f"topic/{topic}" for topic in requests], place),
            _allow("iot:Receive", [f"topic/{topic}" for topic in answers], place),
            _allow("iot:Subscribe", [f"topicfilter/{topic}" for topic in answers], place),
        ],
    }


def _allow(action: str, resources: list[str], place: Place) -> dict[str, Any]:
    arn = f"arn:{place.partition}:iot:{place.region}:{place.account}"
    return {"Effect": "Allow", "Action": action, "Resource": [f"{arn}:{each}" for each in resources]}
