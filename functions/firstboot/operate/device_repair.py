"""Device repair: bring the lost object of a device's active certificate back.

A certificate counts as issued because its chain is stored. A device's requests over MQTT are verified by the
stored chain, and `register` brings the certificate to AWS IoT from there.

1. The device has an active certificate, and its chain is not stored. Otherwise there is nothing to do.
2. The chain is an older version of the object. Without one, it is AWS IoT's own copy of the certificate, with
   the issuing CA's certificate behind it unless another CA issued it.
3. It is the recorded certificate, by its serial, its key and AWS IoT's id.
4. It is stored, unless another call has stored one in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.device import CertificateRecord, Device
from firstboot.domain.errors import DeviceNotFound, Unavailable
from firstboot.domain.names import DeviceId, device_id
from firstboot.operate.audit import Audit
from firstboot.operate.errors import CertificateLost
from firstboot.operate.requests import OneDevice
from firstboot.pki.certificate import parse_text
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed
from firstboot.pki.signature import KeyRefused
from firstboot.runtime.messages import Json

Source = Literal["stored", "version", "aws-iot"]
"""Where the chain was found: stored as it should be, in an older version of the object, or in AWS IoT."""


class Records(Protocol):
    """The device records. The method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. The method raises Unavailable when AWS does not answer."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""


class VersionedStore(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; return whether this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None."""

    def versions(self, device_id: DeviceId, serial: str) -> Iterator[bytes]:
        """Yield every version of the chain (PEM) that the bucket has, the newest first."""


@dataclass(frozen=True)
class DeviceRepair:
    """The use case that stores a lost chain of an active certificate again. `ca` is the issuing CA's PEM."""

    ca: str
    records: Records
    certificates: Certificates
    store: VersionedStore
    audit: Audit

    def __call__(self, parameters: OneDevice, _: datetime) -> Json:
        """Return the certificate's serial and where its chain was found; both are None without an active one.

        A repeat finds the chain stored. Raises DeviceIdInvalid, DeviceNotFound, CertificateLost, Unavailable.
        """
        name = device_id(parameters.device_id)
        device = self.records.device(name)
        if device is None:
            raise DeviceNotFound
        if device.active is None:
            return {"deviceId": name, "serial": None, "source": None}
        source = self._repaired(name, device.active)
        return {"deviceId": name, "serial": device.active.serial, "source": source}

    def _repaired(self, name: DeviceId, record: CertificateRecord) -> Source:
        stored = self.store.get(name, record.serial)  # 1
        if stored is not None:
            return _stored(stored, record)
        for source, chain in self._copies(name, record):  # 2
            if not _is_recorded(chain, record):  # 3
                continue
            if self.store.put(name, record.serial, chain):  # 4
                self.audit("CertificateRepaired", deviceId=name, serial=record.serial, source=source)
                return source
            stored = self.store.get(name, record.serial)
            if stored is None:
                raise Unavailable(log="another call stored the certificate, and it is not there")
            return _stored(stored, record)
        raise CertificateLost

    def _copies(self, name: DeviceId, record: CertificateRecord) -> Iterator[tuple[Source, bytes]]:
        for chain in self.store.versions(name, record.serial):
            yield "version", chain
        known = self.certificates.find(record.certificate_id) if record.certificate_id else None
        if known:
            issuer = "" if record.imported else self.ca
            yield "aws-iot", (known.pem.rstrip("\n") + "\n" + issuer).encode()


def _stored(chain: bytes, record: CertificateRecord) -> Source:
    if not _is_recorded(chain, record):
        raise CertificateLost("Another certificate is stored under the serial of the device's certificate")
    return "stored"


def _is_recorded(chain: bytes, record: CertificateRecord) -> bool:
    """Return whether the first certificate of a chain (PEM) is the recorded one."""
    try:
        leaf = parse_text(chain.decode())
        spki = leaf.spki_fingerprint()
    except (UnicodeDecodeError, CertificateMalformed, KeyRefused, NotDer):
        return False
    found = (f"{leaf.serial_number:x}", spki, leaf.fingerprint)
    return found == (record.serial, record.spki, record.certificate_id or leaf.fingerprint)
