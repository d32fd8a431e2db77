"""Claims in the device records: one transaction, with another try where DynamoDB can't decide in one.

`claims` has the expressions of the transaction, `budget` those of its counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.dynamodb import budget, claims, rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.claim import ClaimRefused, Enrollment, RefusedBy, Renewal, is_claimable
from firstboot.domain.device import Device
from firstboot.domain.errors import Unavailable


class DynamoClaims(DynamoTable):
    """The claims of certificates. Every method raises Unavailable."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return the reason against it (TransactWriteItems).

        The device's row, the claim of its key and the counters change together or not at all, and only if the
        key and the bootstrap certificate allow it. When the reply is lost, botocore's own retry claims once,
        because both have one ClientRequestToken. When the device repeats the request, its row refuses it and
        is returned.
        """
        return self._enroll(asked) if isinstance(asked, Enrollment) else self._renew(asked)

    def _enroll(self, asked: Enrollment) -> ClaimRefused | None:
        counted = budget.counters(asked)
        # A full shard says nothing about the limit as a whole, so the next shard is tried.
        refused = None
        for step, counters in enumerate(budget.tries(asked.device_id, counted)):
            refused = self._claim(asked, [claims.enrollment(asked), *counters], counted)
            if refused is None or not _another_shard(refused, counted, step):
                return refused
        return refused

    def _renew(self, asked: Renewal) -> ClaimRefused | None:
        # A device renews once in months, so the first update is almost always the right one.
        refused = self._claim(asked, [claims.renewal(asked, is_first_of_day=True)])
        if refused is None or refused.by is not RefusedBy.DEVICE or not is_claimable(refused.device, asked):
            return refused
        return self._claim(asked, [claims.renewal(asked, is_first_of_day=False)])

    def _claim(
        self,
        asked: Enrollment | Renewal,
        items: list[dict[str, Any]],
        counted: Sequence[budget.Counter] = (),
    ) -> ClaimRefused | None:
        """Claim the key and make the updates `items`: the device's row, then the counters."""
        spki, name = asked.certificate.spki, asked.device_id
        checks = {RefusedBy.KEY: claims.key_unowned(spki, name)}
        if isinstance(asked, Enrollment):
            checks[RefusedBy.BOOTSTRAP] = claims.not_revoked(asked.enrolled_by)
        conditions = [*checks, RefusedBy.KEY, RefusedBy.DEVICE, *(each.refused_by for each in counted)]
        try:
            self._transact([claims.key_claim(asked), *items], [*checks.values()])
        except ClientError as error:
            return refusal(error, conditions)
        return None


def _another_shard(refused: ClaimRefused, counted: list[budget.Counter], step: int) -> bool:
    """Return whether the counter that refused the claim has shards that were not tried yet."""
    return any(each.refused_by is refused.by and step + 1 < each.shards for each in counted)


def refusal(error: ClientError, conditions: list[RefusedBy]) -> ClaimRefused:
    """Return which condition of the transaction did not hold; the first one in RefusedBy's order counts.

    `conditions` are those of the transaction's first items, in their order. Raises Unavailable if the
    transaction was cancelled for another reason.
    """
    reasons = error.response.get("CancellationReasons", [])
    failed = {
        condition: reason
        for condition, reason in zip(conditions, reasons, strict=False)
        if reason.get("Code") == "ConditionalCheckFailed"
    }
    # The bootstrap certificate's check comes before the device's condition: a repeat fails that one too, and
    # would get its certificate.
    for condition in RefusedBy:
        if reason := failed.get(condition):
            # A frozen counter and a full one fail the same condition.
            if "frozenAt" in (reason.get("Item") or {}):
                return ClaimRefused(RefusedBy.FROZEN)
            return ClaimRefused(condition, _old(reason) if condition is RefusedBy.DEVICE else None)
    # TransactionConflict, ThrottlingError and similar codes decide nothing about the claim.
    raise Unavailable(log=f"claim: {[reason.get('Code') for reason in reasons]}") from error


def _old(answer: Any) -> Device | None:  # noqa: ANN401 - botocore types no failed condition's item
    row = answer.get("Item")
    return rows.device(row) if row else None
