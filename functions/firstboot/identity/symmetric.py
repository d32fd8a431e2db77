"""Admission by a symmetric key that derives from a key of a group.

Azure's Device Provisioning Service has it (concept "Symmetric key attestation"): the device's key is the
HMAC-SHA256 of its registration id, made with the group's key, and signs a shared access signature.

1. The signature is for this registration, for the policy `registration`, and has not ended.
2. One of the two keys of a group derives the key that made it. The group may have the device's id.
3. The last day of the group's budget is not over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.clock import epoch
from firstboot.domain.device import Anchor
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.secret_keys import KeyPair
from firstboot.identity.admission import Admission, AdmissionKind, AdmittedBy, check_open
from firstboot.identity.errors import SignatureRefused
from firstboot.pki import sas

_POLICY = "registration"
"""The policy that a device names in its signature (Azure DPS, "Symmetric key attestation")."""


class GroupKeys(Protocol):
    """The symmetric keys of groups."""

    def pair(self, name: str, now: datetime) -> KeyPair | None:
        """Return the keys of the group `name`, or None if it has none. Raises Unavailable."""


@dataclass(frozen=True)
class _Match:
    """The group whose key `group_key` derives the device's key `key`."""

    group: Group
    group_key: bytes
    key: bytes


@dataclass(frozen=True)
class AdmitByKey:
    """The admission of devices with symmetric keys."""

    keys: GroupKeys

    def __call__(
        self, name: DeviceId, resource: str, authorization: str, fleet: Fleet, now: datetime
    ) -> Admission:
        """Admit the device `name`, whose header Authorization signs for `resource`.

        Raises SignatureRefused, EnrollmentClosed, Unavailable.
        """
        unverified = _checked(authorization, resource, now)  # 1
        found = self._match(unverified, name, fleet, now)  # 2
        check_open(found.group, now)  # 3
        group_key = hashlib.sha256(found.group_key).hexdigest()
        by = AdmittedBy(
            AdmissionKind.SYMMETRIC_KEY,
            identifier=hashlib.sha256(found.key).hexdigest(),
            spki=binding(name, found.group),
            bootstrap_ids=frozenset(),
            anchor=Anchor(group_key, f"symmetric key of {found.group.name}"),
        )
        return Admission(name, found.group, by, "dps")

    def _match(self, unverified: sas.UnverifiedSas, name: DeviceId, fleet: Fleet, now: datetime) -> _Match:
        # A device does not name its group. Every group's keys are tried, and always both of a pair, so that
        # the time tells a caller nothing about which key is near.
        groups = [group for group in fleet.groups.values() if group.symmetric_key and group.may_name(name)]
        matches = [each for group in groups for each in self._matches(unverified, name, group, now)]
        if not matches:
            raise SignatureRefused(
                log=f"no key of {', '.join(each.name for each in groups)} signed for {name}"
            )
        return matches[0]

    def _matches(
        self, unverified: sas.UnverifiedSas, name: DeviceId, group: Group, now: datetime
    ) -> Iterator[_Match]:
        pair = self.keys.pair(group.name, now)
        for group_key in (pair.primary, pair.secondary) if pair else ():
            key = sas.derived(group_key, name)
            if unverified.is_by(key):
                yield _Match(group, group_key, key)


def binding(name: DeviceId, group: Group) -> str:
    """Return what a device's name is bound to where its group pins the bootstrap key.

    It is the SHA-256 (hex) of the group and the name, and of no key: a device must be able to take its key
    from the group's other key while these are rolled. A certificate's key never equals it, so no certificate
    takes a name that a symmetric key has, and the reverse.
    """
    return hashlib.sha256(f"symmetric key\n{group.counted_as}\n{name}".encode()).hexdigest()


def _checked(authorization: str, resource: str, now: datetime) -> sas.UnverifiedSas:
    try:
        unverified = sas.parse(authorization)
    except sas.SasMalformed as error:
        raise SignatureRefused(f"The shared access signature is malformed: {error}") from error
    # Azure's names have no case.
    if unverified.resource.lower() != resource.lower():
        raise SignatureRefused("The shared access signature is for another registration")
    if unverified.policy not in (None, _POLICY):
        raise SignatureRefused(f"The shared access signature must have the policy {_POLICY}")
    # DPS sets no limit to how far in the future a signature ends.
    if unverified.ends <= epoch(now):
        raise SignatureRefused("The shared access signature has ended")
    return unverified
