"""`GET /v1/device`: a device's view of its own record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from firstboot.domain.clock import epoch, iso
from firstboot.domain.device import Attribute
from firstboot.identity.login import VerifiedIdentity
from firstboot.policy.rules import RequestContext, Rules
from firstboot.runtime.messages import Answer, Time
from firstboot.vend.waiting import Readiness


class MqttReadiness(Answer, frozen=True, kw_only=True):
    """The readiness of AWS IoT for the certificate that the request came with."""

    ready: Annotated[bool, Meta(description="Whether AWS IoT knows the certificate of this request")]
    retry_after: Annotated[int, Meta(description="Seconds after which the device asks again; 0 if ready")]


class DeviceAnswer(Answer, frozen=True, kw_only=True):
    """The parts of its record that a device may see.

    The last five members are those of its active certificate.
    """

    device_id: Annotated[str, Meta(description="The device's id")]
    group: Annotated[str, Meta(description="The device's group")]
    status: Annotated[
        Literal["active"], Meta(description="Always `active`; a revoked device gets a problem")
    ] = "active"
    generation: Annotated[int, Meta(description="How many certificates have been committed")]
    certificate_id: Annotated[str, Meta(description="The id of the certificate of this request")]
    attributes: Annotated[dict[str, Attribute], Meta(description="The attributes that the operator has set")]
    grants: Annotated[
        list[str], Meta(description="The grants that the device holds now, under any role alias or none")
    ]
    mqtt: Annotated[MqttReadiness, Meta(description="Whether AWS IoT knows the certificate of this request")]
    serial: Annotated[str, Meta(description="The active certificate's serial number, in hex")] | UnsetType = (
        UNSET
    )
    not_after: Annotated[Time, Meta(description="When the active certificate expires")] | UnsetType = UNSET
    renew_after: (
        Annotated[Time, Meta(description="When the device starts to ask for the next certificate")]
        | UnsetType
    ) = UNSET
    renew_in: (
        Annotated[int, Meta(description="Seconds until `renewAfter`; 0 if it has passed")] | UnsetType
    ) = UNSET
    renew: (
        Annotated[bool, Meta(description="Whether it is time to ask for the next certificate")] | UnsetType
    ) = UNSET


@dataclass(frozen=True)
class ShowRecord:
    """The use case that shows a device its own record."""

    readiness: Readiness

    def __call__(
        self, identity: VerifiedIdentity, source_ip: str, rules: Rules, now: datetime
    ) -> DeviceAnswer:
        """Return the record, with the grants that the device holds now over MQTT or under any role alias.

        `source_ip` is part of the request context of the rules. A device wants to know whether it may do a
        thing at all, so the grants are one list.
        """
        device = identity.device
        aliases = [None, *rules.fleet.role_aliases]
        contexts = [RequestContext(role_alias=alias, source_ip=source_ip) for alias in aliases]
        grants = {grant for context in contexts for grant in rules.decide(device, context).grants}
        answer = DeviceAnswer(
            device_id=device.device_id,
            group=rules.fleet.current_name(device.group),
            generation=device.generation,
            certificate_id=identity.certificate_id,
            attributes=device.attributes,
            grants=sorted(grants),
            mqtt=self._readiness(identity, rules, now),
        )
        if device.active is None:
            return answer
        return replace(
            answer,
            serial=device.active.serial,
            not_after=iso(device.active.not_after),
            renew_after=iso(device.active.renew_after),
            renew_in=max(0, epoch(device.active.renew_after) - epoch(now)),
            renew=now >= device.active.renew_after,
        )

    def _readiness(self, identity: VerifiedIdentity, rules: Rules, now: datetime) -> MqttReadiness:
        device = identity.device
        group = rules.fleet.group_of(device.group)
        ready = group is not None and group.is_connectable(identity.certificate_id, device.registered)
        retry_after = self.readiness.retry_in(device.device_id, now, ready=ready)
        return MqttReadiness(ready=ready, retry_after=retry_after)
