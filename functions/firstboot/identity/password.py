"""Admission by a one-time password, in which an operator has named a device and its group.

1. The credentials are HTTP Basic's: the device's id and a password.
2. The password was made with our key for this device, and has not expired.
3. The fleet has the password's group, which may have a device with this id, and the group is open.

A password may be used for one key. The caller records the use, after it has verified the CSR.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from firstboot.domain.device import Anchor
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.domain.proof_id import ProofId
from firstboot.identity.admission import Admission, AdmissionKind, AdmittedBy, check_open
from firstboot.identity.errors import EnrollmentClosed, PasswordRefused, PasswordRequired
from firstboot.pki import password
from firstboot.pki.password import Password

_SCHEME = "basic "
_MAX_HEADER = 512
"""Characters of an Authorization header. The longest valid one has about 310."""


class PasswordKeys(Protocol):
    """The source of the key of one-time passwords."""

    def password_key(self) -> bytes:
        """Return the key of all one-time passwords. Raises Unavailable."""


@dataclass(frozen=True)
class AdmitByPassword:
    """The admission of a device by a one-time password."""

    keys: PasswordKeys

    def __call__(self, authorization: str, fleet: Fleet, now: datetime) -> Admission:
        """Admit the device that sends the header `authorization`.

        Raises PasswordRequired, PasswordRefused, EnrollmentClosed, Unavailable.
        """
        name, text = _credentials(authorization)  # 1
        found = self._verified(name, text, fleet, now)  # 2
        group = fleet.group_of(found.group)
        if group is None or not group.may_name(name):  # 3
            raise EnrollmentClosed(log=f"group {found.group} has no device {name} any more")
        check_open(group, now)
        used = ProofId(found.digest, found.expires_at, has_nonce=True)
        admitted_by = AdmittedBy(
            AdmissionKind.ONE_TIME_PASSWORD,
            identifier=found.digest,
            spki=None,
            bootstrap_ids=frozenset(),
            anchor=ANCHOR,
        )
        return Admission(name, group, admitted_by, "est", used)

    def _verified(self, name: str, text: str, fleet: Fleet, now: datetime) -> Password:
        # An id that the fleet has reserved since is refused like any other password.
        if not fleet.ids.allows(name):
            raise PasswordRefused(log=f"{name[:80]!r} is no device id")
        found = password.read(text, name, self.keys.password_key())
        if found is None:
            raise PasswordRefused(log=f"not a password of {name}")
        if now >= found.expires_at:
            raise PasswordRefused(log=f"{name}'s password has expired")
        return found


ANCHOR = Anchor(hashlib.sha256(b"firstboot one-time password").hexdigest(), "one-time password")
"""What stands in a record in the place of a trust anchor."""


def _credentials(authorization: str) -> tuple[DeviceId, str]:
    """Return the user name and the password of HTTP Basic (RFC 7617 section 2).

    Raises PasswordRequired, PasswordRefused.
    """
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise PasswordRequired
    if len(authorization) > _MAX_HEADER:
        raise PasswordRefused(log=f"{len(authorization)} characters")
    try:
        text = base64.b64decode(authorization[len(_SCHEME) :].strip(), validate=True).decode("ascii")
    except ValueError as error:
        raise PasswordRefused(log="not base64 of ASCII") from error
    # A device's id may have a colon, and no password has one. So the last colon ends the user name.
    name, _, given = text.rpartition(":")
    return DeviceId(name), given


def for_key(admission: Admission, spki: bytes) -> Admission:
    """Return the admission for one key: a repeat with the key is no second use of the password.

    A device that gets no answer, or has to wait, must be able to send its request again. `spki` is the key's
    SubjectPublicKeyInfo in DER.
    """
    if admission.proof is None:
        return admission
    return replace(admission, proof=replace(admission.proof, used_for=hashlib.sha256(spki).hexdigest()))
