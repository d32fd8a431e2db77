"""Just-in-time registration (JITR): decide on a bootstrap certificate that AWS IoT met for the first time.

AWS IoT registered the certificate by itself since it knows the factory CA (developer guide, "Just-in-time
registration").

1. It waits for activation. Otherwise the decision has been made already, and there is nothing to do.
2. A trust anchor of the fleet issued it. The account may have other CAs, with other owners' devices.
3. What enrolling asks of a bootstrap certificate holds: chain, dates, usage, key, a group that is
   open, and, where the certificate is the device's own, a device that is not revoked.
4. It gets the policy to ask for a certificate, and nothing else; the first one makes the policy;
5. then it becomes ACTIVE. Its first connection was closed, so the device connects again.
6. A device that was revoked meanwhile loses it again.

Refused for good, it becomes REVOKED. Refused for now, it stays as it is: it may not connect, and at
its next attempt AWS IoT sends the event once more.

A device that is enrolled already is let in too. Whether it may enroll again depends on its group,
and on whether its request is a repeat: `exchange` decides that, on the record of that time.
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
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.identity.admission import VerifiedBootstrap, check_open, named, verify_bootstrap
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
        """Return the certificate with that id, if there is one."""

    def attach(self, certificate: BrokerCertificate, policy: str, document: str) -> None:
        """Attach the policy of that name; one that is missing is made from `document` (JSON) first."""

    def set_status(self, certificate: BrokerCertificate, status: Literal["ACTIVE", "REVOKED"]) -> None:
        """Set the certificate's status; repeating it changes nothing."""


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""


class FleetInForce(Protocol):
    """The fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


class Decision(StrEnum):
    """What became of a certificate. `SETTLED`: nothing, the decision had been made before."""

    SETTLED = "settled"
    ADMITTED = "admitted"
    REVOKED = "revoked"
    LEFT = "left"


@dataclass(frozen=True)
class Judged:
    """What became of a certificate, and why, if it was refused."""

    decision: Decision
    refusal: FirstbootError | None = None


@dataclass(frozen=True)
class Judge:
    """Decide on certificates that wait for activation."""

    account: Account
    certificates: Certificates
    records: Records

    def __call__(self, certificate_id: str, fleet: Fleet, now: datetime) -> Judged:
        """Admit or refuse the certificate of that id; repeating it is safe at every step.

        Raises Unavailable.
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
        self._check_record(name, group)
        policy = ServicePolicy.CLAIM if group.is_shared else ServicePolicy.BOOTSTRAP
        document = compact(policy.document(self.account.place))
        self.certificates.attach(certificate, policy.policy_name(self.account.stack), document)  # 4
        self.certificates.set_status(certificate, "ACTIVE")  # 5
        self._check_record(name, group)  # 6

    def _check_record(self, name: DeviceId | None, group: Group) -> None:
        device = self.records.device(name) if name else None
        if device:
            check_admissible(device, group.name)


def _verified(pem: str, fleet: Fleet, now: datetime) -> tuple[VerifiedBootstrap, DeviceId | None]:
    """Return the bootstrap certificate and its own device; None where many devices share it."""
    leaf = certificate.parse_text(pem)
    # First of all: the verifier would also find faults in a stranger's certificate, and revoke it.
    anchors = [certificate.anchor(anchor) for group in fleet.groups.values() for anchor in group.trust]
    if not any(path.issued_by(leaf, anchor) for anchor in anchors):
        raise CertificateUntrusted(log="no trust anchor of the fleet issued it")
    bootstrap = verify_bootstrap(OverTls(leaf), fleet, now)
    check_open(bootstrap.group, now)
    return bootstrap, None if bootstrap.group.is_shared else named(bootstrap, None)


def _is_final(refusal: FirstbootError) -> bool:
    """Return whether the certificate may lose its rights for good.

    It is the fleet's beyond doubt, and neither time nor an operator's transfer of its device mends it.
    """
    doubtful = isinstance(refusal, CertificateUntrusted | CertificateMalformed | ConflictError)
    return refusal.action is Action.STOP and not doubtful
