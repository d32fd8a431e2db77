"""Just-in-time registration (JITR): decide on a bootstrap certificate at its first connection to AWS IoT.

AWS IoT registered the certificate by itself because it knows the factory CA (developer guide, "Just-in-time
registration").

1. The certificate waits for activation. Otherwise it has been decided on, and there is nothing to do.
2. A trust anchor of the fleet issued it. The account may have other CAs, for other owners' devices.
3. It fulfils what enrolling demands of a bootstrap certificate: chain, dates, usage, key, an open group, that
   no operator revoked it, and, for a certificate of one device, that the device is not revoked.
4. It gets the policy to ask for a certificate, and no other right.
5. It becomes ACTIVE. AWS IoT closed its first connection, so the device connects again.
6. If it or its device was revoked in the meantime, the certificate loses its rights again.

A certificate that is refused for good becomes REVOKED. A certificate that may be admitted later stays as it
is: it can't connect, and AWS IoT sends the event again at its next attempt.

The certificate and the device record alone decide. A device that is enrolled already is admitted too, because
its request may be a repeat, or follow a factory reset that its group allows. Only `exchange` can decide that,
with the record of that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.device import Device, check_admissible
from firstboot.domain.errors import (
    Action,
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    FirstbootError,
    RequestError,
)
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.identity.admission import VerifiedBootstrap, check_open, named, verify_bootstrap
from firstboot.identity.errors import BootstrapRevoked
from firstboot.identity.possession import OverTls
from firstboot.pki import certificate, path
from firstboot.pki.errors import CertificateMalformed, CertificateUntrusted
from firstboot.policy.render import compact
from firstboot.policy.service import ServicePolicy
from firstboot.register.reconcile import Account

_WAITING = "PENDING_ACTIVATION"


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method raises Unavailable when AWS does not answer."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""

    def attach(self, certificate: BrokerCertificate, policy: str, document: str) -> None:
        """Attach the policy of this name. A missing policy is made from `document` (JSON) first."""

    def set_status(self, certificate: BrokerCertificate, status: Literal["ACTIVE", "REVOKED"]) -> None:
        """Set the certificate's status. A repeat changes nothing."""


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""

    def is_bootstrap_revoked(self, identifier: str) -> bool:
        """Return whether an operator revoked this bootstrap certificate, read consistently.

        The identifier is that of all forms of the certificate. Raises Unavailable.
        """


class FleetInForce(Protocol):
    """The source of the fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


class Decision(StrEnum):
    """The outcome for a certificate.

    SETTLED: an earlier event decided. LEFT: it is not admitted now, and may be later.
    """

    SETTLED = "settled"
    ADMITTED = "admitted"
    REVOKED = "revoked"
    LEFT = "left"


@dataclass(frozen=True)
class Judged:
    """The outcome for a certificate, with the refusal if there was one."""

    decision: Decision
    refusal: FirstbootError | None = None


@dataclass(frozen=True)
class Judge:
    """The use case that decides on certificates that wait for activation."""

    account: Account
    certificates: Certificates
    records: Records

    def __call__(self, certificate_id: str, fleet: Fleet, now: datetime) -> Judged:
        """Admit or refuse the certificate with this id.

        A repeat is safe after every step, so the caller repeats after Unavailable.
        """
        certificate = self.certificates.find(certificate_id)
        if certificate is None or certificate.status != _WAITING:  # 1
            return Judged(Decision.SETTLED)
        try:
            self._admit(certificate, fleet, now)
        except (RequestError, AuthenticationError, AuthorizationError, ConflictError) as refusal:
            if not _is_final(refusal):
                return Judged(Decision.LEFT, refusal)
            self.certificates.set_status(certificate, "REVOKED")
            return Judged(Decision.REVOKED, refusal)
        return Judged(Decision.ADMITTED)

    def _admit(self, certificate: BrokerCertificate, fleet: Fleet, now: datetime) -> None:
        bootstrap, name = _verified(certificate.pem, fleet, now)  # 2, 3
        group = bootstrap.group
        self._check_records(bootstrap, name)
        policy = ServicePolicy.CLAIM if group.is_shared else ServicePolicy.BOOTSTRAP
        document = compact(policy.document(self.account.place))
        # A missing policy is created here, not by the stack. AWS IoT deletes no policy that is attached, so
        # the stack could not be deleted after a first connection. The sweep keeps the policy up to date.
        self.certificates.attach(certificate, policy.policy_name(self.account.stack), document)  # 4
        self.certificates.set_status(certificate, "ACTIVE")  # 5
        # An operator may have revoked either after step 3. Then the refusal revokes the certificate.
        self._check_records(bootstrap, name)  # 6

    def _check_records(self, bootstrap: VerifiedBootstrap, name: DeviceId | None) -> None:
        """Refuse a certificate that was revoked, or whose device was. Raises what check_admissible raises."""
        if self.records.is_bootstrap_revoked(bootstrap.leaf.identifier):
            raise BootstrapRevoked
        device = self.records.device(name) if name else None
        if device:
            check_admissible(device, bootstrap.group.name)


def _verified(pem: str, fleet: Fleet, now: datetime) -> tuple[VerifiedBootstrap, DeviceId | None]:
    """Return the verified bootstrap certificate, and its device if it is the certificate of one device."""
    leaf = certificate.parse_text(pem)
    # This check comes first. The verifier below would also refuse a foreign certificate, which would then be
    # revoked, and certificates of other CAs in the account are not ours to decide on.
    anchors = [certificate.anchor(anchor) for group in fleet.groups.values() for anchor in group.trust]
    if not any(path.issued_by(leaf, anchor) for anchor in anchors):
        raise CertificateUntrusted(log="no trust anchor of the fleet issued the certificate")
    bootstrap = verify_bootstrap(OverTls(leaf), fleet, now)
    check_open(bootstrap.group, now)
    return bootstrap, None if bootstrap.group.is_shared else named(bootstrap, None)


def _is_final(refusal: FirstbootError) -> bool:
    """Return whether the certificate may lose its rights for good.

    It may if it certainly belongs to the fleet, and if neither time nor an operator's transfer of its device
    could make it admissible.
    """
    doubtful = isinstance(refusal, CertificateUntrusted | CertificateMalformed | ConflictError)
    return refusal.action is Action.STOP and not doubtful
