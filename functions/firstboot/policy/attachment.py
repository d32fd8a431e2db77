"""Which grants' policies a device's certificates have in AWS IoT, and whether they do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.device import Device, Status, is_within_grace
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.policy.render import Place, compact, iot_policy, is_about_iot
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.service import ServicePolicy, grant_policy_name


def grants_to_attach(rules: Rules, device: Device) -> frozenset[str]:
    """Return the grants about AWS IoT that the device holds; none if it is not enrolled or its group
    connects with tokens.
    """
    if device.status is not Status.ENROLLED or _registry_group(rules, device) is None:
        return frozenset()
    held = rules.decide(device, RequestContext()).grants
    return frozenset(grant for grant in held if is_about_iot(rules.fleet, grant))


def policies_to_attach(fleet: Fleet, grants: Iterable[str], stack: str, place: Place) -> dict[str, str]:
    """Return the policies of a device's certificate, name to document (compact JSON): those of its grants,
    and the service policy.
    """
    service = ServicePolicy.DEVICE
    documents = {service.policy_name(stack): compact(service.document(place))}
    for grant in sorted(grants):
        document = iot_policy(fleet, grant, place)
        if document:
            documents[grant_policy_name(stack, grant)] = document
    return documents


def needs_reconciling(rules: Rules, device: Device, now: datetime) -> bool:
    """Tell whether AWS IoT, as the record describes it, is not what `rules` require at `now`: it lacks a
    certificate that is in use, has other policies, or has a certificate ACTIVE that may no longer be.

    A certificate that is only pending says nothing here: its arrival in S3 does.
    """
    match device.status:
        case Status.EXPECTED:
            return False
        case Status.REVOKED:
            return bool(device.registered)
        case Status.DELETED:
            return True
    group = _registry_group(rules, device)
    if group is None:
        return bool(device.registered)
    if _is_missing(device) or not device.registered:
        return _is_missing(device)
    return _has_stale(device, group, now) or device.attached != grants_to_attach(rules, device)


@dataclass(frozen=True)
class Found:
    """What a page of device records showed.

    `scanned` is how many devices it holds, `needing` are those that AWS IoT must be reconciled for,
    `following` is where the next page starts (None: this was the last).
    """

    scanned: int
    needing: tuple[DeviceId, ...]
    following: str | None


def look(rules: Rules, devices: list[Device], following: str | None, now: datetime) -> Found:
    """Find the devices of a page that AWS IoT must be reconciled for under `rules` at `now`."""
    needing = tuple(each.device_id for each in devices if needs_reconciling(rules, each, now))
    return Found(len(devices), needing, following)


def _is_missing(device: Device) -> bool:
    """Tell whether the certificate in use could be in the AWS IoT registry and is not there."""
    known = device.active is None or device.active.certificate_id in device.registered
    return not known and is_thing_name(device.device_id)


def _registry_group(rules: Rules, device: Device) -> Group | None:
    """Return the device's group if its devices connect with certificates in the AWS IoT registry."""
    group = rules.fleet.groups.get(device.group)
    return group if group and group.mqtt == "registry" else None


def _has_stale(device: Device, group: Group, now: datetime) -> bool:
    """Tell whether a certificate is ACTIVE in AWS IoT that is neither active, nor pending, nor superseded
    and within its grace. The record does not hold a pending certificate's id, so one id may be unknown.
    """
    rightful = {device.active.certificate_id} if device.active else set()
    old = device.superseded
    if old and is_within_grace(old, group.certificate.grace, now):
        rightful.add(old.certificate_id)
    elif old and old.certificate_id in device.registered:
        return True
    return len(device.registered - rightful) > (1 if device.pending else 0)
