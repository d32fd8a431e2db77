"""Reconcile: bring the AWS IoT registry to what a device record says.

1. The record is read. It says which certificates are current (pending or active, and issued), which
   may only ask for their successor (superseded, within the group's grace), and which are over.
2. Certificates that are over are deactivated, and superseded ones restricted, before anything new is
   granted.
3. The thing: its type, attributes and group.
4. For a device's first certificate, its shadow first: the device finds its group's configuration there.
5. New certificates are made known, INACTIVE, and attached to the thing. Every current one has the policies
   of the device's grants.
6. The record is read again. Only if it is still the same do new certificates become ACTIVE.
7. The record notes what was done, on the condition that it still is what was read. If not, all starts
   again: a device that was revoked or deleted meanwhile loses its rights at once (withdraw.py).

Every step may be repeated: after any failure, the same message again ends in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509

from firstboot.domain.aws_iot import CertificateStatus
from firstboot.domain.device import Device, Status, is_within_grace
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.pki import chain
from firstboot.policy.attachment import grants_to_attach, policies_to_attach
from firstboot.policy.limits import thing_attributes
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.register.withdraw import NONE, Outcome, Withdraw

_ATTEMPTS = 3
"""How often a record may change during a reconciliation before the message has to come again."""


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str]) -> bool:
        """Write down what AWS IoT was brought to, if the record still is as it was `read`; else False."""


class IssuedCertificates(Protocol):
    """The issued certificates."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""


class Things(Protocol):
    """The things of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str]) -> None:
        """Have the device's thing, in its group and no other of ours, with exactly these attributes."""

    def begin_shadow(self, device_id: DeviceId, desired: dict[str, Any]) -> None:
        """Give the thing its first shadow; an existing one is left alone."""

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """Return the ids of the certificates attached to the thing, ours or not; none without a thing."""

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Attach a certificate to the thing."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def register(self, leaf: x509.Certificate) -> None:
        """Make a certificate known, INACTIVE."""

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Attach exactly these of our policies (name to JSON); policies of others stay.

        Surplus policies are detached before missing ones are attached; a policy that AWS IoT lacks is made.
        Raises PoliciesTooLarge.
        """

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Set a certificate's status."""


@dataclass(frozen=True)
class Account:
    """Where AWS IoT is, and what our names in it begin with."""

    stack: str
    place: Place


@dataclass(frozen=True)
class _Target:
    """What AWS IoT is to have of an enrolled device.

    `current` are its certificates by id, of which `fresh` are not ACTIVE yet; `asking` are those that may
    only ask for their successor. The first have `policies` (name to document), the others `service`.
    `retired` are over.
    """

    group: Group | None
    current: dict[str, x509.Certificate]
    fresh: frozenset[str]
    asking: frozenset[str]
    retired: frozenset[str]
    grants: frozenset[str]
    policies: dict[str, str]
    service: dict[str, str]

    @property
    def registered(self) -> frozenset[str]:
        """All that is ACTIVE in the end."""
        return frozenset(self.current) | self.asking


@dataclass(frozen=True)
class Reconcile:
    """Bring AWS IoT to a device's record."""

    account: Account
    records: Records
    store: IssuedCertificates
    things: Things
    certificates: Certificates
    withdraw: Withdraw

    def __call__(self, device_id: DeviceId, rules: Rules, now: datetime) -> Outcome:
        """Bring AWS IoT to the record of a device.

        Raises PoliciesTooLarge, Unavailable.
        """
        if not is_thing_name(device_id):
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
        raise Unavailable(log="the record changes faster than AWS IoT can follow")

    def _follow(self, device: Device, rules: Rules, now: datetime) -> Outcome | None:
        """Return what was done; None if the record changed meanwhile."""
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
        if group and group.mqtt != "registry":
            group = None
        there = self.things.certificates(device.device_id)
        current = self._current(device) if group else {}
        asking = _asking(device, group, now) & device.registered if group else NONE
        grants = grants_to_attach(rules, device) if current else NONE
        account = self.account
        return _Target(
            group=group,
            current=current,
            # A certificate that somebody detached behind our back is registered again.
            fresh=frozenset(current) - (device.registered & there),
            asking=asking,
            retired=self.withdraw.over(device, there, current.keys() | asking),
            grants=grants,
            policies=policies_to_attach(rules.fleet, grants, account.stack, account.place),
            service=policies_to_attach(rules.fleet, NONE, account.stack, account.place),
        )

    def _current(self, device: Device) -> dict[str, x509.Certificate]:
        """Return the certificates that the device may log in with, by id: those that are issued."""
        records = [record for record in (device.active, device.pending) if record]
        chains = [self.store.get(device.device_id, record.serial) for record in records]
        leaves = [chain.parse(pem.decode()) for pem in chains if pem]
        return {chain.fingerprint(leaf): leaf for leaf in leaves}

    def _bring(self, device: Device, target: _Target) -> Outcome | None:
        device_id = device.device_id
        self.withdraw.retire(device, target.retired)  # 2
        for certificate in target.asking:
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
        if not self.records.note(device, target.registered, target.grants):  # 7
            return None
        return Outcome(activated=target.fresh, retired=target.retired)


def _gone(before: Device | None) -> Device | None:
    """Return a record that vanished during the reconciliation as deleted: what was given must go too."""
    return replace(before, status=Status.DELETED) if before else None


def _asking(device: Device, group: Group, now: datetime) -> frozenset[str]:
    """Return the superseded certificate, as long as it may ask for its successor."""
    old = device.superseded
    if old is None or old.certificate_id is None or not is_within_grace(old, group.certificate.grace, now):
        return NONE
    return frozenset({old.certificate_id})
