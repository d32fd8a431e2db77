"""Just-in-time registration (JITR): decide on a bootstrap certificate at its first connection to AWS IoT.

AWS IoT registered the certificate by itself because it knows the factory CA (developer guide, "Just-in-time
registration").

1. The certificate waits for activation. Otherwise it has been decided on, and there is nothing to do.
2. A trust anchor of the fleet issued it, and the group of that anchor has JITR. The account may have other
   CAs, for other owners' devices.
3. It fulfils what enrolling demands of a bootstrap certificate: chain, dates, usage, key, an open group, that
   no operator revoked it, and, for a certificate of one device, that the device is not revoked and is bound
   to no other key.
4. It gets the policy to ask for a certificate, in a group with fleet provisioning also the policy for that,
   and no other right.
5. It becomes ACTIVE. AWS IoT closed its first connection, so the device connects again.
6. If it or its device was revoked in the meantime, the certificate loses its rights again.

A certificate that is not admitted stays as it is: it can't connect, and AWS IoT sends the event again at its
next attempt. The group's `jitr` decides about a certificate that can never be admitted:

- `shared`: it stays too. A maker may have devices that are not in this fleet, with certificates under the
  same factory CA and JITR of its own. Firstboot cannot know which certificates are theirs. Only a certificate
  that an operator has revoked becomes REVOKED.
- `exclusive`: it becomes REVOKED.

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
from firstboot.domain.device import Device, check_admissible, check_pin
from firstboot.domain.errors import (
    Action,
    AuthenticationError,
    AuthorizationError,
    ConflictError,
    FirstbootError,
    Reason,
    RequestError,
)
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.ways import PROVISIONING
from firstboot.identity.admission import VerifiedBootstrap, check_open, named, verify_bootstrap
from firstboot.identity.errors import BootstrapRevoked
from firstboot.identity.possession import OverTls
from firstboot.pki import certificate, path
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateMalformed, CertificateUntrusted
from firstboot.policy.errors import PoliciesTooLarge
from firstboot.policy.service import bootstrap_policy, provisioning_policy_name

_WAITING = "PENDING_ACTIVATION"
_REFUSALS = (RequestError, AuthenticationError, AuthorizationError, ConflictError)


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method raises Unavailable when AWS does not answer."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""

    def attach(self, certificate: BrokerCertificate, policy: str) -> None:
        """Attach the policy of this name, which the sweep makes. A missing policy is Unavailable.

        Raises PoliciesTooLarge if the certificate may have no further policy.
        """

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

    SETTLED: an earlier event decided. LEFT: it is not admitted, and stays as it is.
    """

    SETTLED = "settled"
    ADMITTED = "admitted"
    REVOKED = "revoked"
    LEFT = "left"


@dataclass(frozen=True)
class Judged:
    """The outcome for a certificate, with the refusal if there was one, and the group of its issuer."""

    decision: Decision
    refusal: FirstbootError | None = None
    group: str | None = None


@dataclass(frozen=True)
class Judge:
    """The use case that decides on certificates that wait for activation.

    Names of policies begin with the name of the `stack`.
    """

    stack: str
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
            leaf, group = _issued(certificate.pem, fleet)  # 2
        except (CertificateMalformed, CertificateUntrusted) as refusal:
            return Judged(Decision.LEFT, refusal)
        if group.jitr == "off":
            return Judged(Decision.LEFT, group=group.name)
        try:
            return self._judged(certificate, _verified(leaf, fleet, now), now)
        except _REFUSALS as refusal:
            # An operator has named a revoked certificate, so it is one of this fleet.
            is_ours = group.jitr == "exclusive" or isinstance(refusal, BootstrapRevoked)
            if not is_ours or not _is_final(refusal):
                return Judged(Decision.LEFT, refusal, group.name)
            return self._revoked(certificate, refusal, group)

    def _judged(
        self,
        certificate: BrokerCertificate,
        verified: tuple[VerifiedBootstrap, DeviceId | None],
        now: datetime,
    ) -> Judged:
        bootstrap, name = verified
        group = bootstrap.group
        self._check_records(bootstrap, name, now)  # 3
        try:
            for policy in _policies(group, self.stack):  # 4
                self.certificates.attach(certificate, policy)
        except PoliciesTooLarge as refusal:
            # Others have attached ten policies to it, so it can't have ours before they take one off.
            return Judged(Decision.LEFT, refusal, group.name)
        self.certificates.set_status(certificate, "ACTIVE")  # 5
        try:
            self._check_records(bootstrap, name, now)  # 6
        except _REFUSALS as refusal:
            # An operator may have revoked either after step 3. Firstboot itself has activated the
            # certificate, so it revokes the certificate in a shared group too.
            if not _is_final(refusal):
                raise
            return self._revoked(certificate, refusal, group)
        return Judged(Decision.ADMITTED, group=group.name)

    def _revoked(self, certificate: BrokerCertificate, refusal: FirstbootError, group: Group) -> Judged:
        self.certificates.set_status(certificate, "REVOKED")
        return Judged(Decision.REVOKED, refusal, group.name)

    def _check_records(self, bootstrap: VerifiedBootstrap, name: DeviceId | None, now: datetime) -> None:
        """Refuse a certificate that was revoked, or whose device was or is bound to another key.

        Raises what check_admissible and check_pin raise.
        """
        if self.records.is_bootstrap_revoked(bootstrap.leaf.identifier):
            raise BootstrapRevoked
        device = self.records.device(name) if name else None
        if device:
            check_admissible(device, bootstrap.group.names)
            # The certificate would connect under the device's id, and so end the device's connection.
            if bootstrap.group.pins:
                check_pin(device, bootstrap.leaf.spki_fingerprint(), now)


def _issued(pem: str, fleet: Fleet) -> tuple[Certificate, Group]:
    """Return a certificate, and the group of the trust anchor that issued it.

    Raises CertificateMalformed, CertificateUntrusted.
    """
    # This check comes first. The verifier would also refuse a foreign certificate, and certificates of other
    # CAs in the account are not ours to decide on.
    leaf = certificate.parse_text(pem)
    for group in fleet.groups.values():
        if any(path.issued_by(leaf, certificate.anchor(anchor)) for anchor in group.trust):
            return leaf, group
    raise CertificateUntrusted(log="no trust anchor of the fleet issued the certificate")


def _verified(leaf: Certificate, fleet: Fleet, now: datetime) -> tuple[VerifiedBootstrap, DeviceId | None]:
    """Return the verified bootstrap certificate, and its device if it is the certificate of one device."""
    bootstrap = verify_bootstrap(OverTls(leaf), fleet, now)
    check_open(bootstrap.group, now)
    return bootstrap, None if bootstrap.group.is_shared else named(bootstrap, None, fleet.ids)


def _policies(group: Group, stack: str) -> list[str]:
    """Return the names of the policies of the group's bootstrap certificates."""
    own = [bootstrap_policy(group).policy_name(stack)]
    return [*own, provisioning_policy_name(stack)] if PROVISIONING in group.ways else own


def _is_final(refusal: FirstbootError) -> bool:
    """Return whether the certificate may lose its rights for good.

    It may if it certainly belongs to the fleet, and if neither time nor an operator's transfer of its device
    could make it admissible.
    """
    doubtful = isinstance(refusal, CertificateUntrusted | CertificateMalformed | ConflictError)
    # A mistake in `pattern` or `ids` would otherwise revoke the certificates of a whole production run.
    is_renamable = refusal.reason is Reason.CERTIFICATE_NAME
    return refusal.action is Action.STOP and not doubtful and not is_renamable
