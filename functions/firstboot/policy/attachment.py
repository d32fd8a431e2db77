"""Which grants' policies a device's certificates have in AWS IoT, and whether they do. Pure."""

from __future__ import annotations

from firstboot.fleet.model import Group
from firstboot.lifecycle import Device, Status
from firstboot.policy.render import is_about_iot
from firstboot.policy.rules import Moment, Rules


def grants_to_attach(rules: Rules, device: Device) -> frozenset[str]:
    """The grants about AWS IoT that the device holds; none for one that is not enrolled, or whose
    group connects with tokens.
    """
    if device.status is not Status.ENROLLED or _registering(rules, device) is None:
        return frozenset()
    held = rules.decide(device, Moment()).grants
    return frozenset(grant for grant in held if is_about_iot(rules.fleet, grant))


def needs_registration(rules: Rules, device: Device, now: int) -> bool:
    """Whether AWS IoT, as the record tells it, is not what `rules` and the time (`now`, epoch
    seconds) say: other policies, or a certificate that has no right to be ACTIVE any more.

    Only of enrolled devices that have something there: the others' own changes tell of them.
    """
    if device.status is not Status.ENROLLED or not device.registered:
        return False
    group = _registering(rules, device)
    if group is None:
        return True
    return _has_stale(device, group, now) or device.attached != grants_to_attach(rules, device)


def _registering(rules: Rules, device: Device) -> Group | None:
    """The device's group, if it connects with certificates that AWS IoT knows."""
    group = rules.fleet.groups.get(device.group)
    return group if group and group.mqtt == "registry" else None


def _has_stale(device: Device, group: Group, now: int) -> bool:
    """Whether a certificate is ACTIVE that is neither active, nor pending, nor superseded and
    within its grace. A pending one's id is not in the record, so there may be one unknown.
    """
    rightful = {device.active.certificate_id} if device.active else set()
    old = device.superseded
    if old and old.superseded_at is not None and now < old.superseded_at + group.certificate.grace_seconds:
        rightful.add(old.certificate_id)
    elif old and old.certificate_id in device.registered:
        return True
    return len(device.registered - rightful) > (1 if device.pending else 0)
