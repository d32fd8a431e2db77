"""Claims in the device records: one transaction, or two where DynamoDB can't decide in one.

`claims` has the expressions of the transaction, `budget` those of its counters. `refusals` remembers refused
claims, and the next claim that would be refused for the same reason costs reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import is_throttling
from firstboot.aws.dynamodb import budget, claims, rows
from firstboot.aws.dynamodb.refusals import Refusals
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.claim import (
    ABOUT_NAME,
    ClaimRefused,
    Enrollment,
    RefusedBy,
    Renewal,
    decisive,
    is_claimable,
)
from firstboot.domain.device import Device
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Failed = dict[RefusedBy, rows.Row | None]
"""The conditions of a claim that did not hold, with the row that each was about, if it was read."""

_ABOUT_CERTIFICATE = frozenset({RefusedBy.BOOTSTRAP, RefusedBy.DEVICE, RefusedBy.KEY, RefusedBy.DAY})
"""The refusals that the same bootstrap certificate is likely to get again."""


class DynamoClaims(DynamoTable):
    """The claims of certificates. Every method raises Unavailable."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._refusals = Refusals()

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return the reason against it (at most two TransactWriteItems).

        The device's row, the claim of its key and the counters change together or not at all, and only if the
        key and the bootstrap certificate allow it. When the reply is lost, botocore's own retry claims once,
        because both have one ClientRequestToken. When the device repeats the request, its row refuses it and
        is returned. A claim that this process expects to be refused is decided by reads (GetItem).
        """
        return self._enroll(asked) if isinstance(asked, Enrollment) else self._renew(asked)

    def count_guess(self, identifier: str, now: datetime) -> bool:
        """Count a name that a claim certificate was refused with; return False above the limit (UpdateItem).

        Above the limit nothing is written, and claims with the certificate are refused until the hour ends.
        """
        counted = budget.guesses(identifier, now)
        is_counted = self._update_busy(counted.update())
        if not is_counted:
            self._refusals.note_counter(counted.counter, RefusedBy.GUESSES)
        return is_counted

    def _enroll(self, asked: Enrollment) -> ClaimRefused | None:
        counted = budget.counters(asked)
        failed = self._foreseen(asked, counted) or self._tried(asked, counted)
        if not failed:
            return None
        refused = _decisive(failed, asked)
        if refused.by is RefusedBy.DAY:
            refused = replace(refused, again_at=budget.again_at(failed[RefusedBy.DAY]))
        if refused.by in _ABOUT_CERTIFICATE:
            self._refusals.note_certificate(asked.enrolled_by, asked.now)
        # A threshold that was reached is not remembered. The caller freezes the group for it, and if that
        # fails, the next claim must get the same refusal. A device's own count may go on before the day ends.
        by = RefusedBy.TOTAL if refused.by is RefusedBy.FROZEN else refused.by
        for counter in _limiting(asked, counted):
            if counter.refused_by is by and by not in (RefusedBy.THRESHOLD, RefusedBy.DAY):
                self._refusals.note_counter(counter, refused.by)
        return refused

    def _foreseen(self, asked: Enrollment, counted: Sequence[budget.Counter]) -> Failed:
        """Return the conditions that do not hold, if this process has refused such a claim before.

        An empty result decides nothing. A count without a period is read, so that a group that was thawed
        enrolls devices at once. A period's count never decreases, so its refusal lasts until the period ends.
        """
        failed: Failed = {}
        limiting = _limiting(asked, counted)
        for counter in limiting:
            known = self._refusals.by_counter(counter)
            if known and counter.ends_at:
                failed[known] = None
            elif known:
                shard = budget.own(counter, asked.device_id)
                if shard.refusal(row := self._get(shard.key)) is known:
                    failed[known] = row
                else:
                    self._refusals.forget_counter(counter)
        if not failed and not self._refusals.has_certificate(asked.enrolled_by, asked.now):
            return {}
        # In a shared group the counters come before the name. A process that only read the device's row would
        # refuse an unexpected name for itself, and an expected one for the group.
        if asked.expected and failed.keys() <= ABOUT_NAME:
            failed |= self._full(asked, limiting)
        elif not asked.expected:
            failed |= self._full(asked, [each for each in limiting if each.pause])
        # A repeat is answered by the device's row, also if the counters refuse new claims.
        return failed | self._unmet(asked)

    def _full(self, asked: Enrollment, limiting: Sequence[budget.Counter]) -> Failed:
        """Return the conditions of the counters that do not hold (GetItem of each, and of other shards)."""
        failed: Failed = {}
        for counter in limiting:
            shard = budget.own(counter, asked.device_id)
            row = self._get(shard.key)
            if reason := shard.refusal(row):
                failed[reason] = row
                self._with_room(shard, failed)
        return failed

    def _unmet(self, asked: Enrollment) -> Failed:
        """Return the conditions that do not hold, apart from those of the counters (four GetItem).

        There are four reads in any case, so that the time of an answer says nothing about the device.
        """
        name = asked.device_id
        revoked = self._get(claims.bootstrap_key(asked.enrolled_by))
        row = self._get(rows.device_key(name))
        owner, claimant = (self._get(check["Key"]) for check in _key_checks(asked))
        failed: Failed = {}
        if revoked:
            failed[RefusedBy.BOOTSTRAP] = revoked
        if not is_claimable(rows.device(row) if row else None, asked):
            failed[RefusedBy.DEVICE] = row
        if claims.is_of_another(owner, name) or claims.is_of_another(claimant, name, asked.now):
            failed[RefusedBy.KEY] = None
        return failed

    def _tried(self, asked: Enrollment, counted: Sequence[budget.Counter]) -> Failed:
        """Claim, and return the conditions that did not hold, if any."""
        shards = [budget.own(each, asked.device_id) for each in counted]
        failed = self._claim_enrollment(asked, shards)
        if not _is_by_a_shard(failed, asked, shards):
            return failed
        # A full shard says nothing about the limit as a whole. Without a look at the other shards, a part of
        # the limit would be lost when the devices spread over them unevenly.
        shards = [self._with_room(each, failed) for each in shards]
        if failed:
            return failed
        failed = self._claim_enrollment(asked, shards)
        if _is_by_a_shard(failed, asked, shards):
            raise Unavailable(log="other claims filled the counters' shards meanwhile")
        return failed

    def _claim_enrollment(self, asked: Enrollment, shards: Sequence[budget.Shard]) -> Failed:
        """Claim once, and once more if the record has a one-time admission of the asking key."""
        failed = self._claim(asked, claims.enrollment(asked), shards)
        device = _device(failed)
        if device is None or device.admission is None or device.admission.key != asked.pin:
            return failed
        return self._claim(asked, claims.enrollment(asked, uses_admission=True), shards)

    def _with_room(self, shard: budget.Shard, failed: Failed) -> budget.Shard:
        """Return the shard to count in: another one that has room, if this one is full (GetItem of others).

        If there is one, remove the counter's refusal from `failed`.
        """
        by = shard.counter.refused_by
        for other in shard.others() if by in failed else ():
            row = self._get(other.key)
            reason = other.refusal(row)
            if reason is None:
                del failed[by]
                return other
            failed[reason] = row
        return shard

    def _renew(self, asked: Renewal) -> ClaimRefused | None:
        # A device renews once in months, so the first update is almost always the right one.
        failed = self._claim(asked, claims.renewal(asked, is_first_of_day=True))
        refused = _decisive(failed, asked) if failed else None
        if refused is None or refused.by is not RefusedBy.DEVICE or not is_claimable(refused.device, asked):
            return refused
        failed = self._claim(asked, claims.renewal(asked, is_first_of_day=False))
        return _decisive(failed, asked) if failed else None

    def _claim(
        self,
        asked: Enrollment | Renewal,
        update: dict[str, Any],
        shards: Sequence[budget.Shard] = (),
    ) -> Failed:
        """Claim the key, make the `update` of the device's row and count in `shards`."""
        owner, _ = _key_checks(asked)
        checks = [(RefusedBy.KEY, owner)]
        if isinstance(asked, Enrollment):
            checks.append((RefusedBy.BOOTSTRAP, claims.not_revoked(asked.enrolled_by)))
            # Above the limit of refused names an expected name is refused too: it may be a guess.
            if asked.expected:
                guesses = budget.guesses(asked.enrolled_by, asked.now)
                checks.append((guesses.counter.refused_by, guesses.check()))
        conditions = [by for by, _ in checks]
        conditions += [RefusedBy.KEY, RefusedBy.DEVICE, *(each.counter.refused_by for each in shards)]
        items = [claims.key_claim(asked), update, *(each.update() for each in shards)]
        try:
            self._transact(items, [check for _, check in checks])
        except ClientError as error:
            return _failed(error, conditions)
        return {}


def _limiting(asked: Enrollment, counted: Sequence[budget.Counter]) -> list[budget.Counter]:
    """Return the counters that may refuse the claim: those it increments, and that of refused names."""
    found = list(counted)
    if asked.expected:
        found.append(budget.guesses(asked.enrolled_by, asked.now).counter)
    return found


def _key_checks(asked: Enrollment | Renewal) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the checks that the key is no other device's for good, and that no other device claims it."""
    spki, name = asked.certificate.spki, asked.device_id
    return claims.key_unowned(spki, name), claims.key_unclaimed(spki, name, asked.now)


def _is_by_a_shard(failed: Failed, asked: Enrollment, shards: Sequence[budget.Shard]) -> bool:
    """Return whether a counter that has other shards refused the claim."""
    spread = {each.counter.refused_by for each in shards if each.counter.shards > 1}
    return bool(failed) and _decisive(failed, asked).by in spread


def _decisive(failed: Failed, asked: Enrollment | Renewal) -> ClaimRefused:
    return decisive(failed.keys(), _device(failed), asked)


def _device(failed: Failed) -> Device | None:
    row = failed.get(RefusedBy.DEVICE)
    return rows.device(row) if row else None


def refusal(error: ClientError, conditions: list[RefusedBy]) -> ClaimRefused:
    """Return which condition of a transaction did not hold; the first one in RefusedBy's order counts.

    `conditions` are those of the transaction's first items, in their order. Raises Unavailable if the
    transaction was cancelled for another reason.
    """
    failed = _failed(error, conditions)
    by = next(each for each in RefusedBy if each in failed)
    return ClaimRefused(by, _device(failed) if by is RefusedBy.DEVICE else None)


def _failed(error: ClientError, conditions: list[RefusedBy]) -> Failed:
    """Return the conditions that did not hold, of a transaction that was cancelled. See `refusal`."""
    reasons: list[Any] = error.response.get("CancellationReasons", [])
    failed: Failed = {}
    for condition, reason in zip(conditions, reasons, strict=False):
        if reason.get("Code") == "ConditionalCheckFailed":
            row = reason.get("Item") or None
            # A frozen counter and a full one fail the same condition.
            failed[RefusedBy.FROZEN if "frozenAt" in (row or {}) else condition] = row
    if not failed:
        # TransactionConflict, ThrottlingError and similar codes decide nothing about the claim.
        codes = [reason.get("Code") for reason in reasons]
        raise Unavailable(log=f"claim: {codes}", is_throttled=any(map(is_throttling, codes))) from error
    return failed
