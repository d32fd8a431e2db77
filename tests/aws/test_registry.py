"""The registry's conditions are `lifecycle.py`'s decisions, and its transitions are atomic."""

from __future__ import annotations

from dataclasses import replace

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.aws import budget, clients, rows
from firstboot.aws.registry import DynamoRegistry
from firstboot.errors import CertificateNotCurrent, DeviceNotFound, DeviceRevoked, FirstbootError
from firstboot.lifecycle import CertificateRecord, Device, Enrollment, Status, enrolls_anew
from firstboot.names import DeviceId
from firstboot.ports import Limits, RefusedBy

NOW = 1_000
DEVICE = DeviceId("gw-1")


def record(**changes: object) -> CertificateRecord:
    """A certificate that is valid at NOW and not yet due."""
    base = CertificateRecord(serial="a1", spki="k1", not_before=0, not_after=9_000, renew_after=5_000)
    return replace(base, **changes)  # type: ignore[arg-type]


def enrollment(**changes: object) -> Enrollment:
    """An enrollment of DEVICE with key k1."""
    base = Enrollment(
        device_id=DEVICE,
        group="gateways",
        replaces=True,
        certificate=record(serial="b2", held_until=NOW + 900),
        enrolled_by="f0",
        claims={"model": "x", "rev": 3, "spare": False},
        now=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.fixture
def registry(table: str) -> DynamoRegistry:
    """An empty registry."""
    return DynamoRegistry(clients.dynamodb(), table)


def _put(device: Device) -> None:
    plain = {
        "deviceId": device.device_id,
        "group": device.group,
        "status": device.status.value,
        "generation": device.generation,
        "enrolledBy": device.enrolled_by,
        "createdAt": device.created_at,
        "updatedAt": device.updated_at,
        "attributes": device.attributes,
        "claims": device.claims,
    }
    for name in ("pending", "active"):
        known = getattr(device, name)
        if known:
            plain[name] = rows.certificate_row(known)
    item = rows.device_key(device.device_id) | rows.values(plain)
    boto3.client("dynamodb").put_item(TableName="registry", Item=item)


_moments = st.sampled_from([NOW - 1, NOW, NOW + 1])
_records = st.builds(record, spki=st.sampled_from(["k1", "k2"]), renew_after=_moments, held_until=_moments)
_devices = st.none() | st.builds(
    Device,
    device_id=st.just(DEVICE),
    group=st.sampled_from(["gateways", "sensors"]),
    status=st.sampled_from(Status),
    generation=st.just(0),
    enrolled_by=st.just("f0"),
    created_at=st.just(1),
    updated_at=st.just(1),
    pending=st.none() | _records,
    active=st.none() | _records,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(device=_devices, replaces=st.booleans())
def test_the_condition_is_the_decision(
    registry: DynamoRegistry,
    device: Device | None,
    replaces: bool,  # noqa: FBT001
) -> None:
    """For any row, DynamoDB's condition holds exactly when the pure decision lets it be claimed."""
    asked = enrollment(replaces=replaces)
    client = boto3.client("dynamodb")
    for key in (rows.device_key(DEVICE), {"pk": {"S": "KEY#k1"}}):
        client.delete_item(TableName="registry", Key=key)
    if device:
        _put(device)
    try:
        allowed = enrolls_anew(device, asked) is None
    except FirstbootError:
        allowed = False
    refused = registry.claim(asked, None)
    assert (refused is None) == allowed
    if refused:
        assert refused.device == device
    else:
        claimed = registry.device(DEVICE)
        assert claimed
        assert claimed.pending == asked.certificate
        assert claimed.claims == asked.claims


def test_a_key_belongs_to_one_device(registry: DynamoRegistry) -> None:
    """Another device's claim on the same key is refused, and writes nothing."""
    assert registry.claim(enrollment(), None) is None
    refused = registry.claim(enrollment(device_id=DeviceId("gw-2")), None)
    assert refused
    assert refused.by is RefusedBy.KEY
    assert registry.device(DeviceId("gw-2")) is None


def test_a_budget_is_never_exceeded(registry: DynamoRegistry) -> None:
    """The limit's last device gets in, the next does not, and its claim leaves nothing."""
    limits = Limits(total=3, per_minute=100)
    outcomes = [_claim(registry, number, limits) for number in range(5)]
    assert outcomes == [None, None, None, RefusedBy.TOTAL, RefusedBy.TOTAL]
    assert registry.device(DeviceId("dev-4")) is None


def test_a_full_shard_leaves_the_others_open(
    registry: DynamoRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices fill every shard to the last place, whichever shard their id points at."""
    monkeypatch.setattr(budget, "_PER_SHARD", 2)
    limits = Limits(total=7, per_minute=100)
    outcomes = [_claim(registry, number, limits) for number in range(9)]
    assert outcomes.count(None) == 7


def test_a_rate_lasts_a_minute(registry: DynamoRegistry) -> None:
    """What was too much in one minute is welcome in the next."""
    limits = Limits(total=100, per_minute=2)
    assert [_claim(registry, number, limits) for number in range(3)] == [None, None, RefusedBy.RATE]
    assert _claim(registry, 3, limits, now=NOW + 60) is None


def test_a_repeat_is_not_counted(registry: DynamoRegistry) -> None:
    """A refused claim counts for nothing: the transaction is one."""
    limits = Limits(total=2, per_minute=100)
    assert [_claim(registry, 0, limits) for _ in range(3)] == [None, RefusedBy.DEVICE, RefusedBy.DEVICE]
    assert _claim(registry, 1, limits) is None


def _claim(registry: DynamoRegistry, number: int, limits: Limits, now: int = NOW) -> RefusedBy | None:
    asked = enrollment(device_id=DeviceId(f"dev-{number}"), certificate=record(spki=f"key-{number}"), now=now)
    refused = registry.claim(asked, limits)
    return refused.by if refused else None


def test_a_commit_is_once(registry: DynamoRegistry) -> None:
    """The first commit counts a generation; the second changes nothing and says the same."""
    registry.claim(enrollment(), None)
    committed = replace(enrollment().certificate, certificate_id="c0", held_until=0)
    first = registry.commit(DEVICE, committed, NOW)
    again = registry.commit(DEVICE, committed, NOW + 5)
    assert first == again
    assert (first.active, first.pending, first.generation) == (committed, None, 1)


def test_a_revocation_beats_a_commit(registry: DynamoRegistry) -> None:
    """Revoked between the read and the commit, the device does not become active."""
    registry.claim(enrollment(), None)
    registry.revoke(DEVICE, NOW)
    with pytest.raises(DeviceRevoked):
        registry.commit(DEVICE, enrollment().certificate, NOW)


def test_a_replaced_pending_certificate_can_not_be_committed(registry: DynamoRegistry) -> None:
    """Only the pending certificate the row names now may become the active one."""
    registry.claim(enrollment(), None)
    with pytest.raises(CertificateNotCurrent):
        registry.commit(DEVICE, record(serial="other"), NOW)


def test_attributes_are_set_and_removed(registry: DynamoRegistry) -> None:
    """A change touches what it names and nothing else."""
    registry.claim(enrollment(), None)
    registry.set_attributes(DEVICE, {"site": "berlin", "floor": 3, "spare": True}, NOW)
    device = registry.set_attributes(DEVICE, {"site": "paris", "floor": None}, NOW)
    assert device.attributes == {"site": "paris", "spare": True}


def test_what_is_not_there_can_not_be_changed(registry: DynamoRegistry) -> None:
    """No operator's typing error makes a row."""
    with pytest.raises(DeviceNotFound):
        registry.revoke(DEVICE, NOW)
    with pytest.raises(DeviceNotFound):
        registry.set_attributes(DEVICE, {"site": "berlin"}, NOW)
    assert registry.device(DEVICE) is None


def test_pages_bring_every_device_once(registry: DynamoRegistry) -> None:
    """Page by page, every device comes once, and no other kind of row does."""
    for number in range(7):
        registry.claim(
            enrollment(device_id=DeviceId(f"dev-{number}"), certificate=record(spki=f"k{number}")), None
        )
    seen: list[str] = []
    after = None
    while True:
        devices, after = registry.page(3, after)
        seen += [device.device_id for device in devices]
        if after is None:
            break
    assert sorted(seen) == [f"dev-{number}" for number in range(7)]
