"""Conversion of device records to rows of DynamoDB and back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb.values import decoded, encode
from firstboot.domain.clock import EPOCH, epoch, from_epoch
from firstboot.domain.device import (
    Anchor,
    CertificateRecord,
    Device,
    KeyAdmission,
    RefusedKey,
    Status,
    claims_in_force,
)
from firstboot.domain.enrollments import Enrolled
from firstboot.domain.names import DEVICE_PREFIX, GONE_PREFIX, DeviceId

Row = dict[str, Any]
"""Attributes in DynamoDB's own form, `{"S": …}`."""

_CERTIFICATES = frozenset({"pending", "active", "superseded"})
_DEVICE = frozenset(
    {
        *("deviceId", "group", "status", "generation", "createdAt", "updatedAt", "enrolledBy"),
        *("bootstrapIds", "anchor", "anchorSubject", "way"),
        *("attributes", "claims", "registered", "attached", "activating", "imported"),
        *("renewalDay", "renewals", "pin", "admission", "refusedKey", "enrolled"),
    }
)
_CERTIFICATE = frozenset(
    {
        *("serial", "spki", "notBefore", "notAfter", "renewAfter", "heldUntil"),
        *("certificateId", "supersededAt", "imported", "claims", "bootstrapKey"),
        "provisioned",
    }
)


def device_key(device_id: str) -> Row:
    """Return the primary key of a device's row."""
    return {"pk": {"S": f"{DEVICE_PREFIX}{device_id}"}}


def gone_key(device_id: str) -> Row:
    """Return the primary key of the row that notes when a device was deleted, which `register` writes."""
    return {"pk": {"S": f"{GONE_PREFIX}{device_id}"}}


def values(plain: dict[str, Any]) -> Row:
    """Return Python values in DynamoDB's form. An instant becomes its epoch seconds."""
    return {
        name: encode(epoch(value) if isinstance(value, datetime) else value) for name, value in plain.items()
    }


def number(moment: datetime) -> Row:
    """Return an instant in DynamoDB's form: its epoch seconds."""
    return {"N": str(epoch(moment))}


def day_number(day: date) -> int:
    """Return the number of a day, counted from the epoch, as rows hold it."""
    return (day - EPOCH.date()).days


def certificate_row(record: CertificateRecord) -> dict[str, Any]:
    """Return a certificate as the map that a device's row holds. A `heldUntil` of 0 stands for None."""
    plain = {
        "serial": record.serial,
        "spki": record.spki,
        "notBefore": epoch(record.not_before),
        "notAfter": epoch(record.not_after),
        "renewAfter": epoch(record.renew_after),
        # A claim's condition compares it with the present time, and is false for a missing attribute.
        "heldUntil": epoch(record.held_until) if record.held_until else 0,
    }
    superseded_at = epoch(record.superseded_at) if record.superseded_at else None
    later = {
        "certificateId": record.certificate_id,
        "supersededAt": superseded_at,
        "claims": record.claims,
        "bootstrapKey": record.bootstrap_key,
    }
    origin = {"imported": record.imported, "provisioned": record.provisioned}
    known = {name: True for name, value in origin.items() if value}
    return plain | {name: value for name, value in later.items() if value is not None} | known


def device(row: Row) -> Device:
    """Return the device that a row describes."""
    plain = decoded(row, _DEVICE)
    enrolled_by = plain.get("enrolledBy")
    certificates = {name: _certificate(row[name]["M"]) for name in _CERTIFICATES & row.keys()}
    return Device(
        device_id=DeviceId(plain["deviceId"]),
        group=plain["group"],
        status=Status(plain["status"]),
        generation=plain["generation"],
        created_at=moment(plain["createdAt"]),
        updated_at=moment(plain["updatedAt"]),
        enrolled_by=enrolled_by,
        # Older versions wrote AWS IoT's id of the certificate as `enrolledBy`, and no other id. A record with
        # a way and without ids is that of a device that enrolled without a certificate.
        bootstrap_ids=frozenset(
            plain.get("bootstrapIds", [enrolled_by] if enrolled_by and "way" not in plain else [])
        ),
        anchor=Anchor(plain["anchor"], plain["anchorSubject"]) if "anchor" in plain else None,
        way=plain.get("way"),
        pending=certificates.get("pending"),
        active=certificates.get("active"),
        superseded=certificates.get("superseded"),
        attributes=plain["attributes"],
        claims=claims_in_force(plain["claims"], certificates.get("active"), certificates.get("pending")),
        # DynamoDB has no empty set, so a missing attribute stands for one.
        registered=frozenset(plain.get("registered", ())),
        attached=frozenset(plain.get("attached", ())),
        renewal_day=EPOCH.date() + timedelta(days=plain["renewalDay"]) if "renewalDay" in plain else None,
        renewals=plain.get("renewals", 0),
        activating=frozenset(plain.get("activating", ())),
        # Older versions marked only the imported certificate. A provisioned device has a thing of ours.
        imported=plain.get(
            "imported", any(each.imported and not each.provisioned for each in certificates.values())
        ),
        pin=plain.get("pin"),
        admission=_admission(plain["admission"]) if "admission" in plain else None,
        refused_key=_refused_key(plain["refusedKey"]) if "refusedKey" in plain else None,
        enrolled=_enrolled(plain.get("enrolled", {})),
    )


def admission_row(admission: KeyAdmission) -> dict[str, Any]:
    """Return a one-time admission as the map that a device's row holds."""
    return {"spki": admission.key, "endsAt": epoch(admission.until)}


def _admission(plain: dict[str, Any]) -> KeyAdmission:
    return KeyAdmission(plain["spki"], moment(plain["endsAt"]))


def refused_key_row(refused: RefusedKey) -> dict[str, Any]:
    """Return the key that was refused last as the map that a device's row holds."""
    return {"spki": refused.key, "refusedAt": epoch(refused.at)}


def _refused_key(plain: dict[str, Any]) -> RefusedKey:
    return RefusedKey(plain["spki"], moment(plain["refusedAt"]))


def _certificate(row: Row) -> CertificateRecord:
    plain = decoded(row, _CERTIFICATE)
    return CertificateRecord(
        serial=plain["serial"],
        spki=plain["spki"],
        not_before=moment(plain["notBefore"]),
        not_after=moment(plain["notAfter"]),
        renew_after=moment(plain["renewAfter"]),
        held_until=moment(plain["heldUntil"]) if plain["heldUntil"] else None,
        certificate_id=plain.get("certificateId"),
        superseded_at=moment(plain["supersededAt"]) if "supersededAt" in plain else None,
        imported=plain.get("imported", False),
        claims=plain.get("claims"),
        bootstrap_key=plain.get("bootstrapKey"),
        provisioned=plain.get("provisioned", False),
    )


def enrolled_row(enrolled: Iterable[Enrolled]) -> dict[str, Any]:
    """Return enrollments as the map that a device's row holds, by generation."""
    return {
        str(each.generation): {
            "at": epoch(each.at),
            "key": each.key,
            "bootstrapKey": each.bootstrap_key,
            "hasReplaced": each.has_replaced,
        }
        for each in enrolled
    }


def _enrolled(row: dict[str, Any]) -> tuple[Enrolled, ...]:
    return tuple(
        Enrolled(
            at=moment(each["at"]),
            generation=int(generation),
            key=each["key"],
            bootstrap_key=each["bootstrapKey"],
            has_replaced=each["hasReplaced"],
        )
        for generation, each in sorted(row.items(), key=lambda item: int(item[0]))
    )


def moment(seconds: int) -> datetime:
    """Return the instant that a row holds as epoch seconds."""
    return from_epoch(seconds)
