"""Data that one version writes can be read by the version before it and the version after it.

During an update both versions run at the same time, and after a rollback the older code reads data that the
newer one wrote. The literal texts here are those of versions that were deployed: add new ones beside them,
and change none.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from firstboot.aws.dynamodb import rows
from firstboot.domain.clock import from_epoch
from firstboot.domain.dead_letters import Letter
from firstboot.domain.device import Anchor, CertificateRecord, Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.domain.rate_limiter import Priority
from firstboot.operate.letters import described
from firstboot.register import jitr_messages, messages
from firstboot.register.messages import Order

ID = "9058330ed852089442d0a6a9b608191497bd25cb60f9a30eda26c2402e9a7927"
CA = "91c2b7036fd900f2ae1ff5d0f6bb2a5f5d8c4b0a9e7d6c5b4a39281706f5e4d3"

SENT = 1_764_000_000
SINCE = 1_795_778_244
"""Epoch seconds."""


def order(since: int = SINCE) -> Order:
    """Return the order that a message about gw-1 means."""
    return Order(DeviceId("gw-1"), from_epoch(since))


ORDERS = {
    '{"deviceId": "gw-1", "since": 1795778244}': order(),
    '{"deviceId": "gw-1", "since": 1795778244, "slot": 1795778394266}': order(),
    '{"deviceId": "gw-1", "since": 1795778244, "slot": 0}': order(),
    '{"deviceId": "gw-1", "since": 1795778244, "slot": null}': order(),
    '{"deviceId": "gw-1", "since": 1795778244, "priority": "revocation", "tries": 2, "after": "4f"}': replace(
        order(), priority=Priority.REVOCATION, tries=2, after="4f"
    ),
    '{"deviceId": "gw-1"}': order(SENT),
    '{"deviceId": "gw-1", "since": 1795778244, "reason": {"unknown": [1]}}': order(),
    '{"Records": [{"eventVersion": "2.6", "eventSource": "aws:s3", "eventTime": "2026-11-27T11:17:24.123Z",'
    ' "s3": {"object": {"key": "certificates/gw-1/4f.pem", "size": 1024, "added": true}}}]}': replace(
        order(), priority=Priority.CERTIFICATE
    ),
}
"""Messages in the queues of `register.work` as versions wrote them, and S3's event."""


@pytest.mark.parametrize("text", ORDERS)
def test_an_order_of_another_version_is_read(text: str) -> None:
    """A message of another version may lack optional members and have unknown ones."""
    record = {"messageId": "m", "body": text, "attributes": {"SentTimestamp": f"{SENT}999"}}
    assert messages.parse(record) == [ORDERS[text]]


@pytest.mark.parametrize(
    ("made", "members"),
    [
        (order(), {"deviceId": "gw-1", "since": SINCE}),
        (
            replace(order(), priority=Priority.REVOCATION, tries=2, after="4f"),
            {"deviceId": "gw-1", "since": SINCE, "priority": "revocation", "tries": 2, "after": "4f"},
        ),
    ],
)
def test_an_order_is_written_as_the_version_before_reads_it(made: Order, members: dict[str, Any]) -> None:
    """A message has the types that the version before reads, which ignores members that it does not know."""
    assert typed(messages.render(made)) == typed(json.dumps(members))


WAITING = {
    f'{{"certificateId": "{ID}", "slot": 1795778394266}}',
    f'{{"certificateId": "{ID}", "slot": null}}',
    f'{{"certificateId": "{ID}"}}',
    f'{{"certificateId": "{ID}", "caCertificateId": "{CA}", "certificateStatus": "PENDING_ACTIVATION"}}',
    f'{{"certificateId": "{ID}", "since": 1795778394, "tries": 2}}',
    f'{{"certificateId": "{ID}", "later": [1]}}',
}
"""Messages in the queue of `register.jitr` as versions wrote them, and AWS IoT's event."""


@pytest.mark.parametrize("text", WAITING)
def test_a_jitr_message_of_another_version_is_read(text: str) -> None:
    """A JITR message of another version is read, and members of AWS IoT or a later version are ignored."""
    assert jitr_messages.parse(text).certificate_id == ID


def typed(text: str) -> dict[str, tuple[type, Any]]:
    """Return the members of a JSON object with their types, because `1` and `1.0` are equal."""
    return {name: (type(value), value) for name, value in json.loads(text).items()}


def certificate(number: int, **more: Any) -> dict[str, Any]:
    """Return a certificate as it is in a device's row."""
    plain = {
        "serial": {"S": f"{number:040x}"},
        "spki": {"S": f"{number:064x}"},
        "notBefore": {"N": "1795778000"},
        "notAfter": {"N": "1827314000"},
        "renewAfter": {"N": "1816591760"},
        "heldUntil": {"N": "0"},
    }
    return {"M": plain | more}


def record(number: int, **more: Any) -> CertificateRecord:
    """Return the certificate that `certificate` describes."""
    return CertificateRecord(
        serial=f"{number:040x}",
        spki=f"{number:064x}",
        not_before=from_epoch(1_795_778_000),
        not_after=from_epoch(1_827_314_000),
        renew_after=from_epoch(1_816_591_760),
        **more,
    )


HELD = {"heldUntil": {"N": "1795778900"}}
COMMITTED = {"certificateId": {"S": ID}}
REPLACED = COMMITTED | {"supersededAt": {"N": "1795778244"}}
ROW = {
    "pk": {"S": "DEV#gw-1"},
    "deviceId": {"S": "gw-1"},
    "group": {"S": "gateways"},
    "status": {"S": "enrolled"},
    "generation": {"N": "1"},
    "createdAt": {"N": "1795778000"},
    "updatedAt": {"N": "1795778244"},
    "enrolledBy": {"S": ID},
    "attributes": {"M": {"site": {"S": "bonn"}, "quarantined": {"BOOL": False}, "floor": {"N": "7"}}},
    "claims": {"M": {}},
}
ORIGIN = {
    "bootstrapIds": {"SS": [ID, "e" * 64]},
    "anchor": {"S": "a" * 64},
    "anchorSubject": {"S": "CN=Factory CA"},
}
"""The attributes that an enrollment writes since `enrolledBy` is the SHA-256 of what is signed."""
DEVICE = Device(
    device_id=DeviceId("gw-1"),
    group="gateways",
    status=Status.ENROLLED,
    generation=1,
    created_at=from_epoch(1_795_778_000),
    updated_at=from_epoch(SINCE),
    enrolled_by=ID,
    bootstrap_ids=frozenset({ID}),
    attributes={"site": "bonn", "quarantined": False, "floor": 7},
)
WITHOUT_BOOTSTRAP: dict[str, Any] = {"enrolled_by": None, "bootstrap_ids": frozenset()}
EXPECTED = {name: value for name, value in ROW.items() if name != "enrolledBy"}
IN_AWS_IOT = {"registered": {"SS": [ID]}, "attached": {"SS": ["mqtt", "telemetry"]}}
KNOWN = {"registered": frozenset({ID}), "attached": frozenset({"mqtt", "telemetry"})}
STATES: dict[str, tuple[dict[str, Any], Device]] = {
    "expected": (
        EXPECTED | {"status": {"S": "expected"}, "generation": {"N": "0"}},
        replace(DEVICE, status=Status.EXPECTED, generation=0, **WITHOUT_BOOTSTRAP),
    ),
    "pending": (
        ROW | {"generation": {"N": "0"}, "pending": certificate(1, **HELD)},
        replace(DEVICE, generation=0, pending=record(1, held_until=from_epoch(1_795_778_900))),
    ),
    "pending, with claims": (
        ROW | {"pending": certificate(1, claims={"M": {"model": {"S": "x"}}}, **HELD)},
        replace(
            DEVICE,
            pending=record(1, held_until=from_epoch(1_795_778_900), claims={"model": "x"}),
            claims={"model": "x"},
        ),
    ),
    "renewing, with claims": (
        ROW
        | {
            "pending": certificate(2, claims={"M": {}}, **HELD),
            "active": certificate(1, **COMMITTED),
            "claims": {"M": {"model": {"S": "x"}}},
        },
        replace(
            DEVICE,
            pending=record(2, held_until=from_epoch(1_795_778_900), claims={}),
            active=record(1, certificate_id=ID),
            claims={"model": "x"},
        ),
    ),
    "active": (
        ROW | IN_AWS_IOT | {"active": certificate(1, **COMMITTED)},
        replace(DEVICE, active=record(1, certificate_id=ID), **KNOWN),  # type: ignore[arg-type]
    ),
    "renewing, superseded": (
        ROW
        | {
            "pending": certificate(3, **HELD),
            "active": certificate(2, **COMMITTED),
            "superseded": certificate(1, **REPLACED),
        },
        replace(
            DEVICE,
            pending=record(3, held_until=from_epoch(1_795_778_900)),
            active=record(2, certificate_id=ID),
            superseded=record(1, certificate_id=ID, superseded_at=from_epoch(SINCE)),
        ),
    ),
    "imported, without the device's own mark": (
        EXPECTED | {"active": certificate(1, imported={"BOOL": True}, **COMMITTED)},
        replace(
            DEVICE,
            active=record(1, certificate_id=ID, imported=True),
            imported=True,
            **WITHOUT_BOOTSTRAP,
        ),
    ),
    "imported": (
        EXPECTED | {"active": certificate(1, **COMMITTED), "imported": {"BOOL": True}},
        replace(DEVICE, active=record(1, certificate_id=ID), imported=True, **WITHOUT_BOOTSTRAP),
    ),
    "about to be activated": (
        ROW | {"activating": {"SS": [ID]}},
        replace(DEVICE, activating=frozenset({ID})),
    ),
    "of a known anchor": (
        ROW | ORIGIN | {"active": certificate(1, **COMMITTED)},
        replace(
            DEVICE,
            active=record(1, certificate_id=ID),
            bootstrap_ids=frozenset({ID, "e" * 64}),
            anchor=Anchor("a" * 64, "CN=Factory CA"),
        ),
    ),
    "revoked": (ROW | {"status": {"S": "revoked"}}, replace(DEVICE, status=Status.REVOKED)),
    "deleted": (ROW | {"status": {"S": "deleted"}}, replace(DEVICE, status=Status.DELETED)),
}
"""The row of a device in each state, as versions wrote it, and the device that it means."""

LATER: dict[str, Any] = {"later": {"L": [{"NULL": True}]}, "ratio": {"N": "0.5"}}
"""Attributes that a later version might add, with types that no row has today."""


@pytest.mark.parametrize("state", STATES)
def test_a_device_s_row_of_another_version_is_read(state: str) -> None:
    """A device's row of another version is read in each state, and later attributes are ignored."""
    row, device = STATES[state]
    assert rows.device(row) == device
    assert rows.device(row | LATER) == device


def test_later_members_of_a_certificate_are_ignored() -> None:
    """Members that a later version adds to a certificate in a device's row are ignored."""
    row, device = STATES["active"]
    assert rows.device(row | {"active": certificate(1, **COMMITTED, **LATER)}) == device


@pytest.mark.parametrize("state", STATES)
def test_a_certificate_is_written_as_the_version_before_reads_it(state: str) -> None:
    """A certificate is written to a device's row exactly as the version before writes it."""
    row, device = STATES[state]
    for name in ("pending", "active", "superseded"):
        if known := getattr(device, name):
            assert rows.values({name: rows.certificate_row(known)}) == {name: row[name]}


FLEET = (
    '{"base":null,"grants":{"telemetry":{"Statement":[]}},"groups":{"batch":{"budget":{"freeze_per_hour":5,'
    '"per_minute":2,"total":10,"until":1830297600},"certificate":{"days":730,"grace_days":180,"renew_at":0.5},'
    '"configuration":{"log":{"level":"info"}},"device_id":"request.deviceId","mqtt":"token","name":"batch",'
    '"reenroll":"refuse","reenroll_per_day":3,"trust":["anchor-a","anchor-b"]},"gateways":{"budget":'
    '{"freeze_per_hour":null,"per_minute":200,"total":50000,"until":253402300800},"certificate":{"days":365,'
    '"grace_days":90,"renew_at":0.66},"configuration":{},"device_id":"subject.CN","mqtt":"registry",'
    '"name":"gateways","reenroll":"replace","reenroll_per_day":10,"trust":["anchor-c"]},"open":{"budget":null,'
    '"certificate":{"days":1,"grace_days":0,"renew_at":0.9},"configuration":{},"device_id":"subject.CN",'
    '"mqtt":"registry","name":"open","reenroll":"replace","reenroll_per_day":10,"trust":["anchor-d"]}},'
    '"issuers":{"acme":{"algorithms":["ES256","PS256"],"groups":["batch"],"issuer":"https://id.acme.example",'
    '"jwks":"https://id.acme.example/jwks","name":"acme"}},"role_aliases":{"telemetry":{"name":"telemetry",'
    '"seconds":3600}},"rules":"permit (principal, action, resource);","schema":"entity Group;"}'
)
HASH = "6c20bf79061aed4c39f283d07237a5a77a6424c856eaaf1e5dc61888440bd387"
PUBLISHED_HASH = "e71ec19c509dfebfc443ca335d5db17014b969f568fb88ee74aa27281c409254"


def test_a_compiled_fleet_keeps_its_text_and_hash() -> None:
    """A compiled fleet keeps its text and hash: under another hash, a published fleet would be ignored."""
    fleet = Fleet.from_json(FLEET)
    assert fleet.to_json() == FLEET
    assert fleet.hash == HASH


def test_a_published_fleet_keeps_its_text_and_hash() -> None:
    """A published fleet, which differs from the deployed one only in `base`, keeps its text and hash."""
    published = FLEET.replace('"base":null', f'"base":"{HASH}"')
    fleet = Fleet.from_json(published)
    assert (fleet.base, fleet.hash, fleet.to_json()) == (HASH, PUBLISHED_HASH, published)
    assert replace(Fleet.from_json(FLEET), base=HASH) == fleet


ARN = "arn:aws:lambda:us-east-1:123456789012:function:Firstboot-ExchangeMqtt"


REQUEST = '{"payload": "e30=", "clientId": "gw-1", "topic": "firstboot/gw-1/certificates/request"}'
LETTERS = {
    '{"version": "1.0", "timestamp": "2026-11-27T11:17:24.123Z", "requestContext": {"requestId": "e4",'
    f' "functionArn": "{ARN}:$LATEST", "condition": "RetriesExhausted", "approximateInvokeCount": 3}}'
    f', "requestPayload": {REQUEST}, "responseContext": {{"statusCode": 200}}, "later": null}}': (
        {"clientId": "gw-1", "call": "certificates/request", "requestId": "e4", "reason": "RetriesExhausted"}
    ),
    '{"ruleName": "CertificatesRequest", "topic": "firstboot/gw-1/certificates/request",'
    ' "clientId": "gw-1", "base64OriginalPayload": "e30=", "failures": [], "later": null}': (
        {"clientId": "gw-1", "call": "certificates/request"}
    ),
}
"""Dead letters as Lambda and AWS IoT write them. They are kept for up to two weeks."""


@pytest.mark.parametrize("letter", LETTERS)
def test_a_dead_letter_from_before_an_update_is_understood(letter: str) -> None:
    """A dead letter from before an update is shown by the new version like one of its own."""
    found = described(Letter("r", letter, from_epoch(1_795_778_000)))
    assert found == {"sentAt": "2026-11-27T11:13:20Z"} | LETTERS[letter]
