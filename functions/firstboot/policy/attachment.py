"""Decide which policies a device's certificates must have in AWS IoT, and whether AWS IoT must be reconciled.

Only the device record is read, not AWS IoT: two calls a device, at ten calls a second, would take 55 hours
for a million devices.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from firstboot.domain.device import Device, Status, is_within_grace
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import is_thing_name
from firstboot.policy.render import Place, compact, iot_policy, is_about_iot
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.service import ServicePolicy, grant_policy_name


def grants_to_attach(rules: Rules, device: Device) -> frozenset[str]:
    """Return the grants about AWS IoT that the device holds.

    There are none if the device is not enrolled, or if its group connects with tokens.
    """
    if device.status is not Status.ENROLLED or _registry_group(rules, device) is None:
        return frozenset()
    held = rules.decide(device, RequestContext()).grants
    return frozenset(grant for grant in held if is_about_iot(rules.fleet, grant))


def policies_to_attach(fleet: Fleet, grants: Iterable[str], stack: str, place: Place) -> dict[str, str]:
    """Return the policies of a device's certificate: each name with its document (compact JSON).

    They are the policies of its grants, and the service policy.
    """
    service = ServicePolicy.DEVICE
    documents = {service.policy_name(stack): compact(service.document(place))}
    for grant in sorted(grants):
        document = iot_policy(fleet, grant, place)
        if document:
            documents[grant_policy_name(stack, grant)] = document
    return documents


def policies_of_superseded(stack: str, place: Place) -> dict[str, str]:
    """Return the policy of a superseded certificate that may ask for its successor: its name and document."""
    policy = ServicePolicy.SUPERSEDED
    return {policy.policy_name(stack): compact(policy.document(place))}


def asking(device: Device, group: Group, now: datetime) -> frozenset[str]:
    """Return the id of the superseded certificate while AWS IoT has it and it may ask for its successor."""
    old = device.superseded
    if old is None or old.certificate_id is None or not is_within_grace(old, group.certificate.grace, now):
        return frozenset()
    return frozenset({old.certificate_id}) & device.registered


def note_of(grants: Iterable[str], superseded: Iterable[str]) -> frozenset[str]:
    """Return what a device record notes as attached: grants, and superseded certificates with their policy.

    An older version left the device's policy on a superseded certificate and noted only grants, so the sweep
    finds such a device by this note.
    """
    # No name of a policy has a colon, and so no grant's.
    return frozenset(grants) | {f"{ServicePolicy.SUPERSEDED}:{certificate}" for certificate in superseded}


def needs_reconciling(rules: Rules, device: Device, now: datetime) -> bool:
    """Return whether AWS IoT, as the record notes it, differs from what `rules` require at `now`.

    It differs if a certificate in use is missing, if the policies are others, if a certificate is ACTIVE
    that no longer may be, or if the record has a former name of the group. A pending certificate does not
    count, since its arrival in S3 already orders the device to be reconciled: a second order would take
    another slot of the rate limiter.
    """
    match device.status:
        case Status.EXPECTED:
            return False
        case Status.REVOKED:
            return bool(device.registered)
        case Status.DELETED:
            return True
    # `register` moves the thing of a renamed group, and notes the new name in the record.
    return rules.fleet.current_name(device.group) != device.group or _differs(rules, device, now)


def _differs(rules: Rules, device: Device, now: datetime) -> bool:
    """Return whether AWS IoT must be reconciled for an enrolled device."""
    group = _registry_group(rules, device)
    if group is None:
        return bool(device.registered)
    if _is_missing(device) or not device.registered:
        return _is_missing(device)
    due = note_of(grants_to_attach(rules, device), asking(device, group, now))
    return _has_stale(device, group, now) or device.attached != due


def _is_missing(device: Device) -> bool:
    """Return whether the certificate in use should be in the AWS IoT registry and is not."""
    known = device.active is None or device.active.certificate_id in device.registered
    return not known and is_thing_name(device.device_id)


def _registry_group(rules: Rules, device: Device) -> Group | None:
    """Return the device's group if its devices connect with registered certificates, else None."""
    group = rules.fleet.group_of(device.group)
    return group if group and group.mqtt == "registry" else None


def _has_stale(device: Device, group: Group, now: datetime) -> bool:
    """Return whether a certificate is ACTIVE in AWS IoT that may not be.

    Active and pending certificates may be, and a superseded one within its grace.
    """
    kept = asking(device, group, now)
    old = device.superseded
    if old and old.certificate_id in device.registered - kept:
        return True
    rightful = kept | ({device.active.certificate_id} if device.active else frozenset())
    # The record has no id for a pending certificate, so one unknown id may be the pending certificate's.
    return len(device.registered - rightful) > (1 if device.pending else 0)
