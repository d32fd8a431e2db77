"""`GET /v1/device`: what a device may know of its own record."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from firstboot.domain.clock import epoch, iso
from firstboot.identity.login import VerifiedIdentity
from firstboot.runtime.http import readiness


def record(
    identity: VerifiedIdentity, grants: list[str], now: datetime, seconds: int, *, ready: bool
) -> dict[str, Any]:
    """The 200 body; `renew` says that it is time to ask for the next certificate, `ready` that AWS
    IoT knows this one. If not, it may in `seconds`.
    """
    device = identity.device
    body: dict[str, Any] = {
        "deviceId": device.device_id,
        "group": device.group,
        "status": "active",
        "generation": device.generation,
        "certificateId": identity.certificate_id,
        "attributes": device.attributes,
        "grants": grants,
        "mqtt": readiness(device.device_id, seconds, ready=ready),
    }
    if device.active:
        body |= {
            "serial": device.active.serial,
            "notAfter": iso(device.active.not_after),
            "renewAfter": iso(device.active.renew_after),
            "renewIn": max(0, epoch(device.active.renew_after) - epoch(now)),
            "renew": now >= device.active.renew_after,
        }
    return body
