"""The state that AWS IoT is to have for an enrolled device.

Current certificates are pending or active, and issued. A superseded certificate may only ask for its
successor, within its group's grace. All others are over.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from cryptography import x509

from firstboot.domain.device import Device
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.pki import chain
from firstboot.policy.attachment import (
    asking,
    grants_to_attach,
    note_of,
    policies_of_superseded,
    policies_to_attach,
)
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.register.outcome import NONE


class IssuedCertificates(Protocol):
    """The issued certificates."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None without one. Raises Unavailable."""


@dataclass(frozen=True)
class Account:
    """The place of AWS IoT, and the stack's name, with which our names in it begin."""

    stack: str
    place: Place


@dataclass(frozen=True)
class Target:
    """The state that AWS IoT is to have for an enrolled device.

    `issued` are its current certificates by id, of which `fresh` are not ACTIVE yet. `lost` is the active
    certificate if it is not in S3 any more; it keeps its status and follows the rules by its id. `asking` are
    certificates that may only ask for their successor. The current ones get `policies` (name to document),
    the asking ones `service`. The record notes `attached`.
    """

    group: Group | None
    issued: dict[str, x509.Certificate]
    lost: frozenset[str]
    fresh: frozenset[str]
    asking: frozenset[str]
    attached: frozenset[str]
    policies: dict[str, str]
    service: dict[str, str]

    @property
    def current(self) -> frozenset[str]:
        """Return the ids of the certificates that the device may log in with."""
        return self.lost | self.issued.keys()

    @property
    def kept(self) -> frozenset[str]:
        """Return the ids of all certificates that may be ACTIVE."""
        return self.current | self.asking

    def without(self, refused: AbstractSet[str]) -> Target:
        """Return the state in which none of the new certificates among `refused` becomes ACTIVE."""
        dropped = self.fresh & refused
        kept = {each: leaf for each, leaf in self.issued.items() if each not in dropped}
        return replace(self, issued=kept, fresh=self.fresh - dropped)

    def without_fresh(self, registered: frozenset[str]) -> Target:
        """Return the state in which no certificate beyond those `registered` is registered."""
        kept = {each: leaf for each, leaf in self.issued.items() if each not in self.fresh - registered}
        return replace(self, issued=kept, fresh=NONE)


@dataclass(frozen=True)
class Aim:
    """The decision about what AWS IoT is to have for an enrolled device."""

    account: Account
    store: IssuedCertificates

    def __call__(self, device: Device, there: AbstractSet[str], rules: Rules, now: datetime) -> Target:
        """Return the state for a device whose thing has the certificates `there`. Raises Unavailable."""
        group = rules.fleet.group_of(device.group)
        # Devices of a group with mqtt = "token" have no certificates in AWS IoT, so those that are registered
        # are withdrawn.
        if group and group.mqtt != "registry":
            group = None
        issued = self._issued(device) if group else {}
        lost = _in_use(device) - issued.keys() if group else NONE
        superseded = asking(device, group, now) if group else NONE
        grants = grants_to_attach(rules, device) if issued or lost else NONE
        account = self.account
        return Target(
            group=group,
            issued=issued,
            lost=lost,
            # A certificate that an operator detached from its thing is registered again.
            fresh=frozenset(issued) - (device.registered & there),
            asking=superseded,
            attached=note_of(grants, superseded),
            policies=policies_to_attach(rules.fleet, grants, account.stack, account.place),
            service=policies_of_superseded(account.stack, account.place),
        )

    def _issued(self, device: Device) -> dict[str, x509.Certificate]:
        """Return the issued certificates that the device may log in with, by id."""
        records = [record for record in (device.active, device.pending) if record]
        chains = [self.store.get(device.device_id, record.serial) for record in records]
        leaves = [chain.parse(pem.decode()) for pem in chains if pem]
        return {chain.fingerprint(leaf): leaf for leaf in leaves}


def _in_use(device: Device) -> frozenset[str]:
    """Return the id of the certificate that the device logs in with."""
    active = device.active
    return frozenset({active.certificate_id}) if active and active.certificate_id else NONE
