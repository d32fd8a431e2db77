"""A newcomer: a bootstrap certificate that AWS IoT met for the first time, and registered by itself
since it knows the factory CA (developer guide, "Just-in-time registration").

1. It waits for activation. Else someone has decided already, and there is nothing to do.
2. A trust anchor of the fleet issued it. The account may have other CAs, with other people's devices.
3. What enrolling asks of a bootstrap certificate holds: chain, dates, usage, key, a group that is
   open, and, where the certificate is the device's own, a device that is not revoked.
4. It gets the policy to ask for a certificate, and nothing else; the first one makes the policy;
5. then it becomes ACTIVE. Its first connection was closed, so the device connects again.
6. A device that was revoked meanwhile loses it again.

Refused for good, it becomes REVOKED. Refused for now, it stays as it is: it may not connect, and at
its next attempt AWS IoT tells of it once more.

A device that is enrolled already is let in too. Whether it may enroll again depends on its group,
and on whether its request is a repeat: `exchange` decides that, on the record of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from firstboot.domain import device as lifecycle
from firstboot.domain.errors import (
    Action,
    AuthenticationError,
    AuthorizationError,
    CertificateMalformed,
    CertificateUntrusted,
    ConflictError,
    FirstbootError,
    RequestError,
)
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import BrokerCertificates, Registry
from firstboot.identity.bootstrap import VerifiedBootstrap, check_open, named, verify_bootstrap
from firstboot.identity.possession import Presented
from firstboot.pki import chain
from firstboot.policy.render import compact
from firstboot.policy.service import ServicePolicy
from firstboot.register.reconcile import Account

_WAITING = "PENDING_ACTIVATION"


class Outcome(StrEnum):
    """What became of a newcomer. `SETTLED`: nothing, someone has decided before."""

    SETTLED = "settled"
    ADMITTED = "admitted"
    REVOKED = "revoked"
    LEFT = "left"


@dataclass(frozen=True)
class Judged:
    """What became of a newcomer, and why, if it was refused."""

    outcome: Outcome
    refusal: FirstbootError | None = None


def judge(
    certificate_id: str,
    account: Account,
    fleet: Fleet,
    certificates: BrokerCertificates,
    registry: Registry,
    now: datetime,
) -> Judged:
    """Admit or refuse the certificate of that id; repeating it is safe at every step.

    Raises Unavailable.
    """
    certificate = certificates.find(certificate_id)
    if certificate is None or certificate.status != _WAITING:  # 1
        return Judged(Outcome.SETTLED)
    try:
        bootstrap, name = _verified(certificate.pem, fleet, now)  # 2, 3
        group = bootstrap.group
        _check_record(name, group, registry)
        policy = ServicePolicy.CLAIM if group.is_shared else ServicePolicy.BOOTSTRAP
        document = compact(policy.document(account.place))
        certificates.attach(certificate, policy.policy_name(account.stack), document)  # 4
        certificates.set_status(certificate, "ACTIVE")  # 5
        _check_record(name, group, registry)  # 6
    except (RequestError, AuthenticationError, AuthorizationError, ConflictError) as refusal:
        if not _is_final(refusal):
            return Judged(Outcome.LEFT, refusal)
        certificates.set_status(certificate, "REVOKED")
        return Judged(Outcome.REVOKED, refusal)
    return Judged(Outcome.ADMITTED)


def _verified(pem: str, fleet: Fleet, now: datetime) -> tuple[VerifiedBootstrap, DeviceId | None]:
    """The bootstrap certificate, and the device whose own it is; None where many share it."""
    leaf = chain.parse(pem)
    # Before all else: the verifier would also find something wrong with a stranger's certificate.
    anchors = [chain.anchor(anchor) for group in fleet.groups.values() for anchor in group.trust]
    if not any(chain.issued_by(leaf, anchor) for anchor in anchors):
        raise CertificateUntrusted(log="no trust anchor of the fleet issued it")
    bootstrap = verify_bootstrap(Presented(leaf), fleet, now)
    check_open(bootstrap.group, now)
    return bootstrap, None if bootstrap.group.is_shared else named(bootstrap, None)


def _check_record(name: DeviceId | None, group: Group, registry: Registry) -> None:
    device = registry.device(name) if name else None
    if device:
        lifecycle.check_admissible(device, group.name)


def _is_final(refusal: FirstbootError) -> bool:
    """Whether the certificate may lose its rights for good: it is the fleet's beyond doubt, and
    neither time nor an operator's transfer of its device mends it.
    """
    doubtful = isinstance(refusal, CertificateUntrusted | CertificateMalformed | ConflictError)
    return refusal.action is Action.STOP and not doubtful
