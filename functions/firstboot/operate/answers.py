"""The answers to the operator's calls: values become the members of `{"result": {…}}`."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from firstboot.domain.claim import Spent
from firstboot.domain.clock import iso
from firstboot.domain.device import (
    Attribute,
    CertificateRecord,
    Device,
    KeyAdmission,
    RefusedKey,
    Status,
)
from firstboot.domain.enrollments import Enrolled
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.sweep import UNLISTED, Origins, Slice, Sweep, counted_ways
from firstboot.operate.explain import Explained
from firstboot.pki import certificate


def device(record: Device) -> dict[str, Any]:
    """Return a whole device record."""
    return {
        "deviceId": record.device_id,
        "group": record.group,
        "status": record.status.value,
        "generation": record.generation,
        "createdAt": iso(record.created_at),
        "updatedAt": iso(record.updated_at),
        "enrolledBy": record.enrolled_by,
        "bootstrapIds": sorted(record.bootstrap_ids),
        "anchor": record.anchor.key if record.anchor else None,
        "anchorSubject": record.anchor.subject if record.anchor else None,
        "way": record.way,
        "active": _certificate(record.active),
        "pending": _certificate(record.pending),
        "superseded": _certificate(record.superseded),
        "attributes": record.attributes,
        "claims": record.claims,
        "pendingClaims": _pending_claims(record),
        "renewals": _renewals(record),
        "pin": record.pin,
        "admission": _admission(record.admission),
        "refusedKey": _refused_key(record.refused_key),
        "enrollments": [_enrollment(each) for each in record.enrolled],
        "enrollmentsPerDay": Counter(each.at.date().isoformat() for each in record.enrolled),
    }


def _enrollment(enrolled: Enrolled) -> dict[str, Any]:
    return {
        "at": iso(enrolled.at),
        "generation": enrolled.generation,
        "key": enrolled.key,
        "bootstrapKey": enrolled.bootstrap_key,
        "hasReplaced": enrolled.has_replaced,
    }


def _admission(admission: KeyAdmission | None) -> dict[str, Any] | None:
    return {"key": admission.key, "until": iso(admission.until)} if admission else None


def _refused_key(refused: RefusedKey | None) -> dict[str, Any] | None:
    return {"key": refused.key, "at": iso(refused.at)} if refused else None


def _pending_claims(record: Device) -> dict[str, Attribute] | None:
    """Return the claims that the commit of the pending certificate brings; None if it changes none."""
    claims = record.pending.claims if record.pending else None
    return None if claims == record.claims else claims


def _renewals(record: Device) -> dict[str, Any] | None:
    """Return the last day (UTC) on which the device renewed, and how often; None if it never has."""
    if record.renewal_day is None:
        return None
    return {"day": record.renewal_day.isoformat(), "count": record.renewals}


def _certificate(record: CertificateRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "certificateId": record.certificate_id,
        "serial": record.serial,
        "notBefore": iso(record.not_before),
        "notAfter": iso(record.not_after),
        "renewAfter": iso(record.renew_after),
    }


def group_state(group: Group, spent: Spent | None, origins: Origins | None) -> dict[str, Any]:
    """Return a group, the state of its budget, and the numbers of its devices by trust anchor and by way.

    `spent` is None for a group without a budget, `origins` before the first sweep.
    """
    budget = group.budget
    shown: dict[str, Any] = {
        "group": group.name,
        "deviceId": group.device_id,
        "reenroll": group.reenroll,
        "budget": None,
        "frozenAt": None,
        "anchors": _anchors(group, origins),
        "anchorsCountedAt": iso(origins.at) if origins else None,
        "ways": _ways(group, origins),
        "waysCountedAt": iso(origins.at) if origins and origins.ways is not None else None,
    }
    if budget and spent:
        shown["budget"] = {
            "total": budget.total,
            "spent": spent.total,
            "perMinute": budget.per_minute,
            "freezePerHour": budget.freeze_per_hour,
            "until": iso(budget.until),
        }
        shown["frozenAt"] = iso(spent.frozen_at) if spent.frozen_at is not None else None
    return shown


def _anchors(group: Group, origins: Origins | None) -> list[dict[str, Any]]:
    """Return the group's trust anchors and those that its devices enrolled under, most devices first.

    `devices` is None before the first sweep. A removed anchor is not `trusted`, and its subject is None: the
    device records have it. An `anchor` of None stands for the devices of which the sweep counted none.
    """
    trusted = [certificate.anchor(pem) for pem in group.trust]
    subjects = {each.spki_fingerprint(): each.subject.text() for each in trusted}
    counts: Counter[str] = Counter()
    if origins:
        for name in group.names:
            counts.update(origins.devices.get(name, {}))
    shown: list[dict[str, Any]] = [
        {
            "anchor": None if key == UNLISTED else key,
            "subject": subjects.get(key),
            "trusted": key in subjects,
            "devices": counts.get(key, 0) if origins else None,
        }
        for key in dict.fromkeys((*subjects, *counts))
    ]
    return sorted(shown, key=lambda each: -(each["devices"] or 0))


def _ways(group: Group, origins: Origins | None) -> list[dict[str, Any]]:
    """Return the group's ways, then those that it does not allow and that its devices enrolled by.

    `devices` is None before a sweep has counted them. A `way` of None stands for the devices whose records
    have none.
    """
    known = origins.ways if origins else None
    counts: Counter[str] = Counter()
    for name in group.names:
        counts.update((known or {}).get(name, {}))
    return [
        {
            "way": None if way == UNLISTED else way,
            "allowed": way in group.ways,
            "devices": None if known is None else counts.get(way, 0),
        }
        for way in dict.fromkeys((*group.ways, *sorted(counts)))
    ]


def explanation(record: Device, explained: list[Explained]) -> dict[str, Any]:
    """Return what the device would get in each request context, and the rules that decide it."""
    return {
        "deviceId": record.device_id,
        "group": record.group,
        "status": record.status.value,
        "attributes": record.attributes,
        "claims": record.claims,
        "moments": [_context(each) for each in explained],
    }


def _context(explained: Explained) -> dict[str, Any]:
    refusal, policy, held = explained.refusal, explained.session_policy, explained.holdings
    return {
        "roleAlias": explained.context.role_alias,
        "grants": [{"grant": grant, "rules": list(held.rules[grant])} for grant in held.grants],
        "withheld": [{"grant": grant, "rules": list(rules)} for grant, rules in held.withheld.items()],
        "errors": list(held.errors),
        "sessionPolicy": json.loads(policy) if policy else None,
        "refusal": {"code": refusal.code, "detail": refusal.detail} if refusal else None,
    }


def fleets(deployed: Fleet, in_force: Fleet | None, mark: str) -> dict[str, Any]:
    """Return the deployed fleet definition and the one in force, which may be the same.

    The fleet in force is None if the published one can't be read, and `mark` is then a digest of its text.
    """
    shown = _fleet(in_force) if in_force else {"hash": mark, "fleet": None}
    return {"deployed": _fleet(deployed), "inForce": shown}


def plan(part: Slice, touched: int) -> dict[str, Any]:
    """Return how many devices of a page were looked at, and for how many AWS IoT must be reconciled.

    There are as well the numbers of devices by their recorded group, by the key of their trust anchor, and by
    group and the way of their enrollment. Devices that were revoked or deleted are not counted there: no
    fleet definition gives them anything.
    """
    alive = [each for each in part.looked if each.status in (Status.EXPECTED, Status.ENROLLED)]
    return {
        "scanned": len(part.looked),
        "touched": touched,
        "next": part.following,
        "groups": Counter(each.group for each in alive),
        "anchors": Counter(each.anchor.key for each in alive if each.anchor),
        "ways": counted_ways({}, alive),
    }


def progress(sweep: Sweep | None, in_force: Fleet, backlog: int) -> dict[str, Any]:
    """Return the last sweep, whether it is of the fleet in force, and whether it is complete.

    `backlog` is the number of seconds until AWS IoT has received all calls that wait for a slot.
    """
    finished_at = sweep.finished_at if sweep else None
    return {
        "fleetHash": sweep.fleet_hash if sweep else None,
        "startedAt": iso(sweep.started_at) if sweep else None,
        "finishedAt": iso(finished_at) if finished_at is not None else None,
        "scanned": sweep.scanned if sweep else 0,
        "touched": sweep.touched if sweep else 0,
        "inForce": sweep is not None and sweep.fleet_hash == in_force.hash,
        "finished": finished_at is not None,
        "backlog": backlog,
    }


def _fleet(fleet: Fleet) -> dict[str, Any]:
    return {"hash": fleet.hash, "fleet": json.loads(fleet.to_json())}
