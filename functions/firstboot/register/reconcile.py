"""Reconcile: bring the AWS IoT registry to the state that a device record describes.

1. Read the record. Current certificates are pending or active, and issued. A superseded certificate may only
   ask for its successor, within its group's grace. All others are over.
2. Deactivate certificates that are over and restrict superseded ones before granting anything new.
3. Create or update the thing: its type, attributes and group.
4. Before the first certificate of a device, write its thing's shadow, so that the device finds its group's
   configuration there.
5. Register new certificates as INACTIVE and attach them to the thing. Every current certificate gets the
   policies of the device's grants.
6. Read the record again. New certificates become ACTIVE only if it has not changed.
7. Note in the record what was done, on the condition that the record is as it was read. Otherwise start
   again, so that a device that was revoked or deleted in the meantime loses its rights at once (withdraw.py).

Every step may be repeated: after any failure, handling the same message again ends in the same state. The
device's security depends on the order of these calls, so tests assert the order with the real adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509

from firstboot.domain.aws_iot import CertificateStatus
from firstboot.domain.device import Device, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.pki import chain
from firstboot.policy.attachment import (
    asking,
    grants_to_attach,
    note_of,
    policies_of_superseded,
    policies_to_attach,
)
from firstboot.policy.limits import thing_attributes
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.register.messages import Order
from firstboot.register.turns import Turn
from firstboot.register.withdraw import NONE, Outcome, Withdraw

_ATTEMPTS = 3
"""How often the record may change during a reconciliation before the message has to be delivered again."""


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str]) -> bool:
        """Write the reconciled state if the record still is as it was `read`, and return whether it was.

        Of two processes that work on one device, the one that read the older record gets False and starts
        again.
        """


class IssuedCertificates(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""


class Things(Protocol):
    """The things of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str]) -> None:
        """Create or update the thing, in its group and no other of ours, with exactly these attributes."""

    def begin_shadow(self, device_id: DeviceId, desired: dict[str, Any]) -> None:
        """Write the thing's first shadow. An existing shadow is left alone."""

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """Return the ids of all certificates attached to the thing, ours or not; none without a thing."""

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Attach a certificate to the thing."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def register(self, leaf: x509.Certificate) -> None:
        """Register a certificate as INACTIVE."""

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Attach exactly these of our policies (name to JSON). Policies of others stay.

        Surplus policies are detached before missing ones are attached. A policy that AWS IoT lacks is
        created. Raises PoliciesTooLarge.
        """

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Set a certificate's status."""


@dataclass(frozen=True)
class Account:
    """The place of AWS IoT, and the stack's name, with which our names in it begin."""

    stack: str
    place: Place


@dataclass(frozen=True)
class _Target:
    """The state that AWS IoT is to have for an enrolled device.

    `current` are its certificates by id, of which `fresh` are not ACTIVE yet. `asking` are certificates that
    may only ask for their successor. The current ones get `policies` (name to document), the asking ones
    `service`. `retired` are over. The record notes `attached`.
    """

    group: Group | None
    current: dict[str, x509.Certificate]
    fresh: frozenset[str]
    asking: frozenset[str]
    retired: frozenset[str]
    attached: frozenset[str]
    policies: dict[str, str]
    service: dict[str, str]

    @property
    def registered(self) -> frozenset[str]:
        """Return the ids of all certificates that are ACTIVE at the end."""
        return frozenset(self.current) | self.asking


@dataclass(frozen=True)
class Reconcile:
    """The use case that brings AWS IoT to the state that a device's record describes."""

    account: Account
    records: Records
    store: IssuedCertificates
    things: Things
    certificates: Certificates
    withdraw: Withdraw

    def __call__(self, order: Order, rules: Rules, turn: Turn, now: datetime) -> Outcome:
        """Reconcile AWS IoT with the record of a device, and return what was done.

        The caller has taken the first turn. It repeats the order after a failure. Raises PoliciesTooLarge,
        Unavailable.
        """
        device_id = order.device_id
        if not is_thing_name(device_id):
            # AWS IoT takes no dot in a thing's name, and a changed name would not be the MQTT client id. Such
            # a device has HTTPS only.
            return Outcome(unnamed=True)
        before = None
        for _ in range(_ATTEMPTS):
            device = self.records.device(device_id) or _gone(before)  # 1
            if device is None:
                return Outcome()
            outcome = self._follow(device, rules, now)
            if outcome is not None:
                return outcome
            before = device
        raise Unavailable(log="the device record changed during every attempt to reconcile it")

    def _follow(self, device: Device, rules: Rules, now: datetime) -> Outcome | None:
        """Return what was done, or None if the record changed in the meantime."""
        group = rules.fleet.groups.get(device.group)
        match device.status:
            case Status.EXPECTED:
                return Outcome()
            case Status.REVOKED:
                return self.withdraw.revoke(device, group)
            case Status.DELETED:
                return self.withdraw.delete(device, group)
        return self._bring(device, self._target(device, rules, now))

    def _target(self, device: Device, rules: Rules, now: datetime) -> _Target:
        group = rules.fleet.groups.get(device.group)
        # Devices of a group with mqtt = "token" have no certificates in AWS IoT, so those that are registered
        # are withdrawn.
        if group and group.mqtt != "registry":
            group = None
        there = self.things.certificates(device.device_id)
        current = self._current(device) if group else {}
        superseded = asking(device, group, now) if group else NONE
        grants = grants_to_attach(rules, device) if current else NONE
        account = self.account
        return _Target(
            group=group,
            current=current,
            # A certificate that an operator detached from its thing is registered again.
            fresh=frozenset(current) - (device.registered & there),
            asking=superseded,
            retired=self.withdraw.over(device, there, current.keys() | superseded),
            attached=note_of(grants, superseded),
            policies=policies_to_attach(rules.fleet, grants, account.stack, account.place),
            service=policies_of_superseded(account.stack, account.place),
        )

    def _current(self, device: Device) -> dict[str, x509.Certificate]:
        """Return the issued certificates that the device may log in with, by id."""
        records = [record for record in (device.active, device.pending) if record]
        chains = [self.store.get(device.device_id, record.serial) for record in records]
        leaves = [chain.parse(pem.decode()) for pem in chains if pem]
        return {chain.fingerprint(leaf): leaf for leaf in leaves}

    def _bring(self, device: Device, target: _Target) -> Outcome | None:
        device_id = device.device_id
        self.withdraw.retire(device, target.retired)  # 2
        for certificate in target.asking:
            # It may ask for its successor over MQTT as over HTTPS. It can take over the client id, and must
            # not receive what the current certificate asks for.
            self.certificates.set_policies(certificate, target.service)
        if target.group and target.current:
            self.things.ensure(device_id, device.group, thing_attributes(device.attributes))  # 3
            if target.group.configuration and not device.registered:
                self.things.begin_shadow(device_id, target.group.configuration)  # 4
        for certificate, leaf in target.current.items():  # 5
            if certificate in target.fresh:
                self.certificates.register(leaf)
                self.things.attach(device_id, certificate)
            self.certificates.set_policies(certificate, target.policies)
        if target.fresh and self.records.device(device_id) != device:  # 6
            return None
        for certificate in sorted(target.fresh):
            self.certificates.set_status(certificate, "ACTIVE")
        if not self.records.note(device, target.registered, target.attached):  # 7
            return None
        return Outcome(activated=target.fresh, retired=target.retired)


def _gone(before: Device | None) -> Device | None:
    """Return a record that was removed during the reconciliation as a deleted one.

    Rights that this reconciliation gave must be withdrawn too.
    """
    return replace(before, status=Status.DELETED) if before else None
