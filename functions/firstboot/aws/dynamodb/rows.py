"""Registry rows: a Device to DynamoDB attributes and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from firstboot.domain.device import Attribute, CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId

Row = dict[str, Any]
"""Attributes in DynamoDB's own form, `{"S": …}`."""


def device_key(device_id: str) -> Row:
    """The primary key of a device's row."""
    return {"pk": {"S": f"DEV#{device_id}"}}


def values(plain: dict[str, Any]) -> Row:
    """Python values in DynamoDB's form."""
    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in plain.items()}


def certificate_row(record: CertificateRecord) -> dict[str, Any]:
    """A certificate as the map that a device's row holds."""
    plain = {
        "serial": record.serial,
        "spki": record.spki,
        "notBefore": record.not_before,
        "notAfter": record.not_after,
        "renewAfter": record.renew_after,
        "heldUntil": record.held_until,
    }
    later = {"certificateId": record.certificate_id, "supersededAt": record.superseded_at}
    imported = {"imported": True} if record.imported else {}
    return plain | {name: value for name, value in later.items() if value is not None} | imported


def device(row: Row) -> Device:
    """The Device in a row."""
    deserializer = TypeDeserializer()
    plain = {name: deserializer.deserialize(value) for name, value in row.items()}
    return Device(
        device_id=DeviceId(plain["deviceId"]),
        group=plain["group"],
        status=Status(plain["status"]),
        generation=int(plain["generation"]),
        created_at=int(plain["createdAt"]),
        updated_at=int(plain["updatedAt"]),
        enrolled_by=plain.get("enrolledBy"),
        pending=_certificate(plain.get("pending")),
        active=_certificate(plain.get("active")),
        superseded=_certificate(plain.get("superseded")),
        attributes=_attributes(plain["attributes"]),
        claims=_attributes(plain["claims"]),
        # DynamoDB has no empty set: an attribute that is not there is one.
        registered=frozenset(plain.get("registered", ())),
        attached=frozenset(plain.get("attached", ())),
    )


def _certificate(plain: dict[str, Any] | None) -> CertificateRecord | None:
    if plain is None:
        return None
    return CertificateRecord(
        serial=plain["serial"],
        spki=plain["spki"],
        not_before=int(plain["notBefore"]),
        not_after=int(plain["notAfter"]),
        renew_after=int(plain["renewAfter"]),
        held_until=int(plain["heldUntil"]),
        certificate_id=plain.get("certificateId"),
        superseded_at=int(plain["supersededAt"]) if "supersededAt" in plain else None,
        imported=plain.get("imported", False),
    )


def _attributes(plain: dict[str, Any]) -> dict[str, Attribute]:
    return {name: int(value) if isinstance(value, Decimal) else value for name, value in plain.items()}
