"""Renewing: an operational certificate and a CSR become the next one.

1. The certificate chains to our issuing CA and is valid. An expired one counts as it did on its
   last day, if it comes with a signed proof: the gateway lets none through a handshake. One that
   AWS IoT issued before the device came to us is good if the device's record names it.
2. The device is not called anything else.
3. The CSR's key is strong and its owner signed it.
4. A signed proof is spent.
5. The certificate has the key that the record has under its serial. A pending one is committed: this
   is a login like any other.
6. The record decides, and the certificate is issued exactly once (issuance.py). The one at hand
   stays as it is until the next one's first login.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import HOLD, Device, Renewal, committed
from firstboot.domain.errors import CertificateNotCurrent, DeviceIdMismatch, EnrollmentClosed
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, device_id
from firstboot.domain.ports import CertificateStore, Registry
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued, issue
from firstboot.identity.possession import Presented, check_client_id, check_key, spend
from firstboot.pki import chain, csr
from firstboot.pki.profile import Issuer, plan


def renew(
    presented: Presented,
    request: ExchangeRequest,
    fleet: Fleet,
    issuer: Issuer,
    registry: Registry,
    store: CertificateStore,
    now: datetime,
) -> Issued | Claimed:
    """Certify the key in the request, a new one or the same, for the device that is calling.

    Raises AuthenticationError, AuthorizationError, RequestError, ConflictError and, while nothing
    is recorded, Unavailable.
    """
    leaf = presented.leaf
    name = _verified(presented, issuer.certificate, now)  # 1
    if request.device_id not in (None, name):  # 2
        raise DeviceIdMismatch
    check_client_id(presented, name)
    verified = csr.verify(request.csr)  # 3
    spend(presented, registry)  # 4
    device = _logged_in(registry.device(name), leaf, registry, now)  # 5
    group = _group(device, fleet)
    asked = _renewal(device, group, leaf, request, verified, issuer, whole_seconds(now))
    return issue(asked, verified, issuer, registry, store, group, make_known=presented.proof is not None)  # 6


def is_renewal(presented: Presented, ca: x509.Certificate) -> bool:
    """Whether a certificate is one to renew: ours, or an imported one that a record names."""
    return presented.recorded_as is not None or chain.issued_by(presented.leaf, ca)


def _verified(presented: Presented, ca: x509.Certificate, now: datetime) -> DeviceId:
    leaf = presented.leaf
    if presented.recorded_as and not chain.issued_by(leaf, ca):
        return presented.recorded_as
    chain.verify(leaf, [ca], _moment(presented, now))
    return device_id(chain.common_name(leaf))


def _moment(presented: Presented, now: datetime) -> datetime:
    return min(now, presented.leaf.not_valid_after_utc) if presented.proof else now


def _logged_in(device: Device | None, leaf: x509.Certificate, registry: Registry, now: datetime) -> Device:
    if device is None:
        raise CertificateNotCurrent(log="no such device")
    check_key(leaf, device)
    pending = device.pending
    if pending is None or int(pending.serial, 16) != leaf.serial_number or now > leaf.not_valid_after_utc:
        return device
    return registry.commit(committed(device, chain.fingerprint(leaf), now), leaf)


def _group(device: Device, fleet: Fleet) -> Group:
    group = fleet.groups.get(device.group)
    if group is None:
        raise EnrollmentClosed(log=f"{device.group} is not in the fleet definition")
    return group


def _renewal(
    device: Device,
    group: Group,
    leaf: x509.Certificate,
    request: ExchangeRequest,
    verified: csr.VerifiedCsr,
    issuer: Issuer,
    now: datetime,
) -> Renewal:
    certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, issuer.certificate, now)
    return Renewal(
        device_id=device.device_id,
        caller=f"{leaf.serial_number:x}",
        certificate=replace(certificate, held_until=now + HOLD),
        claims=request.claims,
        now=now,
        grace=group.certificate.grace,
    )
