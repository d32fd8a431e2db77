"""Decide whether a changed device record needs a reconciliation in AWS IoT. Pure.

A first enrollment needs none here, because its certificate's arrival in S3 orders one. A first login needs
none, because the certificate has all its rights already. Each order takes a slot of the rate limiter, and
these two would double the time of a first-boot storm.
"""

from __future__ import annotations

from firstboot.domain.device import Device, Status
from firstboot.domain.rate_limiter import Priority


def reaction(old: Device | None, new: Device) -> Priority | None:
    """Return whether AWS IoT must be reconciled for a changed record, and how soon.

    `old` is the record before the change, None for a new one; `new` is the record after it.
    """
    return priority(new) if _must_follow(old, new) else None


def priority(device: Device) -> Priority:
    """Return the priority of reconciling AWS IoT with a record that has changed."""
    takes = device.status in (Status.REVOKED, Status.DELETED)
    return Priority.REVOCATION if takes else Priority.CHANGE


def _must_follow(old: Device | None, new: Device) -> bool:
    if old is None:
        # A new record with a registered certificate is an import: the certificate lacks our policies.
        return bool(new.registered)
    if new.status is Status.ENROLLED:
        return _has_moved(old, new) or _holds_otherwise(old, new)
    return new.status is not old.status and new.status is not Status.EXPECTED


def _has_moved(old: Device, new: Device) -> bool:
    """Return whether a device that has a certificate changed its group.

    The new group's certificates may have to be in AWS IoT where the old group's did not.
    """
    # `register` itself notes the new name of a renamed group, which changes no time. It has moved the thing
    # by then, and a second order for each device would double the time that a renamed group takes.
    if old.updated_at == new.updated_at:
        return False
    return old.group != new.group and bool(new.active or new.pending or new.registered)


def _holds_otherwise(old: Device, new: Device) -> bool:
    """Return whether a registered certificate may have to gain or lose rights.

    Attributes and claims feed the rules, and a superseded certificate keeps no grant.
    """
    decisive = (
        (old.attributes, new.attributes),
        (old.claims, new.claims),
        (old.superseded, new.superseded),
    )
    return bool(new.registered) and any(before != after for before, after in decisive)
