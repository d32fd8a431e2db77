"""The DynamoDB conditions decide as `domain/claim.py` does, and each transition is atomic."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.aws import clients
from firstboot.aws.dynamodb import budget, rows
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import (
    HOLD,
    RENEWALS_PER_DAY,
    Enrollment,
    Limits,
    RefusedBy,
    Renewal,
    is_claimable,
)
from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import (
    Anchor,
    Attribute,
    CertificateRecord,
    Device,
    KeyAdmission,
    Status,
    committed,
)
from firstboot.domain.errors import CertificateNotCurrent, DeviceNotFound, DeviceRevoked
from firstboot.domain.names import DeviceId
from tests import factories
from tests.field.encode import own

NOW = from_epoch(1_000)
TODAY = NOW.date()
SECOND = timedelta(seconds=1)
GRACE = 100 * SECOND
DEVICE, OTHER = DeviceId("gw-1"), DeviceId("gw-2")
BOOTSTRAP_IDS = frozenset({"f1", "f2"})
ANCHOR = Anchor("a0", "CN=Factory CA")
CLAIMS: dict[str, Attribute] = {"model": "x", "rev": 3, "spare": False}


def record(**changes: object) -> CertificateRecord:
    """Return a certificate record that is valid at NOW and not yet due."""
    base = CertificateRecord(
        serial="a1", spki="k1", not_before=EPOCH, not_after=from_epoch(9_000), renew_after=from_epoch(5_000)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def enrollment(**changes: object) -> Enrollment:
    """Return an enrollment of DEVICE with key k1."""
    base = Enrollment(
        device_id=DEVICE,
        group="gateways",
        replaces=True,
        certificate=record(serial="b2", held_until=NOW + 900 * SECOND, claims=CLAIMS),
        enrolled_by="f0",
        bootstrap_ids=BOOTSTRAP_IDS,
        anchor=ANCHOR,
        now=NOW,
        grace=GRACE,
        way="mtls",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def records(table: str) -> DynamoDevices:
    """Return the device records of an empty table."""
    return DynamoDevices(clients.dynamodb(), table)


def renewal(**changes: object) -> Renewal:
    """Return a renewal by the certificate a1, with key k1."""
    base = Renewal(
        device_id=DEVICE,
        caller="a1",
        certificate=record(serial="b2", held_until=NOW + 900 * SECOND),
        now=NOW,
        grace=GRACE,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def _put(device: Device) -> None:
    plain = {
        "deviceId": device.device_id,
        "group": device.group,
        "status": device.status.value,
        "generation": device.generation,
        "enrolledBy": device.enrolled_by,
        "bootstrapIds": device.bootstrap_ids,
        "anchor": ANCHOR.key,
        "anchorSubject": ANCHOR.subject,
        "createdAt": device.created_at,
        "updatedAt": device.updated_at,
        "attributes": device.attributes,
        "claims": device.claims,
    }
    for name in ("pending", "active"):
        known = getattr(device, name)
        if known:
            plain[name] = rows.certificate_row(known)
    if device.pin:
        plain["pin"] = device.pin
    if device.admission:
        plain["admission"] = rows.admission_row(device.admission)
    if device.renewal_day:
        plain |= {"renewalDay": rows.day_number(device.renewal_day), "renewals": device.renewals}
    item = rows.device_key(device.device_id) | rows.values(plain)
    boto3.client("dynamodb").put_item(TableName="device-records", Item=item)


_moments = st.sampled_from([NOW - SECOND, NOW, NOW + SECOND])
_over = NOW - GRACE
_ends = st.sampled_from([_over - SECOND, _over, _over + SECOND, NOW - SECOND, NOW, NOW + SECOND])
_records = st.builds(
    record,
    serial=st.sampled_from(["a1", "a2"]),
    spki=st.sampled_from(["k1", "k2"]),
    renew_after=_moments,
    held_until=st.none() | _moments,
    not_after=_ends,
)
_counts = st.none() | st.tuples(
    st.sampled_from([TODAY - timedelta(days=1), TODAY, TODAY + timedelta(days=1)]),
    st.sampled_from([1, RENEWALS_PER_DAY - 1, RENEWALS_PER_DAY]),
)
_devices = st.none() | st.builds(
    Device,
    device_id=st.just(DEVICE),
    group=st.sampled_from(["gateways", "sensors", "hubs"]),
    status=st.sampled_from(Status),
    generation=st.just(0),
    created_at=st.just(from_epoch(1)),
    updated_at=st.just(from_epoch(1)),
    enrolled_by=st.just("f0"),
    bootstrap_ids=st.just(BOOTSTRAP_IDS),
    anchor=st.just(ANCHOR),
    pending=st.none() | st.builds(replace, _records, claims=st.sampled_from([None, {}, CLAIMS])),
    active=st.none() | _records,
    claims=st.sampled_from([{}, {"model": "w"}]),
    pin=st.sampled_from([None, "p1", "p2"]),
    admission=st.none() | st.builds(KeyAdmission, st.sampled_from(["p1", "p3"]), _moments),
)


def _possible_device(device: Device | None, counted: tuple[date, int] | None) -> Device | None:
    if device and device.status is Status.EXPECTED:  # it has no certificate yet
        return replace(device, pending=None, active=None)
    return replace(device, renewal_day=counted[0], renewals=counted[1]) if device and counted else device


_possible = st.builds(_possible_device, _devices, _counts)
_asked = st.one_of(
    st.builds(
        enrollment,
        replaces=st.booleans(),
        expected=st.booleans(),
        formerly=st.sampled_from([(), ("hubs",), ("hubs", "sensors")]),
        pin=st.sampled_from([None, "p1", "p3"]),
    ),
    st.builds(renewal, pin=st.sampled_from([None, "p1"])),
)
_claims = st.sampled_from([None, {}, {"model": "y"}])


def test_a_row_holds_epoch_seconds() -> None:
    """A row has epoch seconds, where 0 stands for None, as other versions read and write them."""
    plain = {"serial": "a1", "spki": "k1", "notBefore": 0, "notAfter": 9_000, "renewAfter": 5_000}
    assert rows.certificate_row(record()) == plain | {"heldUntil": 0}
    later = rows.certificate_row(record(held_until=NOW, certificate_id="c0", superseded_at=NOW + SECOND))
    assert later == plain | {"heldUntil": 1_000, "certificateId": "c0", "supersededAt": 1_001}


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=_possible, asked=_asked, claims=_claims)
def test_the_condition_is_the_decision(
    table: str,
    device: Device | None,
    asked: Enrollment | Renewal,
    claims: dict[str, Attribute] | None,
) -> None:
    """For any row, DynamoDB's condition holds exactly if the pure decision allows the claim.

    A claim leaves the claims of a device with an active certificate as they are. The process decides the same
    when it has refused the claim before and only reads.
    """
    # Each example has a new process, which remembers no refusal of an earlier one.
    records = DynamoDevices(clients.dynamodb(), table)
    asked = replace(asked, certificate=replace(asked.certificate, claims=claims))
    client = boto3.client("dynamodb")
    for key in (rows.device_key(DEVICE), {"pk": {"S": "KEYCLAIM#k1"}}):
        client.delete_item(TableName="device-records", Key=key)
    if device:
        _put(device)
    refused = records.claim(asked)
    assert (refused is None) == is_claimable(device, asked)
    if refused:
        assert refused.device == (device and replace(device, claims=_claims_of(device, device.pending)))
        assert records.claim(asked) == refused
    else:
        claimed = records.device(DEVICE)
        assert claimed
        assert claimed.status is Status.ENROLLED
        assert claimed.pending == asked.certificate
        if isinstance(asked, Enrollment):
            assert (claimed.enrolled_by, claimed.bootstrap_ids) == ("f0", BOOTSTRAP_IDS)
            assert (claimed.anchor, claimed.group) == (ANCHOR, asked.group)
        assert claimed.claims == _claims_of(device, asked.certificate)
        assert claimed.active == (device.active if device else None)
        assert (claimed.renewal_day, claimed.renewals) == _counted(device, asked)
        assert (claimed.pin, claimed.admission) == _bound(device, asked)


def _bound(device: Device | None, asked: Enrollment | Renewal) -> tuple[str | None, KeyAdmission | None]:
    """Return the pin and the admission of the record `device` after the claim."""
    pin, admission = (device.pin, device.admission) if device else (None, None)
    if isinstance(asked, Renewal):
        return pin or asked.pin, admission
    is_used = admission is not None and admission.key == asked.pin
    return asked.pin or pin, None if is_used else admission


def _claims_of(device: Device | None, pending: CertificateRecord | None) -> dict[str, Attribute]:
    """Return the claims of the record `device` with this pending certificate."""
    recorded = device.claims if device else {}
    if (device and device.active) or pending is None or pending.claims is None:
        return recorded
    return pending.claims


def _counted(device: Device | None, asked: Enrollment | Renewal) -> tuple[date | None, int]:
    """Return the day and the count of renewals that a record has after the claim."""
    day, count = (device.renewal_day, device.renewals) if device else (None, 0)
    if isinstance(asked, Enrollment):
        return day, count
    return (day, count + 1) if day and day >= TODAY else (TODAY, 1)


@pytest.mark.parametrize("repeated", [False, True], ids=["first", "repeat"])
def test_a_revoked_bootstrap_certificate_claims_nothing(records: DynamoDevices, *, repeated: bool) -> None:
    """A claim by a revoked bootstrap certificate is refused for that reason, even if it is a repeat."""
    if repeated:
        assert records.claim(enrollment()) is None
    before = records.device(DEVICE)
    assert not records.is_bootstrap_revoked("f0")
    for moment in (NOW, NOW + SECOND):
        records.revoke_bootstrap("f0", moment)
    assert records.is_bootstrap_revoked("f0")
    refused = records.claim(enrollment(limits=Limits(total=1, per_minute=1)))
    assert refused
    assert (refused.by, refused.device) == (RefusedBy.BOOTSTRAP, None)
    assert records.device(DEVICE) == before
    row = boto3.client("dynamodb").get_item(
        TableName="device-records", Key={"pk": {"S": "BOOTSTRAP#f0"}}, ConsistentRead=True
    )["Item"]
    assert row == {"pk": {"S": "BOOTSTRAP#f0"}, "revokedAt": {"N": "1000"}}


def test_a_revoked_bootstrap_certificate_stops_no_renewal(records: DynamoDevices) -> None:
    """A device that a bootstrap certificate enrolled before its revocation renews."""
    device, leaf = _claimed(records)
    records.commit(committed(device, "c0", NOW), leaf)
    records.revoke_bootstrap("f0", NOW)
    assert records.claim(renewal(caller="b2", certificate=record(serial="c3", spki="k2"))) is None


@pytest.mark.parametrize("is_committed", [False, True], ids=["claimed", "committed"])
def test_a_key_belongs_to_one_device(records: DynamoDevices, *, is_committed: bool) -> None:
    """A claim of another device's key is refused and writes nothing, before and after its commit."""
    device, leaf = _claimed(records)
    if is_committed:
        records.commit(committed(device, "c0", NOW), leaf)
    refused = records.claim(enrollment(device_id=OTHER))
    assert refused
    assert refused.by is RefusedBy.KEY
    assert records.device(OTHER) is None
    assert records.import_device(_imported(OTHER), _later(NOW)) is RefusedBy.KEY


@pytest.mark.parametrize("reads", [False, True], ids=["transaction", "reads"])
@pytest.mark.parametrize("prefix", ["KEY", "KEYCLAIM"])
@pytest.mark.parametrize("owner", [DEVICE, OTHER])
@pytest.mark.parametrize("expires", [None, NOW - SECOND, NOW, NOW + SECOND])
def test_reads_decide_on_a_key_as_the_transaction_does(
    records: DynamoDevices, prefix: str, owner: DeviceId, expires: datetime | None, *, reads: bool
) -> None:
    """A process that reads before a claim refuses the same keys as the transaction, and makes none."""
    item: Any = {"pk": {"S": f"{prefix}#k1"}, "deviceId": {"S": owner}}
    if expires:
        item["expiresAt"] = rows.number(expires)
    boto3.client("dynamodb").put_item(TableName="device-records", Item=item)
    if reads:  # because this process has refused the bootstrap certificate
        assert records.claim(enrollment(expected=True))
    made: list[str] = []
    clients.dynamodb().meta.events.register(
        "before-call.dynamodb", lambda model, **_: made.append(model.name)
    )
    refused = records.claim(enrollment())
    has_ended = prefix == "KEYCLAIM" and expires == NOW - SECOND
    assert (refused is None) == (owner == DEVICE or has_ended)
    assert made.count("TransactWriteItems") == (refused is None or not reads)


LAPSED = from_epoch(9_000) + GRACE + timedelta(days=30)
"""When the claim of a key ends that never logs in: its certificate's end, the grace and 30 days."""


def _imported(name: DeviceId, now: datetime = NOW) -> Device:
    return Device(name, "gateways", Status.ENROLLED, 0, now, now)


@pytest.mark.parametrize("is_import", [False, True], ids=["enroll", "import"])
def test_a_key_that_never_logged_in_becomes_free(records: DynamoDevices, *, is_import: bool) -> None:
    """A claimed key that was never committed is free 30 days after its certificate and the grace have ended.

    The row still exists then: DynamoDB removes it days later, from its `expiresAt`.
    """
    assert records.claim(enrollment()) is None
    row = _row("KEYCLAIM#k1")
    assert row == {
        "pk": {"S": "KEYCLAIM#k1"},
        "deviceId": {"S": DEVICE},
        "expiresAt": rows.number(LAPSED),
    }

    def claim(now: datetime) -> object:
        if is_import:
            return records.import_device(_imported(OTHER, now), _later(now))
        return records.claim(enrollment(device_id=OTHER, now=now, certificate=_later(now)))

    assert claim(LAPSED)
    assert claim(LAPSED + SECOND) is None


def test_the_key_of_a_committed_certificate_stays_its_devices(records: DynamoDevices) -> None:
    """A committed key stays its device's for good, also after a later claim of it that lapsed."""
    device, leaf = _claimed(records)
    records.commit(committed(device, "c0", NOW), leaf)
    later = from_epoch(5_000)
    again = renewal(caller="b2", now=later, certificate=record(serial="c3"))
    assert records.claim(again) is None
    _delete("KEYCLAIM#k1")
    long_after = LAPSED + timedelta(days=10_000)
    refused = records.claim(enrollment(device_id=OTHER, now=long_after, certificate=_later(long_after)))
    assert refused
    assert refused.by is RefusedBy.KEY
    assert records.import_device(_imported(OTHER, long_after), _later(NOW)) is RefusedBy.KEY
    assert _row("KEY#k1") == {"pk": {"S": "KEY#k1"}, "deviceId": {"S": DEVICE}}


def test_an_imported_key_is_its_devices_at_once(records: DynamoDevices) -> None:
    """The key of an imported certificate is no other device's for good."""
    assert records.import_device(_imported(DEVICE), record(certificate_id="c0")) is None
    refused = records.claim(enrollment(device_id=OTHER, now=LAPSED + SECOND))
    assert refused
    assert refused.by is RefusedBy.KEY


def test_a_key_of_an_older_version_stays_its_devices(records: DynamoDevices) -> None:
    """A row that an older version wrote at a claim binds its key for good."""
    item: Any = {"pk": {"S": "KEY#k1"}, "deviceId": {"S": DEVICE}}
    boto3.client("dynamodb").put_item(TableName="device-records", Item=item)
    refused = records.claim(enrollment(device_id=OTHER))
    assert refused
    assert refused.by is RefusedBy.KEY
    assert records.claim(enrollment()) is None


def _later(now: datetime) -> CertificateRecord:
    ends = {"not_after": now + timedelta(days=9), "renew_after": now + timedelta(days=5)}
    return record(serial="d4", held_until=now, certificate_id="c4", **ends)


def _row(key: str) -> dict[str, Any] | None:
    client = boto3.client("dynamodb")
    return client.get_item(TableName="device-records", Key={"pk": {"S": key}}, ConsistentRead=True).get(
        "Item"
    )


def _delete(key: str) -> None:
    boto3.client("dynamodb").delete_item(TableName="device-records", Key={"pk": {"S": key}})


def test_renewals_are_counted_in_the_record(records: DynamoDevices) -> None:
    """A device's renewals of a day are refused beyond the limit, and the next day's are not.

    The refused claim returns the record with the count, and a repeat of a claim is not counted.
    """
    assert records.import_device(_imported(DEVICE), replace(_later(NOW), serial="b2")) is None
    outcomes = [_renew(records, number, NOW + number * HOLD) for number in range(RENEWALS_PER_DAY + 2)]
    assert outcomes == [None] * RENEWALS_PER_DAY + [RENEWALS_PER_DAY] * 2
    device = records.device(DEVICE)
    assert device
    assert (device.renewal_day, device.renewals) == (TODAY, RENEWALS_PER_DAY)
    assert _renew(records, 99, NOW + timedelta(days=1)) is None
    tomorrow = records.device(DEVICE)
    assert tomorrow
    assert (tomorrow.renewal_day, tomorrow.renewals) == (TODAY + timedelta(days=1), 1)


def _renew(records: DynamoDevices, number: int, now: datetime) -> int | None:
    """Claim a renewal twice, and return None or the count in the record that refused it."""
    certificate = replace(_later(now), serial=f"r{number}", spki=f"r{number}", held_until=now + HOLD)
    asked = renewal(caller="b2", now=now, certificate=certificate)
    first, repeat = records.claim(asked), records.claim(asked)
    assert repeat
    assert repeat.by is RefusedBy.DEVICE
    return first.device.renewals if first and first.device else None


def test_a_budget_is_never_exceeded(records: DynamoDevices) -> None:
    """A budget admits devices up to its limit, and a claim beyond it leaves nothing behind."""
    limits = Limits(total=3, per_minute=100)
    outcomes = [_claim(records, number, limits) for number in range(5)]
    assert outcomes == [None, None, None, RefusedBy.TOTAL, RefusedBy.TOTAL]
    assert records.device(DeviceId("dev-4")) is None


def test_a_full_shard_leaves_the_others_open(records: DynamoDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices fill every shard of a budget completely, independently of the shard that their id selects."""
    monkeypatch.setattr(budget, "_PER_SHARD", 2)
    limits = Limits(total=7, per_minute=100)
    outcomes = [_claim(records, number, limits) for number in range(9)]
    assert outcomes.count(None) == 7


def test_a_rate_lasts_a_minute(records: DynamoDevices) -> None:
    """A rate limits one minute, and the next minute admits devices again."""
    limits = Limits(total=100, per_minute=2)
    assert [_claim(records, number, limits) for number in range(3)] == [None, None, RefusedBy.RATE]
    assert _claim(records, 3, limits, now=NOW + 60 * SECOND) is None


def test_a_repeat_is_not_counted(records: DynamoDevices) -> None:
    """A refused claim is not counted, because the transaction fails as a whole."""
    limits = Limits(total=2, per_minute=100)
    assert [_claim(records, 0, limits) for _ in range(3)] == [None, RefusedBy.DEVICE, RefusedBy.DEVICE]
    assert _claim(records, 1, limits) is None


def _claim(records: DynamoDevices, number: int, limits: Limits, now: datetime = NOW) -> RefusedBy | None:
    certificate = record(spki=f"key-{number}")
    asked = enrollment(device_id=DeviceId(f"dev-{number}"), certificate=certificate, now=now, limits=limits)
    refused = records.claim(asked)
    return refused.by if refused else None


def _claimed(records: DynamoDevices) -> tuple[Device, x509.Certificate]:
    """Return a device with a pending certificate, and a certificate with which to commit it."""
    records.claim(enrollment())
    device = records.device(DEVICE)
    assert device
    return device, factories.authority().issue(DEVICE, factories.ec_key())


def test_a_commit_counts_once(records: DynamoDevices) -> None:
    """A commit increases the generation once, and a repeated one returns the same record."""
    device, leaf = _claimed(records)
    first = records.commit(committed(device, "c0", NOW), leaf)
    again = records.commit(committed(device, "c0", NOW + 5 * SECOND), leaf)
    assert first == again == records.device(DEVICE)
    assert first.active == replace(
        enrollment().certificate, certificate_id="c0", held_until=None, claims=None
    )
    assert first.claims == CLAIMS
    assert (first.pending, first.generation, first.superseded) == (None, 1, None)
    assert records.certificate(own(leaf).fingerprint) == own(leaf)


def test_what_a_commit_supersedes_is_kept(records: DynamoDevices) -> None:
    """A commit keeps the superseded certificate with the time at which it lost its rights."""
    device, leaf = _claimed(records)
    first = records.commit(committed(device, "c0", NOW), leaf)
    records.claim(renewal(caller="b2", certificate=record(serial="c3", spki="k2")))
    renewed = records.device(DEVICE)
    assert renewed
    second = records.commit(committed(renewed, "c1", NOW + 7 * SECOND), leaf)
    assert first.active
    assert second.superseded == replace(first.active, superseded_at=NOW + 7 * SECOND)
    assert second == records.device(DEVICE)


def test_a_revocation_beats_a_commit(records: DynamoDevices) -> None:
    """A device that is revoked between the read and the commit does not become active."""
    device, leaf = _claimed(records)
    records.revoke(DEVICE, NOW)
    with pytest.raises(DeviceRevoked):
        records.commit(committed(device, "c0", NOW), leaf)
    assert records.certificate(leaf.fingerprint(SHA256()).hex()) is None


def test_a_deletion_beats_a_commit(records: DynamoDevices) -> None:
    """A device that is deleted between the read and the commit does not become active."""
    device, leaf = _claimed(records)
    assert records.delete(DEVICE, NOW).status is Status.DELETED
    with pytest.raises(CertificateNotCurrent):
        records.commit(committed(device, "c0", NOW), leaf)
    assert records.delete(DEVICE, NOW) == replace(device, status=Status.DELETED, updated_at=NOW)


def test_a_replaced_pending_certificate_can_not_be_committed(records: DynamoDevices) -> None:
    """A commit fails if its certificate is no longer the pending one in the row."""
    device, leaf = _claimed(records)
    with pytest.raises(CertificateNotCurrent):
        records.commit(committed(replace(device, pending=record(serial="ff")), "c0", NOW), leaf)


def test_attributes_are_set_and_removed(records: DynamoDevices) -> None:
    """A change of attributes sets and removes the named ones and keeps the others."""
    records.claim(enrollment())
    records.set_attributes(DEVICE, {"site": "berlin", "floor": 3, "spare": True}, NOW)
    device = records.set_attributes(DEVICE, {"site": "paris", "floor": None}, NOW)
    assert device.attributes == {"site": "paris", "spare": True}


def test_an_unknown_device_cannot_be_changed(records: DynamoDevices) -> None:
    """A change of an unknown device fails and makes no row."""
    with pytest.raises(DeviceNotFound):
        records.revoke(DEVICE, NOW)
    with pytest.raises(DeviceNotFound):
        records.delete(DEVICE, NOW)
    with pytest.raises(DeviceNotFound):
        records.set_attributes(DEVICE, {"site": "berlin"}, NOW)
    assert records.device(DEVICE) is None


def test_pages_bring_every_device_once(records: DynamoDevices) -> None:
    """Page by page, each device is listed once, and no other kind of row is."""
    for number in range(7):
        records.claim(enrollment(device_id=DeviceId(f"dev-{number}"), certificate=record(spki=f"k{number}")))
    seen: list[str] = []
    after = None
    while True:
        devices, after = records.page(3, after)
        seen += [device.device_id for device in devices]
        if after is None:
            break
    assert sorted(seen) == [f"dev-{number}" for number in range(7)]
