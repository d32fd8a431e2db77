"""Decide what becomes of the rows of a backup when lost rows are restored. No input or output.

A restoration never takes back a decision that was made since the backup: a revocation, a deletion, a changed
attribute, a superseded certificate, an enrollment that was counted, a group that was frozen, a pin, or a
one-time admission that was used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

from firstboot.domain.device import Status
from firstboot.domain.names import DEVICE_PREFIX, GONE_PREFIX, NONCE_KEY, PASSWORD_KEY

Row = dict[str, Any]
"""Attributes in DynamoDB's own form, `{"S": …}`."""

_NOTES = ("registered", "activating")
"""Sets of certificates of a record. `register` writes them, and they decide nothing about the device."""

_BOUND = ("pin", "admission")
"""The bootstrap key that a device's name is bound to, and the admission of another one."""

_CERTIFICATES = ("active", "pending", "superseded")
_TAKEN_OUT = (Status.REVOKED.value, Status.DELETED.value)


class Fate(StrEnum):
    """The decision about a row of the copy."""

    MISSING = "missing"  # it is put back
    BEHIND = "behind"  # the table's counter began again: the copy's count is added
    DIFFERENT = "different"  # it is put back with `--overwrite`
    KEPT = "kept"  # it differs, and the table's row stays as it is
    DELETED = "deleted"  # the device was deleted since, and the row is not put back
    SAME = "same"


def fate(old: Row, now: Row | None, note: Row | None = None) -> Fate:
    """Return what to do with the row `old` of the copy, where the table has the row `now`, or None.

    `note` is the note of the device's deletion in the table, if `old` is a device record.
    """
    if old["pk"]["S"].startswith(DEVICE_PREFIX):
        return _device(old, now, note)
    return next(decide for prefix, decide in _KINDS.items() if old["pk"]["S"].startswith(prefix))(old, now)


def _device(old: Row, now: Row | None, note: Row | None) -> Fate:
    """Decide about a device record: every decision about a device changes `updatedAt`."""
    if now is None:
        return Fate.DELETED if note and _is_gone(old, note) else Fate.MISSING
    if _decided(old) == _decided(now):
        return Fate.SAME
    known = _number(old, "updatedAt") is not None or _number(now, "updatedAt") is None
    changed = not known or _exceeds("updatedAt", now, old)
    taken_out = now.get("status", {}).get("S") in _TAKEN_OUT
    return Fate.KEPT if taken_out or changed or _exceeds("generation", now, old) else Fate.DIFFERENT


def _decided(row: Row) -> Row:
    """Return a record without what only notes something: what `register` did, and a key that was refused."""
    return {name: value for name, value in row.items() if name not in ("attached", "refusedKey", *_NOTES)}


def _counter(old: Row, now: Row | None) -> Fate:
    """Decide about a counter of a budget. It only grows, so a smaller one began again after it was lost.

    A group that the copy has as frozen, and a row that has counted on does not, was thawed since.
    """
    if now is None:
        return Fate.MISSING
    if old == now:
        return Fate.SAME
    return Fate.BEHIND if (_number(now, "used") or 0) < (_number(old, "used") or 0) else Fate.KEPT


def _lasting(old: Row, now: Row | None) -> Fate:
    """Decide about a row that is written once: the table's stays."""
    if now is None:
        return Fate.MISSING
    return Fate.SAME if old == now else Fate.KEPT


_KINDS: dict[str, Callable[[Row, Row | None], Fate]] = {
    "KEY#": _lasting,  # the owner of a key: a key never passes from one device to another
    "KEYCLAIM#": _lasting,  # the claim of a key
    "CERT#": _lasting,  # a certificate by its thumbprint
    "BOOTSTRAP#": _lasting,  # a revoked bootstrap certificate
    NONCE_KEY: _lasting,
    PASSWORD_KEY: _lasting,
    GONE_PREFIX: _lasting,
    "BUDGET#": _counter,
}

RESTORED = (DEVICE_PREFIX, *_KINDS)
"""How the keys of rows to restore begin. Every other row expires within days or is made again."""


def is_revoked(old: Row, revoked: Collection[str]) -> bool:
    """Return whether an operational certificate of an admitted device is among the revoked ones of AWS IoT.

    `register` sets a certificate to REVOKED only if its device is revoked or deleted. Bootstrap certificates
    do not count, because devices may share a revoked one.
    """
    if old.get("status", {}).get("S") in _TAKEN_OUT:
        return False
    ids = {old.get(name, {}).get("M", {}).get("certificateId", {}).get("S") for name in _CERTIFICATES}
    noted = (each for name in _NOTES for each in old.get(name, {}).get("SS", ()))
    return not ids.union(noted).isdisjoint(revoked)


def writes(table: str, old: Row, now: Row | None, *, revoked: bool) -> list[Any]:
    """Return the items of a TransactWriteItems that restores the row `old`.

    Their conditions are that the table's row has not changed since it was read as `now`, and that the device
    has not been deleted since the row was made. With `revoked` the device is restored as a revoked one.
    """
    key = old["pk"]["S"]
    if not key.startswith(DEVICE_PREFIX):
        return [{"Update" if now else "Put": {"TableName": table} | (_added(old) if now else _put(old))}]
    put = {"TableName": table, "Item": _record(old, now, revoked=revoked)} | _unless_changed(now)
    not_gone = {
        "TableName": table,
        "Key": {"pk": {"S": GONE_PREFIX + key.removeprefix(DEVICE_PREFIX)}},
        "ConditionExpression": "attribute_not_exists(pk) OR goneAt < :created",
        "ExpressionAttributeValues": {":created": {"N": str(_number(old, "createdAt") or 0)}},
    }
    return [{"Put": put}, {"ConditionCheck": not_gone}]


def _put(old: Row) -> dict[str, Any]:
    return {"Item": old, "ConditionExpression": "attribute_not_exists(pk)"}


def _added(old: Row) -> dict[str, Any]:
    """Return the update that adds the copy's count to a counter that began again, and freezes it again."""
    update, values = "ADD used :used", {":used": old["used"]}
    if "frozenAt" in old:
        update, values = (
            f"{update} SET frozenAt = if_not_exists(frozenAt, :at)",
            values | {":at": old["frozenAt"]},
        )
    # After the addition the counter is no smaller than the copy's, so a repeat adds nothing.
    condition = "attribute_not_exists(used) OR used < :used"
    return {
        "Key": {"pk": old["pk"]},
        "UpdateExpression": update,
        "ConditionExpression": condition,
        "ExpressionAttributeValues": values,
    }


def _record(old: Row, now: Row | None, *, revoked: bool) -> Row:
    """Return the record to put back, without `attached`: `register` finds out what AWS IoT has by now.

    Certificates that either record notes as registered are kept, so that a revocation finds them all. The pin
    is the table's if the table has one. So is the admission: one that the table lacks may have been used.
    """
    record = {name: value for name, value in old.items() if name not in ("attached", "admission")}
    record |= {name: value for name, value in (now or {}).items() if name in _BOUND}
    for name in _NOTES:
        members = {each for row in (old, now or {}) for each in row.get(name, {}).get("SS", ())}
        record |= {name: {"SS": sorted(members)}} if members else {}
    return record | ({"status": {"S": Status.REVOKED.value}} if revoked else {})


def _unless_changed(now: Row | None) -> dict[str, Any]:
    """Return the condition that a device's row has not changed since it was read as `now`.

    Every write changes one of these attributes, except a write of notes.
    """
    if now is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    # Two writes in one second leave the same `updatedAt`. Of these, a pin and an admission must not be lost.
    names = {"#s": "status", "#u": "updatedAt", "#g": "generation", "#p": "pin", "#a": "admission"}
    equal = [f"{short} = :{short[1:]}" for short, name in names.items() if name in now]
    absent = [f"attribute_not_exists({short})" for short, name in names.items() if name not in now]
    values = {f":{short[1:]}": now[name] for short, name in names.items() if name in now}
    condition: dict[str, Any] = {
        "ConditionExpression": " AND ".join(["attribute_exists(pk)", *equal, *absent]),
        "ExpressionAttributeNames": names,
    }
    return condition | ({"ExpressionAttributeValues": values} if values else {})


def _is_gone(old: Row, note: Row) -> bool:
    """Return whether a record was made before its device was deleted, or one of the times is unknown."""
    made, gone = _number(old, "createdAt"), _number(note, "goneAt")
    return made is None or gone is None or made <= gone


def _exceeds(name: str, now: Row, old: Row) -> bool:
    """Return whether a number of the table's row is larger than the copy's; a missing one is not."""
    one, other = _number(now, name), _number(old, name)
    return one is not None and other is not None and one > other


def _number(row: Row, name: str) -> int | None:
    """Return a number of a row, or None if the row has none. A damaged row may have something else."""
    text = row.get(name, {}).get("N")
    return int(text) if text else None
