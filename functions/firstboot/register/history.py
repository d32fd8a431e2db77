"""The certificates that were ever issued to a device, as S3 holds them.

A device may renew as often as its limit allows, for years, so its certificates are walked in slices. Each
slice says where the next one starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.device import Device, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.pki.certificate import parse_all, parse_text
from firstboot.pki.errors import CertificateMalformed
from firstboot.register.outcome import RecordChanged, Writes


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""


class IssuedCertificates(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""

    def serials(self, device_id: DeviceId, after: str | None) -> tuple[list[str], bool]:
        """Return a page of the device's serials, those after the serial `after`, and whether there are more.

        The order of serials is always the same.
        """


@dataclass(frozen=True)
class Stored:
    """A certificate in S3. It is `ours` if our CA issued it; an imported certificate is its maker's."""

    certificate_id: str
    ours: bool


@dataclass(frozen=True)
class History:
    """The certificates of devices in S3."""

    records: Records
    store: IssuedCertificates

    def find(self, device_id: DeviceId, serial: str) -> Stored | None:
        """Return the device's certificate with this serial, or None without one in S3. Raises Unavailable."""
        pem = self.store.get(device_id, serial)
        if pem is None:
            return None
        chain = parse_all(pem.decode())
        # Firstboot stores an issued certificate with its issuer, and an imported one alone.
        return Stored(chain[0].fingerprint, ours=len(chain) > 1)

    def match(self, device_id: DeviceId, known: BrokerCertificate) -> Stored | None:
        """Return the device's certificate that AWS IoT knows as `known`, or None if it is another's.

        Raises Unavailable.
        """
        try:
            serial = f"{parse_text(known.pem).serial_number:x}"
        except CertificateMalformed:
            return None
        stored = self.find(device_id, serial)
        return stored if stored and stored.certificate_id == known.certificate_id else None

    def walk(
        self, device_id: DeviceId, after: str | None, writes: Writes, work: Callable[[Stored], None]
    ) -> str | None:
        """Do `work` on each certificate of a device that is not enrolled any more.

        Begin after the serial `after`. Return the last serial that was worked on if time ran out, else None.
        At least one certificate is worked on, so that each slice gets further. Raises RecordChanged if the
        device is enrolled, Unavailable.
        """
        done, more = after, True
        while more:
            serials, more = self.store.serials(device_id, done)
            # A claim comes before its certificate. So if the device is not enrolled after the list was read,
            # no certificate in the list is in use, also if the device enrolls again from here on.
            if serials and self.is_enrolled(device_id):
                raise RecordChanged
            for serial in serials:
                if done != after and not writes.in_time():
                    return done
                try:
                    self._work(device_id, serial, work)
                except Unavailable:
                    if done == after:
                        raise
                    return done
                done = serial
        return None

    def _work(self, device_id: DeviceId, serial: str, work: Callable[[Stored], None]) -> None:
        stored = self.find(device_id, serial)
        if stored:
            work(stored)

    def is_enrolled(self, device_id: DeviceId) -> bool:
        """Return whether the device is enrolled, read consistently. Raises Unavailable."""
        device = self.records.device(device_id)
        return device is not None and device.status is Status.ENROLLED
