"""A claim as one DynamoDB transaction: updates of the device's row and of its key's row.

An enrollment also checks that no row says that its bootstrap certificate is revoked.

The conditions are written twice. Here they make the claim atomic; `answer_to` in `domain/claim.py` has them
as Python and gives the reason of a refusal. A property test compares the two on random records.
"""

from __future__ import annotations

from typing import Any

from firstboot.aws.dynamodb import rows
from firstboot.domain.claim import Enrollment, Renewal
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
# What an operator wrote beforehand, and what an earlier certificate left, is kept.
_ENROLL = (
    "SET deviceId = :id, #group = :group, #status = :enrolled, pending = :pending, claims = :claims,"
    " enrolledBy = :by, bootstrapIds = :ids, anchor = :anchor, anchorSubject = :subject,"
    " updatedAt = :now, createdAt = if_not_exists(createdAt, :now),"
    " generation = if_not_exists(generation, :zero), attributes = if_not_exists(attributes, :empty)"
)
_RENEW = "SET pending = :pending, updatedAt = :now"


def device(asked: Enrollment | Renewal) -> dict[str, Any]:
    """Return the update of the device's row that records the intent if the record allows it."""
    own = _enrollment(asked) if isinstance(asked, Enrollment) else _renewal(asked)
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


def _enrollment(asked: Enrollment) -> dict[str, Any]:
    values = {
        ":id": asked.device_id,
        ":group": asked.group,
        ":enrolled": Status.ENROLLED.value,
        ":claims": asked.claims,
        ":by": asked.enrolled_by,
        ":ids": asked.bootstrap_ids,
        ":anchor": asked.anchor.key,
        ":subject": asked.anchor.subject,
        ":zero": 0,
        ":empty": {},
    }
    # DynamoDB compares a value with an attribute only, and refuses a value that no expression uses, so the
    # two cases need two texts. In a group that refuses re-enrollment, an identity whose certificate and grace
    # have ended does not prevent it: a device that was off for so long must be able to return.
    may_replace = _DUE if asked.replaces else f"(active.notAfter <= :over AND {_DUE})"
    if not asked.replaces:
        values[":over"] = asked.now - asked.grace
    known = f"{_ALIVE} AND #group = :group AND {_FREE} AND (attribute_not_exists(active) OR {may_replace})"
    # In a shared group the records of expected devices are the allow-list: without a record there is no
    # claim.
    exists = "attribute_exists(pk) AND" if asked.expected else "attribute_not_exists(pk) OR"
    return {
        "UpdateExpression": _ENROLL,
        "ConditionExpression": f"{exists} ({known})",
        # `status` and `group` are reserved words of DynamoDB.
        "ExpressionAttributeNames": {"#status": "status", "#group": "group"},
        "ExpressionAttributeValues": values,
    }


def _renewal(asked: Renewal) -> dict[str, Any]:
    values: dict[str, Any] = {":caller": asked.caller, ":over": asked.now - asked.grace}
    expression = _RENEW
    if asked.claims is not None:
        expression, values[":claims"] = f"{_RENEW}, claims = :claims", asked.claims
    return {
        "UpdateExpression": expression,
        "ConditionExpression": _RENEWS,
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": values,
    }


def key(spki: str, device_id: DeviceId) -> dict[str, Any]:
    """Return the update of the key's row, which binds a key to one device for good.

    The row stays when the device is deleted: a key that turns up under another name has been copied.
    """
    return {
        "Key": {"pk": {"S": f"KEY#{spki}"}},
        "UpdateExpression": "SET deviceId = :id",
        "ConditionExpression": "attribute_not_exists(pk) OR deviceId = :id",
        "ExpressionAttributeValues": {":id": {"S": device_id}},
    }


def bootstrap_key(identifier: str) -> dict[str, Any]:
    """Return the primary key of the row that says that a bootstrap certificate is revoked."""
    return {"pk": {"S": f"BOOTSTRAP#{identifier}"}}


def not_revoked(identifier: str) -> dict[str, Any]:
    """Return the check that the bootstrap certificate with this identifier is not revoked."""
    return {"Key": bootstrap_key(identifier), "ConditionExpression": "attribute_not_exists(pk)"}
