"""Reconcile: bring the AWS IoT registry to the state that a device record describes.

1. Read the record and the thing's certificates, and decide which certificates are current, which may only ask
   for their successor, and which are over (target.py).
2. Deactivate certificates that are over and restrict superseded ones before granting anything new.
3. Create or update the thing: its type, attributes and group. If the thing of this name is another's, no
   certificate is registered, and those that are registered only follow the rules.
4. Before the first certificate of a device, write its thing's shadow, so that the device finds its group's
   configuration there.
5. Register new certificates as INACTIVE and attach them to the thing. Every current certificate gets the
   policies of the device's grants.
6. Note in the record that the new certificates are about to become ACTIVE, on the condition that the record
   is as it was read. From here on every process finds them, so only then they become ACTIVE.
7. Note in the record what was done, on the same condition. Otherwise start again, so that a device that was
   revoked or deleted in the meantime loses its rights at once (withdraw.py).

Every step may be repeated: after any failure, handling the same message again ends in the same state. The
device's security depends on the order of these calls, so tests assert the order with the real adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from cryptography import x509

from firstboot.domain.aws_iot import CertificateStatus
from firstboot.domain.clock import epoch
from firstboot.domain.device import Device, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.policy.errors import PoliciesTooLarge
from firstboot.policy.limits import thing_attributes
from firstboot.policy.rules import Rules
from firstboot.register.deletion import Deletion
from firstboot.register.messages import Order
from firstboot.register.outcome import Outcome, RecordChanged, Writes
from firstboot.register.slots import TakeSlot
from firstboot.register.target import Aim, Target
from firstboot.register.withdraw import Withdraw

_ATTEMPTS = 3
"""How often the record may change during a reconciliation before the message has to be delivered again."""


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def intend(self, read: Device, activating: frozenset[str]) -> bool:
        """Write that certificates are about to become ACTIVE if the record still is as it was `read`.

        Return whether it was.
        """

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str], group: str) -> bool:
        """Write the reconciled state if the record still is as it was `read`, and return whether it was.

        `group` is the current name of the device's group.

        Of two processes that work on one device, the one that read the older record gets False and starts
        again.
        """


class Things(Protocol):
    """The things of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str], *, imported: bool) -> bool:
        """Create or update the thing, in its group and no other of ours, with exactly these attributes.

        Return False if the thing is another's, or can be in no further group.
        """

    def begin_shadow(self, device_id: DeviceId, desired: dict[str, Any]) -> None:
        """Write the thing's first shadow. An existing shadow is left alone."""

    def principals(self, device_id: DeviceId) -> frozenset[str]:
        """Return what is attached to the thing, certificates by id, ours or not; nothing without a thing."""

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Attach a certificate to the thing."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method may be repeated, and raises Unavailable."""

    def register(self, leaf: x509.Certificate) -> None:
        """Register a certificate as INACTIVE.

        Raises InternalError if AWS IoT has it under another id than its SHA-256.
        """

    def set_policies(self, certificate_id: str, documents: dict[str, str], write: Callable[[], None]) -> None:
        """Attach exactly these of our policies (name to JSON). Policies of others stay.

        `write` is called before the first change. Surplus policies are detached before missing ones are
        attached. A policy that AWS IoT lacks is Unavailable. Raises PoliciesTooLarge.
        """

    def set_status(self, certificate_id: str, status: CertificateStatus) -> bool:
        """Set a certificate's status."""


@dataclass(frozen=True)
class Reconcile:
    """The use case that brings AWS IoT to the state that a device's record describes."""

    records: Records
    things: Things
    certificates: Certificates
    aim: Aim
    withdraw: Withdraw
    deletion: Deletion

    def __call__(self, order: Order, rules: Rules, take_slot: TakeSlot, now: datetime) -> Outcome:
        """Reconcile AWS IoT with the record of a device, and return what was done.

        The caller has taken the first turn. It repeats the order after a failure. Raises Unavailable.
        """
        writes = Writes(take_slot)
        for _ in range(_ATTEMPTS):
            device = self.records.device(order.device_id)  # 1
            with suppress(RecordChanged):
                if device and device.status is Status.ENROLLED:
                    return self._bring(device, rules, writes, now)
                return self._end(order, device, rules.fleet, writes)
        raise Unavailable(log="the device record changed during every attempt to reconcile it")

    def _end(self, order: Order, device: Device | None, fleet: Fleet, writes: Writes) -> Outcome:
        """Withdraw a device that is not enrolled. Raises RecordChanged, Unavailable."""
        life = _life(device)
        after = _continued(order.after, life)
        if device is None or device.status is Status.EXPECTED:
            outcome = self.deletion.clear(order.device_id, after, writes)
        else:
            revoked = device.status is Status.REVOKED
            end = self.withdraw.revoke if revoked else self.deletion
            outcome = end(device, fleet.group_of(device.group), after, writes)
        return replace(outcome, rest=outcome.rest and f"{life}/{outcome.rest}")

    def _bring(self, device: Device, rules: Rules, writes: Writes, now: datetime) -> Outcome:
        device_id = device.device_id
        if not is_thing_name(device_id):
            # AWS IoT takes no dot in a thing's name, and a changed name would not be the MQTT client id. Such
            # a device has HTTPS only.
            if rules.fleet.current_name(device.group) != device.group:
                self._note(device, device.registered, device.attached, rules.fleet)
            return Outcome(unnamed=True)
        there = self.things.principals(device_id)
        target = self.aim(device, there, rules, now)
        excess: dict[str, str] = {}
        retired = self._restrict(device, target, there, writes, excess)  # 2
        clash = bool(target.group and target.current) and not self._is_ensured(device, target)  # 3, 4
        if clash:
            target = target.without_fresh(device.registered)
        self._grant(device, target, there, writes, excess)  # 5
        target = target.without(excess.keys())
        device = self._activate(device, target)  # 6
        registered = (target.kept & device.registered) | target.fresh
        # With the old note, the sweep orders the device again every day until its policies fit.
        attached = device.attached if excess else target.attached
        self._note(device, registered, attached, rules.fleet)  # 7
        return Outcome(
            activated=target.fresh,
            retired=retired,
            clash=clash,
            lost=target.lost,
            excess=tuple(f"{each}: {reason}" for each, reason in sorted(excess.items())),
        )

    def _note(
        self, device: Device, registered: frozenset[str], attached: frozenset[str], fleet: Fleet
    ) -> None:
        """Note in the record what was done, and its group's current name. Raises RecordChanged."""
        # Once no record has a former name of the group, the fleet definition can leave that name out.
        if not self.records.note(device, registered, attached, fleet.current_name(device.group)):
            raise RecordChanged

    def _restrict(
        self,
        device: Device,
        target: Target,
        there: frozenset[str],
        writes: Writes,
        excess: dict[str, str],
    ) -> frozenset[str]:
        """Withdraw certificates that are over, and return them; take the grants of superseded ones."""
        over = self.withdraw.over(device, there, target.kept)
        doubtful = device.activating - target.kept
        retired = over - doubtful
        self.withdraw.retire(device, retired, writes)
        self.withdraw.discard(device, doubtful, writes)
        for certificate in sorted(target.asking):
            # It may ask for its successor over MQTT as over HTTPS. It can take over the client id, and must
            # not receive what the current certificate asks for.
            self._set_policies(certificate, target.service, writes, excess)
        return retired

    def _is_ensured(self, device: Device, target: Target) -> bool:
        """Create or update the thing, and begin its shadow; return False if it can't be the device's."""
        attributes = thing_attributes(device.attributes)
        group = target.group.name if target.group else device.group
        if not self.things.ensure(device.device_id, group, attributes, imported=device.imported):
            return False
        if target.group and target.group.configuration and not device.registered:
            self.things.begin_shadow(device.device_id, target.group.configuration)
        return True

    def _grant(
        self,
        device: Device,
        target: Target,
        there: frozenset[str],
        writes: Writes,
        excess: dict[str, str],
    ) -> None:
        """Register new certificates, and give every current one its policies."""
        for certificate, leaf in target.issued.items():
            if certificate in target.fresh:
                writes.to(certificate)
                self.certificates.register(leaf)
                self.things.attach(device.device_id, certificate)
            self._set_policies(certificate, target.policies, writes, excess)
        # Without its object a certificate can't be registered. One that is registered is in use.
        for certificate in sorted(target.lost & (device.registered | there)):
            self._set_policies(certificate, target.policies, writes, excess)

    def _set_policies(
        self, certificate: str, policies: dict[str, str], writes: Writes, excess: dict[str, str]
    ) -> None:
        """Set a certificate's policies, or note in `excess` why it can't have them.

        A repeat would fail as well, so the order goes on with the other certificates, which may have rights
        to lose.
        """
        try:
            self.certificates.set_policies(certificate, policies, partial(writes.to, certificate))
        except PoliciesTooLarge as error:
            excess[certificate] = error.log

    def _activate(self, device: Device, target: Target) -> Device:
        """Set the new certificates to ACTIVE, and return the record as it is now. Raises RecordChanged."""
        if not target.fresh:
            return device
        if not self.records.intend(device, target.fresh):
            raise RecordChanged
        for certificate in sorted(target.fresh):
            self.certificates.set_status(certificate, "ACTIVE")
        return replace(device, activating=target.fresh)


def _life(device: Device | None) -> str:
    """Return a mark of the device's life: a later device of the same name has another one."""
    return f"{device.status.value}-{epoch(device.created_at)}" if device else "gone"


def _continued(after: str | None, life: str) -> str | None:
    """Return the serial that an order continues after, or None if it begins, or began in another life."""
    of, _, serial = (after or "").partition("/")
    return serial if of == life and serial else None
