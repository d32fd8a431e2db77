"""Delete: remove from AWS IoT what a deleted device has there, and its record last.

1. The certificates that may be in use become REVOKED, the connection ends, and they lose our policies and the
   thing, as at a revocation.
2. Every certificate that our CA issued to the device is deleted, in slices. What blocks the deletion is
   detached, also policies of others. An imported certificate is its maker's: it loses its rights and stays.
3. The bootstrap certificate is deleted unless it has a policy of others or another thing. AWS IoT registers
   it again when the device comes again, and JITR decides again.
4. The thing is deleted with its shadow if it is ours. If it has principals of others, it stays, and leaves
   our groups.
5. The record is removed last, because it says what is left to do when the order is repeated. Until then the
   device can't enroll again: it could meet what is left of its last life.

An order for a device without a record does 2 and 4: a registration that crashed may have left something in
AWS IoT after the deletion was done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from firstboot.domain.aws_iot import ThingOwner
from firstboot.domain.device import Device
from firstboot.domain.fleet import Group
from firstboot.domain.names import CERTIFICATE_ID, DeviceId, is_thing_name
from firstboot.register.history import History, Stored
from firstboot.register.outcome import NONE, Outcome, RecordChanged, Writes
from firstboot.register.withdraw import Certificates, Withdraw, own_bootstrap_ids


class Records(Protocol):
    """The device records."""

    def forget(self, read: Device) -> bool:
        """Remove the record of a deleted device; return whether it was as `read`, or is gone.

        Raises Unavailable.
        """


class Things(Protocol):
    """The things of the AWS IoT registry.

    Every method may be repeated, treats a missing thing as one that is gone already, and raises Unavailable
    when AWS does not answer.
    """

    def owner(self, device_id: DeviceId, *, imported: bool) -> ThingOwner | None:
        """Return whose the thing is, or None without a thing."""

    def principals(self, device_id: DeviceId) -> frozenset[str]:
        """Return what is attached to the thing: certificates by their ids, others by their ARNs."""

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the thing."""

    def leave(self, device_id: DeviceId) -> None:
        """Take the thing out of the thing groups that are ours."""

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing and its shadow. Raises Unavailable with a time while a certificate is attached."""


@dataclass
class _Done:
    """The work of a slice: the number of certificates in S3, those that AWS IoT had, and those that stay."""

    walked: int = 0
    revoked: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def outcome(self) -> Outcome:
        """Return the outcome so far."""
        return Outcome(revoked=frozenset(self.revoked), left=frozenset(self.left))


@dataclass(frozen=True)
class Deletion:
    """The use case that removes what AWS IoT has of a deleted device, and its record."""

    records: Records
    history: History
    things: Things
    certificates: Certificates
    withdraw: Withdraw

    def __call__(self, device: Device, group: Group | None, after: str | None, writes: Writes) -> Outcome:
        """Remove a deleted device from the serial `after` on.

        Raises RecordChanged, and Unavailable, with a time while AWS IoT is not ready.
        """
        device_id, done = device.device_id, _Done()
        named = is_thing_name(device_id)
        if after is None:
            done.revoked |= self.withdraw.cut_off(device, group, writes)  # 1
            for certificate in sorted(done.revoked) if named else ():
                self.things.detach(device_id, certificate)
        # AWS IoT has no operational certificate and no thing of a device whose id is no thing name.
        rest = self._former(device_id, after, writes, done) if named else None  # 2
        if rest:
            return replace(done.outcome(), rest=rest)
        self._lost(device, writes, done)
        bootstraps = own_bootstrap_ids(device, group)
        for certificate in sorted(bootstraps):  # 3
            self._release(device_id, certificate, writes, done)
        left = named and self._thing(device_id, writes, done, bootstraps, imported=device.imported)  # 4
        if not self.records.forget(device):  # 5
            raise RecordChanged
        return replace(done.outcome(), deleted=True, thing_left=left)

    def clear(self, device_id: DeviceId, after: str | None, writes: Writes) -> Outcome:
        """Remove what is left of a device that is not enrolled.

        Raises RecordChanged if it enrolls meanwhile, and Unavailable.
        """
        if not is_thing_name(device_id):
            return Outcome()
        done = _Done()
        rest = self._former(device_id, after, writes, done)
        if rest:
            return replace(done.outcome(), rest=rest)
        # A thing of another, or of an application's making, may have the name of an unknown device.
        known = after is not None or done.walked > 0
        left = known and self._thing(device_id, writes, done)
        return replace(done.outcome(), thing_left=left)

    def _former(self, device_id: DeviceId, after: str | None, writes: Writes, done: _Done) -> str | None:
        work = partial(self._remove, device_id, writes, done)
        return self.history.walk(device_id, after, writes, work)

    def _lost(self, device: Device, writes: Writes, done: _Done) -> None:
        """Remove the certificates of the record that are not in S3 any more."""
        for record in (device.active, device.superseded):
            if record and record.certificate_id and not self.history.find(device.device_id, record.serial):
                stored = Stored(record.certificate_id, ours=not record.imported)
                self._remove(device.device_id, writes, done, stored)

    def _remove(self, device_id: DeviceId, writes: Writes, done: _Done, stored: Stored) -> None:
        done.walked += 1
        certificate = stored.certificate_id
        if not self.withdraw.end(certificate, writes):
            return
        done.revoked.add(certificate)
        if stored.ours:
            self.certificates.delete(certificate, device_id, ours=True)
        else:
            self.certificates.set_policies(certificate, {}, partial(writes.to, certificate))
            self.things.detach(device_id, certificate)
            done.left.add(certificate)

    def _release(self, device_id: DeviceId, bootstrap: str, writes: Writes, done: _Done) -> None:
        """Delete a form of the bootstrap certificate, if AWS IoT has it and no other uses it."""
        if self.withdraw.end(bootstrap, writes):
            done.revoked.add(bootstrap)
            if not self.certificates.delete(bootstrap, device_id, ours=False):
                done.left.add(bootstrap)

    def _thing(
        self,
        device_id: DeviceId,
        writes: Writes,
        done: _Done,
        bootstraps: frozenset[str] = NONE,
        *,
        imported: bool = False,
    ) -> bool:
        """Delete the thing if it is ours; return whether it stays because it has principals of others."""
        owner = self.things.owner(device_id, imported=imported)
        if owner is ThingOwner.ANOTHER:
            return False
        principals = self.things.principals(device_id) if owner else NONE
        # This is read after `principals`. So if the device is not enrolled, none of them is in use.
        if self.history.is_enrolled(device_id):
            raise RecordChanged
        freed = [self._free(device_id, each, bootstraps, writes, done) for each in sorted(principals)]
        if not all(freed):
            self.things.leave(device_id)
            return True
        self.things.delete(device_id)
        return False

    def _free(
        self, device_id: DeviceId, principal: str, bootstraps: frozenset[str], writes: Writes, done: _Done
    ) -> bool:
        """Detach a principal from the thing; return False, and change nothing, if it is another's."""
        if principal in bootstraps:
            self.things.detach(device_id, principal)
            return True
        if not CERTIFICATE_ID.fullmatch(principal):  # a Cognito identity
            return False
        known = self.certificates.find(principal)
        if known is None:
            return True
        stored = self.history.match(device_id, known)
        if stored is None:
            return False
        self._remove(device_id, writes, done, stored)
        return True
