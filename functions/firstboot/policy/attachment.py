"""Which grants' policies a device's certificates have in AWS IoT. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from firstboot.fleet.model import Fleet
from firstboot.lifecycle import Device, Status
from firstboot.policy.render import Place, compact, iot_policy, is_about_iot
from firstboot.policy.rules import Moment, Rules
from firstboot.policy.service import ServicePolicy, grant_policy_name


def grants_to_attach(rules: Rules, device: Device) -> frozenset[str]:
    """The grants about AWS IoT that the device holds; none for one that is not enrolled, or whose
    group connects with tokens.
    """
    group = rules.fleet.groups.get(device.group)
    if device.status is not Status.ENROLLED or group is None or group.mqtt != "registry":
        return frozenset()
    held = rules.decide(device, Moment()).grants
    return frozenset(grant for grant in held if is_about_iot(rules.fleet, grant))


def policies_to_attach(fleet: Fleet, grants: Iterable[str], stack: str, place: Place) -> dict[str, str]:
    """The policies of a device's certificate, name to document (compact JSON): the grants', and the one
    that lets any device of ours ask.
    """
    service = ServicePolicy.DEVICE
    documents = {service.policy_name(stack): compact(service.document(place))}
    for grant in sorted(grants):
        document = iot_policy(fleet, grant, place)
        if document:
            documents[grant_policy_name(stack, grant)] = document
    return documents
