"""Reserve a certificate: record the intent to certify, or find what is recorded for a repeat.

`Claims` writes the intent if every condition holds. If one does not, the reason decides: a repeat gets the
certificate that the record has for it, and every other request gets its refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.claim import (
    ABOUT_NAME,
    HOLD,
    ClaimRefused,
    Enrollment,
    Limits,
    RefusedBy,
    Renewal,
    answer_to,
)
from firstboot.domain.clock import epoch, until_next
from firstboot.domain.device import CertificateRecord, Device, RefusedKey
from firstboot.domain.errors import (
    BootstrapKeyChanged,
    DeviceNotExpected,
    FirstbootError,
    KeyInUse,
    Unavailable,
)
from firstboot.exchange.errors import (
    EnrollmentBudgetSpent,
    EnrollmentFrozen,
    EnrollmentRateExceeded,
    ReenrollmentRateExceeded,
)
from firstboot.exchange.waiting import Waiting
from firstboot.identity.errors import BootstrapRevoked

FROZEN_SECONDS = 3_600
"""When a device of a frozen group asks again. The time is long because a person must thaw the group."""


class Claims(Protocol):
    """The claims in the device records. Every method raises Unavailable when AWS does not answer."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return the reason against it; completely or not at all."""

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Refuse enrollments of the group until an operator thaws it. A repeat changes nothing."""

    def count_guess(self, identifier: str, now: datetime) -> bool:
        """Count a name that a claim certificate was refused with; return False above the hour's limit."""

    def note_refused_key(self, device: Device, refused: RefusedKey) -> None:
        """Note in the record `device` which bootstrap key was refused last, once a minute at most."""


@dataclass(frozen=True)
class Reserved:
    """The recorded certificate of a request. For a repeat, `device` is the record that has it."""

    record: CertificateRecord
    is_repeat: bool = False
    device: Device | None = None


@dataclass(frozen=True)
class Reserve:
    """The step that records the intent to certify, completely or not at all."""

    claims: Claims
    waiting: Waiting

    def __call__(self, asked: Enrollment | Renewal) -> Reserved:
        """Record the certificate that is asked for, or return the one that is recorded for a repeat.

        Raises what domain.claim.answer_to raises, BootstrapRevoked, KeyInUse, EnrollmentFrozen, LimitError,
        Unavailable.
        """
        refused = self._claim(asked)
        if refused is None:
            return Reserved(asked.certificate)
        return Reserved(self._recorded(refused, asked), is_repeat=True, device=refused.device)

    def _claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        try:
            return self.claims.claim(asked)
        except Unavailable as error:
            if isinstance(asked, Renewal):
                raise
            raise self.waiting.unavailable(error, asked) from error

    def _recorded(self, refused: ClaimRefused, asked: Enrollment | Renewal) -> CertificateRecord:
        """Return the certificate that the row of a refused claim already holds for this request.

        Raises the refusal if it holds none.
        """
        if refused.by is RefusedBy.DEVICE:
            return self._answer(refused.device, asked)
        # More devices enroll in this hour than the operator expected, so the group stops until a person has
        # looked.
        if refused.by is RefusedBy.THRESHOLD and isinstance(asked, Enrollment) and asked.limits:
            self.claims.freeze(asked.counted_as, asked.limits, asked.now)
            raise EnrollmentFrozen(log=f"{asked.group} frozen", retry_after=FROZEN_SECONDS)
        if refused.by is RefusedBy.RATE and isinstance(asked, Enrollment):
            raise self.waiting.too_many(asked)
        error = _too_often(refused, asked) or _refusal(refused.by, asked.now)
        raise self._of_name(error, asked) if refused.by in ABOUT_NAME else error

    def _answer(self, device: Device | None, asked: Enrollment | Renewal) -> CertificateRecord:
        try:
            known = answer_to(device, asked)
        except FirstbootError as error:
            if (
                isinstance(error, BootstrapKeyChanged)
                and device
                and isinstance(asked, Enrollment)
                and asked.pin
            ):
                self.claims.note_refused_key(device, RefusedKey(asked.pin, asked.now))
            raise self._of_name(error, asked) from None
        if known is None:
            raise Unavailable(log="the device record changed during the claim")
        return known

    def _of_name(self, error: FirstbootError, asked: Enrollment | Renewal) -> FirstbootError:
        """Return the error that the caller gets where `error` would tell something about the device's name.

        In a shared group it is one error for each name that is not expected, taken, revoked or in another
        group: every holder of the claim certificate can try names. The refusal is counted as a guess.
        """
        if not (isinstance(asked, Enrollment) and asked.expected):
            return error
        if not self.claims.count_guess(asked.enrolled_by, asked.now):
            return _refusal(RefusedBy.GUESSES, asked.now)
        log = f"{asked.device_id}: {error.code} {error.log}".rstrip()
        # A name that is reserved for another key is free again after this time.
        wait = int(HOLD.total_seconds())
        return DeviceNotExpected(log=log, metric=error.metric, retry_after=wait)


def _too_often(refused: ClaimRefused, asked: Enrollment | Renewal) -> FirstbootError | None:
    """Return the error for a device that enrolls too often, or None if that is not the reason."""
    if refused.by is not RefusedBy.DAY:
        return None
    # The count begins anew on the next day.
    seconds = until_next(timedelta(days=1), asked.now)
    if refused.again_at:
        seconds = min(seconds, epoch(refused.again_at) - epoch(asked.now))
    log = f"{asked.device_id} enrolls too often: a copy of its bootstrap key may be in use"
    return ReenrollmentRateExceeded(log=log, retry_after=max(1, seconds))


def _refusal(by: RefusedBy, now: datetime) -> FirstbootError:
    """Return the error for a claim that a row other than the device's refused."""
    match by:
        case RefusedBy.BOOTSTRAP | RefusedBy.KEY | RefusedBy.TOTAL:
            return _FINAL[by]()
        case RefusedBy.GUESSES:
            return EnrollmentRateExceeded(
                "The claim certificate was refused with too many names in this hour",
                retry_after=until_next(timedelta(hours=1), now),
                metric="NameGuessLimit",
            )
        case _:
            return EnrollmentFrozen(retry_after=FROZEN_SECONDS)


_FINAL: dict[RefusedBy, type[FirstbootError]] = {
    RefusedBy.BOOTSTRAP: BootstrapRevoked,
    RefusedBy.KEY: KeyInUse,
    RefusedBy.TOTAL: EnrollmentBudgetSpent,
}
