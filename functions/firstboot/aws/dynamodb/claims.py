"""A claim as one DynamoDB transaction: updates of the device's row and of the row that claims its key.

It also checks that the key is no other device's for good. An enrollment checks too that no row says that its
bootstrap certificate is revoked.

The conditions are written twice. Here they make the claim atomic; `answer_to` in `domain/claim.py` has them
as Python and gives the reason of a refusal. A property test compares the two on random records.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb import rows
from firstboot.domain.claim import RENEWALS_PER_DAY, Enrollment, Renewal
from firstboot.domain.clock import epoch
from firstboot.domain.device import Status
from firstboot.domain.names import DeviceId

# The pending certificate is not held any more, and it is not the one that a repeat would get.
_FREE = (
    "(attribute_not_exists(pending) OR (pending.heldUntil <= :now"
    " AND (pending.spki <> :spki OR pending.renewAfter <= :now)))"
)
# The active certificate is not the one that a repeat would get.
_DUE = "(active.spki <> :spki OR active.renewAfter <= :now)"
_ALIVE = "NOT #status IN (:revoked, :deleted)"
# An expired certificate can renew within the group's grace, and its own key only.
_RENEWS = (
    f"{_ALIVE} AND active.serial = :caller AND {_FREE} AND {_DUE}"
    " AND (active.notAfter >= :now OR (active.spki = :spki AND active.notAfter > :over))"
)
# What an operator wrote beforehand, and what an earlier certificate left, is kept. A new record gets the
# claims of its pending certificate too, because older versions read no others.
_ENROLL = (
    "SET deviceId = :id, #group = :group, #status = :enrolled, pending = :pending,"
    " enrolledBy = :by, anchor = :anchor, anchorSubject = :subject, way = :way,"
    " updatedAt = :now, createdAt = if_not_exists(createdAt, :now), claims = if_not_exists(claims, :claims),"
    " generation = if_not_exists(generation, :zero), attributes = if_not_exists(attributes, :empty)"
)
# The two updates of an enrollment that binds the device's name to the bootstrap key `:pin`. The first is for
# a record without a one-time admission of that key, the second for one with it, and removes it.
_SAME_PIN = "(attribute_not_exists(pin) OR pin = :pin)"
_PINNED = f"{_SAME_PIN} AND (attribute_not_exists(admission) OR admission.spki <> :pin)"
_ADMITTED = f"admission.spki = :pin AND (admission.endsAt > :now OR {_SAME_PIN})"
_RENEW = "SET pending = :pending, updatedAt = :now"
# The first renewal of a day starts the day's count, and each further one adds to it.
_FIRST_OF_DAY = (
    "renewalDay = :day, renewals = :one",
    "(attribute_not_exists(renewalDay) OR renewalDay < :day)",
)
_ONE_MORE = ("renewals = renewals + :one", "renewalDay >= :day AND renewals < :limit")

_CLAIM_KEPT = timedelta(days=30)
"""How long a key stays claimed after its certificate and the certificate's grace have ended."""

_UNOWNED = "attribute_not_exists(pk) OR deviceId = :id"


def enrollment(asked: Enrollment, *, uses_admission: bool = False) -> dict[str, Any]:
    """Return the update of the device's row that records the intent if the record allows it.

    With `uses_admission` the record must have a one-time admission of the asking key, which is removed;
    otherwise it must have none of that key. DynamoDB's updates have no branches, so these are two updates.
    """
    return _intent(asked, _enrollment(asked, uses_admission=uses_admission))


def renewal(asked: Renewal, *, is_first_of_day: bool) -> dict[str, Any]:
    """Return the update of the device's row that records the intent, and counts it, if the record allows it.

    With `is_first_of_day` the record must have no count of this day yet, otherwise it must have one that is
    below the limit. DynamoDB's updates have no branches, so these are two updates.
    """
    return _intent(asked, _renewal(asked, is_first_of_day=is_first_of_day))


def _intent(asked: Enrollment | Renewal, own: dict[str, Any]) -> dict[str, Any]:
    common = {
        ":revoked": Status.REVOKED.value,
        ":deleted": Status.DELETED.value,
        ":pending": rows.certificate_row(asked.certificate),
        ":spki": asked.certificate.spki,
        ":now": asked.now,
    }
    own["ExpressionAttributeValues"] = rows.values(common | own["ExpressionAttributeValues"])
    return {
        "Key": rows.device_key(asked.device_id),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **own,
    }


def _enrollment(asked: Enrollment, *, uses_admission: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        ":id": asked.device_id,
        ":group": asked.group,
        ":enrolled": Status.ENROLLED.value,
        ":claims": asked.certificate.claims or {},
        ":by": asked.enrolled_by,
        ":anchor": asked.anchor.key,
        ":subject": asked.anchor.subject,
        ":way": asked.way,
        ":zero": 0,
        ":empty": {},
    }
    # DynamoDB compares a value with an attribute only, and refuses a value that no expression uses, so the
    # two cases need two texts. In a group that refuses re-enrollment, an identity whose certificate and grace
    # have ended does not prevent it: a device that was off for so long must be able to return.
    # Neither does it prevent a board that an operator has admitted.
    over = (
        "(active.notAfter <= :over OR admission.endsAt > :now)"
        if uses_admission
        else "active.notAfter <= :over"
    )
    may_replace = _DUE if asked.replaces else f"({over} AND {_DUE})"
    if not asked.replaces:
        values[":over"] = asked.now - asked.grace
    former = {f":former{number}": name for number, name in enumerate(asked.formerly)}
    values |= former
    names = ", ".join([":group", *former])
    known = (
        f"{_ALIVE} AND #group IN ({names}) AND {_FREE} AND (attribute_not_exists(active) OR {may_replace})"
    )
    update = _ENROLL
    if asked.pin:
        values[":pin"] = asked.pin
        known += f" AND {_ADMITTED if uses_admission else _PINNED}"
        update += ", pin = :pin"
    if asked.bootstrap_ids:
        values[":ids"] = asked.bootstrap_ids
        update += ", bootstrapIds = :ids"
    # In a shared group the records of expected devices are the allow-list: without a record there is no
    # claim.
    exists = "attribute_exists(pk) AND" if asked.expected else "attribute_not_exists(pk) OR"
    return {
        "UpdateExpression": update + _removed(asked, uses_admission=uses_admission),
        "ConditionExpression": f"{exists} ({known})",
        # `status` and `group` are reserved words of DynamoDB.
        "ExpressionAttributeNames": {"#status": "status", "#group": "group"},
        "ExpressionAttributeValues": values,
    }


def _removed(asked: Enrollment, *, uses_admission: bool) -> str:
    # DynamoDB has no empty set, so without ids the attribute goes.
    names = {"bootstrapIds": not asked.bootstrap_ids, "admission": uses_admission}
    removed = [name for name, is_removed in names.items() if is_removed]
    return f" REMOVE {', '.join(removed)}" if removed else ""


def _renewal(asked: Renewal, *, is_first_of_day: bool) -> dict[str, Any]:
    counting, counted = _FIRST_OF_DAY if is_first_of_day else _ONE_MORE
    values: dict[str, Any] = {
        ":caller": asked.caller,
        ":over": asked.now - asked.grace,
        ":day": rows.day_number(asked.now.date()),
        ":one": 1,
    }
    if not is_first_of_day:
        values[":limit"] = RENEWALS_PER_DAY
    pinning = ""
    if asked.pin:
        pinning, values[":pin"] = ", pin = if_not_exists(pin, :pin)", asked.pin
    return {
        "UpdateExpression": f"{_RENEW}, {counting}{pinning}",
        "ConditionExpression": f"{_RENEWS} AND {counted}",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": values,
    }


# Two rows bind a key to a device. The claim writes a row that ends with its certificate, because a device can
# claim keys every day. The commit writes another one that stays, also when the device is deleted: a key that
# turns up under another name has been copied. One row for both would lose its end at the commit and get one
# again at the next claim of the same key, since an update can't leave an attribute as it is.


def key_claim(asked: Enrollment | Renewal) -> dict[str, Any]:
    """Return the update that claims the key, unless another device's claim has not ended yet."""
    spki, device_id, end = asked.certificate.spki, asked.device_id, asked.certificate.not_after
    update = key_unclaimed(spki, device_id, asked.now)
    # As integers, because a certificate may end in the last year that a datetime can hold.
    expires = epoch(end) + (asked.grace + _CLAIM_KEPT) // timedelta(seconds=1)
    update["ExpressionAttributeValues"][":expires"] = {"N": str(expires)}
    return update | {"UpdateExpression": "SET deviceId = :id, expiresAt = :expires"}


def key_unclaimed(spki: str, device_id: DeviceId, now: datetime) -> dict[str, Any]:
    """Return the check that no other device's claim of the key is in force."""
    return {
        "Key": {"pk": {"S": f"KEYCLAIM#{spki}"}},
        # Time-to-live removes an ended row days later (DynamoDB developer guide, "Using time to live").
        "ConditionExpression": f"{_UNOWNED} OR expiresAt < :now",
        "ExpressionAttributeValues": {":id": {"S": device_id}, ":now": rows.number(now)},
    }


def key_unowned(spki: str, device_id: DeviceId) -> dict[str, Any]:
    """Return the check that the key is no other device's for good."""
    return {
        "Key": _key(spki),
        "ConditionExpression": _UNOWNED,
        "ExpressionAttributeValues": {":id": {"S": device_id}},
    }


def is_of_another(row: rows.Row | None, device_id: DeviceId, now: datetime | None = None) -> bool:
    """Return whether the row of a key binds it to another device: the conditions of the two checks above.

    With `now`, the row is a claim, which may have ended.
    """
    if row is None or row["deviceId"]["S"] == device_id:
        return False
    return not (now and "expiresAt" in row and int(row["expiresAt"]["N"]) < epoch(now))


def key_owner(spki: str, device_id: DeviceId) -> dict[str, Any]:
    """Return the update that makes the key the device's for good, unless it is a device's already."""
    return {
        "Key": _key(spki),
        "UpdateExpression": "SET deviceId = if_not_exists(deviceId, :id)",
        "ExpressionAttributeValues": {":id": {"S": device_id}},
    }


def _key(spki: str) -> dict[str, Any]:
    return {"pk": {"S": f"KEY#{spki}"}}


def bootstrap_key(identifier: str) -> dict[str, Any]:
    """Return the primary key of the row that says that a bootstrap certificate is revoked."""
    return {"pk": {"S": f"BOOTSTRAP#{identifier}"}}


def not_revoked(identifier: str) -> dict[str, Any]:
    """Return the check that the bootstrap certificate with this identifier is not revoked."""
    return {"Key": bootstrap_key(identifier), "ConditionExpression": "attribute_not_exists(pk)"}
