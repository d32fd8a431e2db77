"""`GET /v1/sas/{hub}`: a shared access signature with which a device connects to an Azure IoT hub as itself.

The signature's resource is `{hub}/devices/{deviceId}`, and the hub lets its bearer be that device and nothing
else (Azure IoT Hub, "Control access by using shared access signatures").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Protocol

from msgspec import Meta

from firstboot.domain.clock import iso, whole_seconds
from firstboot.domain.errors import Unavailable
from firstboot.domain.hubs import HubGrant, hub_grants
from firstboot.domain.secret_keys import KeyPair
from firstboot.identity.login import VerifiedIdentity
from firstboot.pki import sas
from firstboot.policy.errors import NoGrant
from firstboot.policy.rules import RequestContext, Rules
from firstboot.runtime.messages import Answer, Time
from firstboot.vend.errors import HubNotFound


class HubKeys(Protocol):
    """The keys of IoT hubs."""

    def pair(self, name: str, now: datetime) -> KeyPair | None:
        """Return the keys of the hub with this host name, None without any. Raises Unavailable."""


class SasAnswer(Answer, frozen=True, kw_only=True):
    """A shared access signature for the device that asked, and no other device."""

    token: Annotated[str, Meta(description="The shared access signature")]
    expires_at: Annotated[Time, Meta(description="When the signature ends")]
    expires_in: Annotated[int, Meta(description="Seconds until the signature ends")]
    hub: Annotated[str, Meta(description="The hub's host name")]
    device_id: Annotated[str, Meta(description="The device's id, here and at the hub")]


@dataclass(frozen=True)
class SignForHub:
    """The use case that makes a shared access signature. Its key leaves this process in no form."""

    keys: HubKeys

    def __call__(
        self, identity: VerifiedIdentity, hub: str, source_ip: str, rules: Rules, now: datetime
    ) -> SasAnswer:
        """Return a signature for the hub, if the device holds the hub's grant now.

        `source_ip` is part of the request context of the rules. Nothing is stored, and a repeat makes another
        signature. Raises HubNotFound, NoGrant, Unavailable.
        """
        name, grant = _grant(hub, rules)
        device = identity.device
        if name not in rules.decide(device, RequestContext(source_ip=source_ip)).grants:
            raise NoGrant
        keys = self.keys.pair(grant.hub, now)
        if keys is None:
            raise Unavailable(log=f"there are no keys of the hub {grant.hub}: set them with the console")
        ends = whole_seconds(now) + timedelta(seconds=grant.seconds)
        resource = f"{grant.hub}/devices/{device.device_id}"
        return SasAnswer(
            token=sas.make(resource, keys.primary, ends, grant.policy),
            expires_at=iso(ends),
            expires_in=grant.seconds,
            hub=grant.hub,
            device_id=device.device_id,
        )


def _grant(hub: str, rules: Rules) -> tuple[str, HubGrant]:
    """Return the name and the grant of a hub. The compiler has refused a second grant of one hub.

    The name is compared with those of the fleet only, so it may be any text. Raises HubNotFound.
    """
    for name, grant in hub_grants(rules.fleet.grants).items():
        if grant.hub == hub:
            return name, grant
    raise HubNotFound
