"""Check that a device's group allows the way in which the device asks."""

from __future__ import annotations

from firstboot.domain.fleet import Group
from firstboot.domain.ways import DEFAULT, Way
from firstboot.identity.errors import WayNotAllowed


def check_way(way: Way | None, group: Group | None) -> None:
    """Refuse a way that the device's group does not name. None is no request, and is not refused.

    Call it only after the certificate was verified: the refusal shows that a device exists. `group` is None
    if the fleet has lost the device's group, and then the default ways are allowed.
    Raises WayNotAllowed.
    """
    if way and way not in (group.ways if group else DEFAULT):
        name = group.name if group else "(none)"
        raise WayNotAllowed(f"The way {way} is closed for this device", log=f"{way} is no way of {name}")
