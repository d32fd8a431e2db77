"""What a change of a device's record means for AWS IoT. Pure.

A first enrollment asks for nothing here: its certificate's arrival in S3 does. Nor does a first login:
that certificate has all its rights already. In a first-boot storm each would take a slot of the rate limiter.
"""

from __future__ import annotations

from enum import StrEnum

from firstboot.domain.device import Device, Status


class Reaction(StrEnum):
    """Which queue the message goes to: through the rate limiter, or urgent and past it."""

    RATE_LIMITED = "rate-limited"
    URGENT = "urgent"


def reaction(old: Device | None, new: Device) -> Reaction | None:
    """Whether and how soon AWS IoT must follow a record that was `old` (None: it is new) and is `new`."""
    if old is None:
        # An imported device has a certificate there, but none of our policies.
        return Reaction.RATE_LIMITED if new.registered else None
    if new.status is not old.status and new.status is Status.REVOKED:
        return Reaction.URGENT
    if new.status is not old.status and new.status is Status.DELETED:
        return Reaction.RATE_LIMITED
    if new.status is Status.ENROLLED and (_has_moved(old, new) or _holds_otherwise(old, new)):
        return Reaction.RATE_LIMITED
    return None


def _has_moved(old: Device, new: Device) -> bool:
    """Another group may want the certificates that this one did not; they must be there, though."""
    return old.group != new.group and bool(new.active or new.pending or new.registered)


def _holds_otherwise(old: Device, new: Device) -> bool:
    """What is registered may lose or gain by it. Claims and attributes feed the rules; a superseded
    certificate keeps no grant.
    """
    decisive = (
        (old.attributes, new.attributes),
        (old.claims, new.claims),
        (old.superseded, new.superseded),
    )
    return bool(new.registered) and any(before != after for before, after in decisive)
