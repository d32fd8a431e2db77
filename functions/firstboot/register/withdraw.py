"""Withdraw: take from devices and certificates what they have in AWS IoT.

A certificate that is *over* becomes INACTIVE, loses our policies and is detached from the thing. It is not
deleted, because an operator may look for it. The detachment is the last step: what a crash left half done is
still attached to the thing, and is found there. A certificate that another process may be about to make
ACTIVE is deleted, because AWS IoT has no conditional update: that process then finds nothing to activate.

A *revoked* device may have thousands of certificates, and only few that it may use. So in this order:

1. The certificates that may be in use become REVOKED.
2. The device's connection and session end, and it can't connect again.
3. These certificates lose our policies.
4. The record notes that none is registered.
5. All its former certificates become REVOKED, in slices.

`delete` does the same first.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from firstboot.domain.aws_iot import BrokerCertificate, CertificateStatus
from firstboot.domain.device import Device
from firstboot.domain.fleet import Group
from firstboot.domain.names import CERTIFICATE_ID, DeviceId, is_thing_name
from firstboot.register.history import History, Stored
from firstboot.register.outcome import NONE, Outcome, RecordChanged, Writes


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str], group: str) -> bool:
        """Write the reconciled state if the record still is as it was `read`, and return whether it was."""


class Things(Protocol):
    """The things of the AWS IoT registry.

    Every method may be repeated, treats a missing thing as one that is gone already, and raises Unavailable
    when AWS does not answer.
    """

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the thing."""

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's connection and its session."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry, by id.

    Every method may be repeated, and raises Unavailable when AWS does not answer. A missing certificate
    counts as one that has lost its rights already.
    """

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""

    def set_status(self, certificate_id: str, status: CertificateStatus) -> bool:
        """Set a certificate's status; return whether AWS IoT has the certificate."""

    def set_policies(self, certificate_id: str, documents: dict[str, str], write: Callable[[], None]) -> None:
        """Attach exactly these of our policies (name to JSON). Policies of others stay.

        `write` is called before the first change.
        """

    def delete(self, certificate_id: str, device_id: DeviceId, *, ours: bool) -> bool:
        """Delete a certificate with all that blocks its deletion; return whether it is gone.

        One that is not `ours` stays if it has a policy of others or another thing than the device's. Raises
        Unavailable with a time while AWS IoT is not ready.
        """


@dataclass(frozen=True)
class Withdraw:
    """The use case that takes from devices and certificates what they have in AWS IoT."""

    records: Records
    history: History
    things: Things
    certificates: Certificates

    def over(self, device: Device, there: AbstractSet[str], kept: AbstractSet[str]) -> frozenset[str]:
        """Return the ids of the device's certificates that must be withdrawn.

        They are those that the record notes as registered, and those that are attached to the thing (`there`)
        and were issued to the device, without those that are `kept`. Raises RecordChanged, Unavailable.
        """
        # Certificates that another party attached to the thing are not ours to withdraw.
        unknown = there - device.registered - device.activating - kept
        ours = {each for each in unknown if self._stored(device, each)}
        # `there` was read after the record, so an unknown certificate may be newer than the record.
        if ours and self.records.device(device.device_id) != device:
            raise RecordChanged
        return frozenset((device.registered | ours) - kept)

    def retire(self, device: Device, certificates: frozenset[str], writes: Writes) -> None:
        """Deactivate certificates, take our policies from them, and detach them from the device's thing."""
        for certificate in sorted(certificates):
            self._take(device, certificate, "INACTIVE", writes)

    def discard(self, device: Device, certificates: frozenset[str], writes: Writes) -> None:
        """Delete certificates that another process may be about to make ACTIVE.

        One that is not ours to delete stays without rights. Raises Unavailable with a time while AWS IoT is
        not ready.
        """
        for certificate in sorted(certificates):
            self._take(device, certificate, "REVOKED", writes)
            stored = self._stored(device, certificate)
            if stored and stored.ours:
                self.certificates.delete(certificate, device.device_id, ours=True)

    def revoke(self, device: Device, group: Group | None, after: str | None, writes: Writes) -> Outcome:
        """Revoke everything that a revoked device has, from the serial `after` on.

        Raises RecordChanged, Unavailable.
        """
        revoked: set[str] = set()
        if after is None:
            revoked |= self.cut_off(device, group, writes)
            self.discard(device, device.activating, writes)
            if not self.records.note(device, NONE, NONE, device.group):
                raise RecordChanged

        def work(former: Stored) -> None:
            if former.certificate_id not in revoked and self.end(former.certificate_id, writes):
                revoked.add(former.certificate_id)

        rest = None
        # AWS IoT has no operational certificate of a device that can have no thing.
        if is_thing_name(device.device_id):
            rest = self.history.walk(device.device_id, after, writes, work)
        return Outcome(revoked=frozenset(revoked), rest=rest)

    def cut_off(self, device: Device, group: Group | None, writes: Writes) -> frozenset[str]:
        """End the certificates that the device may use, and its connection; return those that AWS IoT has.

        Its own bootstrap certificate is among them, a claim certificate that other devices share is not.
        """
        ids = self._usable(device) | own_bootstrap_ids(device, group)
        ended = frozenset(each for each in sorted(ids) if self.end(each, writes))
        # The certificates are REVOKED by now, so the device can't connect again.
        self.things.disconnect(device.device_id)
        for certificate in sorted(ended):
            self.certificates.set_policies(certificate, {}, partial(writes.to, certificate))
        return ended

    def end(self, certificate_id: str, writes: Writes) -> bool:
        """Set a certificate to REVOKED; return whether AWS IoT has it."""
        writes.to(certificate_id)
        return self.certificates.set_status(certificate_id, "REVOKED")

    def _take(self, device: Device, certificate: str, status: CertificateStatus, writes: Writes) -> None:
        writes.to(certificate)
        self.certificates.set_status(certificate, status)
        self.certificates.set_policies(certificate, {}, partial(writes.to, certificate))
        self.things.detach(device.device_id, certificate)

    def _stored(self, device: Device, certificate_id: str) -> Stored | None:
        """Return the certificate if AWS IoT has it and it was issued to the device, or imported."""
        if not CERTIFICATE_ID.fullmatch(certificate_id):
            return None
        known = self.certificates.find(certificate_id)
        return self.history.match(device.device_id, known) if known else None

    def _usable(self, device: Device) -> frozenset[str]:
        """Return the ids of the certificates that the device may use."""
        records = [each for each in (device.active, device.pending, device.superseded) if each]
        noted = {each.certificate_id for each in records if each.certificate_id}
        # The record has no id for a pending certificate.
        others = [each.serial for each in records if not each.certificate_id]
        found = [self.history.find(device.device_id, serial) for serial in others]
        stored = {each.certificate_id for each in found if each}
        return frozenset(stored | noted) | device.registered | device.activating


def own_bootstrap_ids(device: Device, group: Group | None) -> frozenset[str]:
    """Return the ids by which AWS IoT may know the device's own bootstrap certificate (JITR)."""
    return device.bootstrap_ids if group and not group.is_shared else NONE
