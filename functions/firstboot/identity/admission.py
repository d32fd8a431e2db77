"""Admission: the right of one device to enroll in a group.

1. The bootstrap certificate chains to a group's trust anchor, and has the extendedKeyUsage that the group
   demands.
2. The device has an id: the one in its certificate or, if devices share the certificate, the one in its
   request (naming.py). Over MQTT its client id is the one that its group's bootstrap policy lets it have.
3. The last day of the group's budget is not over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from firstboot.domain.device import Anchor
from firstboot.domain.errors import AuthenticationError, CertificateExpired, Reason
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, IdRule
from firstboot.domain.proof_id import ProofId
from firstboot.domain.ways import Way
from firstboot.identity import naming
from firstboot.identity.errors import BootstrapExpired, DeviceIdMismatch, DeviceIdRequired, EnrollmentClosed
from firstboot.identity.possession import Presented, Proven, check_client_id, proof_of
from firstboot.pki import bootstrap, certificate, forms
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateUntrusted, CertificateUsageWrong
from firstboot.policy.service import bootstrap_client_id


class AdmissionKind(StrEnum):
    """The kind of evidence that admits a device to a group."""

    BOOTSTRAP_CERTIFICATE = "bootstrap-certificate"
    ONE_TIME_PASSWORD = "one-time-password"  # noqa: S105 - a kind, and no password
    SYMMETRIC_KEY = "symmetric-key"


@dataclass(frozen=True)
class AdmittedBy:
    """The evidence that admitted a device.

    `identifier` is unique within the kind: the SHA-256 (hex) of what is signed in a bootstrap certificate, or
    of a symmetric key. `spki` is what the device's name is bound to: the SHA-256 (hex) of the certificate's
    key, or `symmetric.binding`; None for a kind that binds no name. `bootstrap_ids` are the ids
    by which AWS IoT may know the certificate; a kind without certificates has none. `anchor` is the trust
    anchor above the certificate, or in such a kind the key that vouches for the device.
    """

    kind: AdmissionKind
    identifier: str
    spki: str | None
    bootstrap_ids: frozenset[str]
    anchor: Anchor


@dataclass(frozen=True)
class Admission:
    """The right of a device to enroll in a group.

    `way` is the way in which the device asks. The use of `proof` must be recorded before a certificate is
    issued. It is None if the connection proved possession. `path` leads from the bootstrap certificate to its
    trust anchor; it is empty without one.
    """

    device_id: DeviceId
    group: Group
    by: AdmittedBy
    way: Way | None
    proof: ProofId | None = None
    path: tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class VerifiedBootstrap:
    """A bootstrap certificate that chains to an anchor of `group`: `path` begins and ends with these two."""

    path: tuple[Certificate, ...]
    group: Group

    @property
    def leaf(self) -> Certificate:
        """The bootstrap certificate."""
        return self.path[0]

    @property
    def anchor(self) -> Certificate:
        """The trust anchor."""
        return self.path[-1]


def admit(presented: Presented, said: str | None, fleet: Fleet, now: datetime) -> Admission:
    """Admit the device that presents a bootstrap certificate. `said` is the device id in its request, if any.

    Raises BootstrapExpired, AuthenticationError, DeviceIdInvalid, DeviceIdRequired, DeviceIdMismatch,
    DeviceNotExpected, EnrollmentClosed.
    """
    return admit_verified(verify_bootstrap(presented, fleet, now), presented, said, fleet, now)  # 1


def admit_verified(
    verified: VerifiedBootstrap, presented: Presented, said: str | None, fleet: Fleet, now: datetime
) -> Admission:
    """Admit the device that presents a bootstrap certificate which is verified; see `admit`.

    Raises what `admit` raises of the device's id and of its group.
    """
    name = named(verified, said, fleet.ids)  # 2
    check_client_id(presented, bootstrap_client_id(verified.group, name))
    check_open(verified.group, now)  # 3
    admitted_by = AdmittedBy(
        AdmissionKind.BOOTSTRAP_CERTIFICATE,
        identifier=verified.leaf.identifier,
        spki=verified.leaf.spki_fingerprint(),
        bootstrap_ids=forms.ids(verified.leaf),
        anchor=Anchor(verified.anchor.spki_fingerprint(), verified.anchor.subject.text()),
    )
    proof = proof_of(presented)
    return Admission(name, verified.group, admitted_by, presented.way, proof, verified.path)


def verify_bootstrap(presented: Presented, fleet: Fleet, now: datetime) -> VerifiedBootstrap:
    """Verify a bootstrap certificate and find the group of the anchor that it chains to.

    Raises BootstrapExpired, CertificateUntrusted and what bootstrap.verify raises.
    """
    # The compiler has made sure that no two groups have one anchor, or anchors that issued each other.
    groups = {certificate.anchor(pem): group for group in fleet.groups.values() for pem in group.trust}
    intermediates = presented.intermediates if isinstance(presented, Proven) else ()
    try:
        path = bootstrap.verify(presented.leaf, list(groups), now, intermediates)
        _check_one_group(path, groups)
        _check_eku(presented.leaf, groups[path[-1]])
    except AuthenticationError as error:
        kind = BootstrapExpired if isinstance(error, CertificateExpired) else type(error)
        if _may_be_shared((presented.leaf, *intermediates), groups):
            raise kind(log=error.log) from error
        raise kind(error.detail, log=error.log, reason=error.reason) from error
    return VerifiedBootstrap(tuple(path), groups[path[-1]])


def _check_one_group(path: list[Certificate], groups: Mapping[Certificate, Group]) -> None:
    """Refuse a path through the key of another group's anchor.

    The compiler sees anchors only. A CA between two of them may come with the request, as may another
    certificate of an anchor's key. Without this check, a device would change its group when the anchor of its
    own group expires, or when its holder leaves out an intermediate certificate.
    Raises CertificateUntrusted.
    """
    own = groups[path[-1]]
    others = {anchor.spki_fingerprint() for anchor, group in groups.items() if group.name != own.name}
    if any(each.spki_fingerprint() in others for each in path[1:]):
        raise CertificateUntrusted(
            f"The path to group {own.name} leads through another group's trust anchor",
            reason=Reason.CERTIFICATE_PATH,
        )


def _check_eku(leaf: Certificate, group: Group) -> None:
    if group.eku == "required" and not bootstrap.has_extended_key_usage(leaf):
        raise CertificateUsageWrong('There is no extendedKeyUsage, and the group has eku = "required"')


def _may_be_shared(sent: Sequence[Certificate], groups: Mapping[Certificate, Group]) -> bool:
    """Return whether an anchor of a shared group has the name of an issuer of a certificate that was sent.

    A claim certificate is in many devices, so an attacker is likelier to have one. Its holder gets the title
    of a refusal and no detail. A certificate that was refused has no group, so names decide.
    """
    issuers = {each.issuer.canonical() for each in sent}
    shared = (anchor for anchor, group in groups.items() if group.is_shared)
    return any(anchor.subject.canonical() in issuers for anchor in shared)


def named(verified: VerifiedBootstrap, said: str | None, rule: IdRule) -> DeviceId:
    """Return the id of the device that is enrolling. `said` is the device id in its request, if any.

    `rule` is the fleet's rule for ids.

    Raises DeviceIdInvalid, DeviceIdRequired, DeviceIdMismatch, DeviceNotExpected, CertificateMalformed.
    """
    if verified.group.is_shared:
        if said is None:
            raise DeviceIdRequired
        return naming.requested(said, verified.group, rule)
    name = naming.certified(verified.leaf, verified.group, rule)
    if said not in (None, name):
        raise DeviceIdMismatch
    return name


def check_open(group: Group, now: datetime) -> None:
    """Refuse an enrollment after the last day of the group's budget.

    Raises EnrollmentClosed.
    """
    if group.budget and now >= group.budget.until:
        raise EnrollmentClosed
