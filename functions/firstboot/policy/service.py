"""The service policies: Firstboot's own AWS IoT policies, which let a client make its calls under any rules.

There is one for current operational certificates, one for superseded ones, one for claim certificates, and
one for each place in a bootstrap certificate by which AWS IoT can name a single device. They name the client
by policy variables, so that each document serves every client of its kind. One more is for bootstrap
certificates of groups with fleet provisioning.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from firstboot.domain import topics
from firstboot.domain.fleet import Group
from firstboot.domain.names import RESERVED_PREFIX
from firstboot.policy.render import ATTACHED, THING_NAME, VERSION, Place

CLIENT_ID = "${iot:ClientId}"
COMMON_NAME = "${iot:Certificate.Subject.CommonName}"
SERIAL_NUMBER = "${iot:Certificate.Subject.SerialNumber}"
URI = "${iot:Certificate.Subject.AlternativeName.UniformResourceIdentifier}"


class ServicePolicy(StrEnum):
    """A service policy. The value is the part of its name after the stack's name and a dash."""

    DEVICE = "device"
    SUPERSEDED = "superseded"
    BOOTSTRAP = "bootstrap"
    BOOTSTRAP_SERIAL_NUMBER = "bootstrap-serialnumber"
    BOOTSTRAP_URI = "bootstrap-uri"
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
        # The broker takes the value from the certificate, so a client cannot choose another device's.
        # A claim certificate does not name its device, so there only the prefix is fixed.
        segment = _VARIABLES.get(self, CLIENT_ID)
        client = _VARIABLES.get(self, f"{RESERVED_PREFIX}*")
        answers = topics.CERTIFICATES.answer_topics(segment)
        return _document(client, segment, (topics.CERTIFICATES,), answers, place)


_VARIABLES = {
    ServicePolicy.BOOTSTRAP: COMMON_NAME,
    ServicePolicy.BOOTSTRAP_SERIAL_NUMBER: SERIAL_NUMBER,
    ServicePolicy.BOOTSTRAP_URI: URI,
}
"""AWS IoT's variables for a bootstrap certificate's fields (developer guide, "X.509 Certificate AWS IoT Core
policy variables"). Each stands for the first value, and `admission` demands that it is the only one."""

# `AlternativeName.DNSName` is not here. The id is the name in lower case, and the variable is the name as the
# certificate has it: `GW-1` could connect as another group's device of that name.
_BY_SOURCE: dict[str, ServicePolicy] = {
    "subject.CN": ServicePolicy.BOOTSTRAP,
    "subject.serialNumber": ServicePolicy.BOOTSTRAP_SERIAL_NUMBER,
    "san.uri": ServicePolicy.BOOTSTRAP_URI,
}


def bootstrap_policy(group: Group) -> ServicePolicy:
    """Return the policy of the group's bootstrap certificates.

    A claim certificate has it, and each certificate whose device AWS IoT has no variable for: the variable
    is the whole value, before a prefix or a pattern changes it.
    """
    is_changed = group.strip_prefix or group.strip_suffix or group.pattern
    return ServicePolicy.CLAIM if is_changed else _BY_SOURCE.get(group.device_id, ServicePolicy.CLAIM)


def bootstrap_client_id(group: Group, device_id: str) -> str:
    """Return the MQTT client id with which a device connects by its bootstrap certificate.

    With the policy of claim certificates it has a prefix that no thing's name has, so that its holder can't
    connect as a thing.
    """
    return device_id if bootstrap_policy(group) in _VARIABLES else f"{RESERVED_PREFIX}{device_id}"


def provisioning_policy_name(stack: str) -> str:
    """Return the name of the policy of fleet provisioning, the second one of a bootstrap certificate."""
    return f"{stack}-provisioning"


def provisioning_document(template: str, place: Place) -> dict[str, Any]:
    """Return the policy document that lets a client use AWS IoT's fleet provisioning with one template.

    AWS IoT answers a request to the client that sent it alone, and on no topic with a client's id (AWS IoT
    developer guide, "Device provisioning MQTT API"). The client may send JSON or CBOR.
    """
    # Under `$aws/` a client's own message on a topic for answers would be refused anyway, but Publish names
    # the topics of requests only.
    calls = [
        "$aws/certificates/create",
        "$aws/certificates/create-from-csr",
        f"$aws/provisioning-templates/{template}/provision",
    ]
    answers = [f"{call}/*" for call in calls]
    requests = [f"{call}/{form}" for call in calls for form in ("json", "cbor")]
    return {
        "Version": VERSION,
        "Statement": [
            _allow("iot:Publish", [f"topic/{topic}" for topic in requests], place),
            _allow("iot:Receive", [f"topic/{topic}" for topic in answers], place),
            _allow("iot:Subscribe", [f"topicfilter/{topic}" for topic in answers], place),
        ],
    }


def grant_policy_name(stack: str, grant: str) -> str:
    """Return the name of a grant's policy in AWS IoT."""
    return f"{stack}-grant-{grant}"


def _document(
    client: str, segment: str, calls: tuple[topics.Call, ...], answers: list[str], place: Place
) -> dict[str, Any]:
    requests = [call.request_topic(segment) for call in calls]
    connect = _allow("iot:Connect", [f"client/{client}"], place)
    if client == THING_NAME:
        connect["Condition"] = ATTACHED
    return {
        "Version": VERSION,
        "Statement": [
            connect,
            _allow("iot:Publish", [f"topic/{topic}" for topic in requests], place),
            _allow("iot:Receive", [f"topic/{topic}" for topic in answers], place),
            _allow("iot:Subscribe", [f"topicfilter/{topic}" for topic in answers], place),
        ],
    }


def _allow(action: str, resources: list[str], place: Place) -> dict[str, Any]:
    arn = f"arn:{place.partition}:iot:{place.region}:{place.account}"
    return {"Effect": "Allow", "Action": action, "Resource": [f"{arn}:{each}" for each in resources]}
