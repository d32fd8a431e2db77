"""Test first boot against a service that gives every kind of answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from device.refusal import Action, Refused
from tests import factories
from tests.device.bench import Bench, refused
from tests.device.service import (
    CHAIN,
    COMMIT,
    CREDENTIALS,
    DEVICE,
    ENROLL,
    Public,
    Reply,
    Service,
    problem,
)

FORBIDDEN = Reply(403, {"message": "Forbidden"})


@pytest.fixture(params=["mtls", "public"])
def device(tmp_path: Path, service: Service, request: pytest.FixtureRequest) -> Bench:
    """Return a new device, for each host."""
    return Bench(tmp_path / "state", service, request.param)


@pytest.fixture
def tls_device(tmp_path: Path, service: Service) -> Bench:
    """Return a new device for the mTLS host."""
    return Bench(tmp_path / "state", service, "mtls")


@pytest.mark.parametrize("name", ["00:1B:44:11:3A:B7", "a:b", "x", "_", "gw-"])
def test_a_first_boot_with_an_odd_id(device: Bench, service: Service, name: str) -> None:
    """A device whose id has a colon or one character logs in and renews."""
    with device.store.locked():
        assert device.device.boot(service.bootstrap(name))["deviceId"] == name
    assert device.renew()["deviceId"] == name


def test_a_first_boot_ends_logged_in(device: Bench, service: Service) -> None:
    """A first boot gets one certificate for one key and commits it before it goes live."""
    assert device.boot()["status"] == "active"
    assert service.requests == [ENROLL, f"{CHAIN}/0", COMMIT]
    assert service.issued == service.committed
    assert device.store.live()


def test_a_repeated_boot_only_logs_in(device: Bench, service: Service) -> None:
    """A second boot logs in with the same certificate and does not enroll."""
    first = device.boot()
    service.requests.clear()
    assert device.boot() == first
    assert service.requests == [COMMIT, DEVICE]


def test_the_key_never_leaves(device: Bench, service: Service, tmp_path: Path) -> None:
    """The device sends a CSR, and its private key is on its disk only."""
    device.boot()
    assert [set(request) for request in service.enrollments] == [{"csr", "deliver"}]
    assert "PRIVATE KEY" not in service.enrollments[0]["csr"]
    assert "PRIVATE KEY" in (tmp_path / "state" / "device.key").read_text()


def test_inline_needs_no_url(device: Bench, service: Service) -> None:
    """With inline delivery the device takes the chain from the answer and downloads nothing."""
    device.client = device.connect(inline=True)
    device.boot()
    assert service.requests == [ENROLL, COMMIT]
    assert service.enrollments[0]["deliver"] == "inline"


def test_the_device_id_is_sent_and_held_to(device: Bench, service: Service) -> None:
    """A certificate that names another device than the one asked for is not stored."""
    refusal = refused(device.boot, "dev2")
    assert service.enrollments[0]["deviceId"] == "dev2"
    assert refusal.action is Action.STOP
    assert device.store.next() is None


def test_an_expired_url_is_asked_for_anew(device: Bench, service: Service) -> None:
    """After an expired URL the device repeats the request and gets the same certificate."""
    service.say(f"{CHAIN}/0", Reply(403, b"<Error><Code>AccessDenied</Code></Error>"))
    device.boot()
    assert service.requests == [ENROLL, f"{CHAIN}/0", ENROLL, f"{CHAIN}/0", COMMIT]
    assert len(service.issued) == 1


@pytest.mark.parametrize("hint", [{"headers": {"Retry-After": "7"}, "body": {}}, {"body": {"retryAfter": 7}}])
def test_not_issued_yet_is_waited_for(device: Bench, service: Service, hint: dict[str, Any]) -> None:
    """After a 202 the device repeats the request after the time in its header or body."""
    service.say(ENROLL, Reply(202, **hint))
    device.boot()
    assert device.pauses == [7]
    assert len(service.issued) == 1


FAULTS = [
    problem("retry", status=503),
    problem("wait", status=409, retryAfter=7),
    Reply(429, {"message": "Too Many Requests"}),
    Reply(503, {"message": "Service Unavailable"}, {"Retry-After": "7"}),
    Reply(500, b"<html>"),
    Reply(201, b"[" * 4000),
    Reply(201, b"x" * 4097),
    Reply(201, b"{}", {"Content-Length": "100"}),
    Reply(307, b"", {"Location": "/elsewhere"}),
]


@pytest.mark.parametrize(
    ("route", "reply"),
    [*((route, reply) for route in (ENROLL, COMMIT) for reply in FAULTS), (ENROLL, Reply(201, {"time": ""}))],
)
def test_a_passing_fault_passes(device: Bench, service: Service, route: str, reply: Reply) -> None:
    """After a passing fault, of the service or the gateway, the device repeats that call and completes its
    boot.
    """
    service.say(route, reply)
    assert device.boot()["status"] == "active"
    assert len(device.pauses) == 1
    assert set(service.requests) == {ENROLL, f"{CHAIN}/0", COMMIT}


def test_tries_are_bounded(device: Bench, service: Service) -> None:
    """The device gives up after six tries."""
    service.say(ENROLL, *[problem("retry", status=503)] * 6)
    assert refused(device.boot).action is Action.RETRY
    assert service.requests == [ENROLL] * 6


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem("stop", "device-revoked", 403), "device-revoked"),
        (Reply(413, {"message": "Request Entity Too Large"}), None),
        (FORBIDDEN, None),
        (Reply(400, b""), None),
        (problem("dance", "some-code", 400), "some-code"),
    ],
)
def test_a_lasting_refusal_stops_at_once(
    device: Bench, service: Service, reply: Reply, code: str | None
) -> None:
    """After a refusal that lasts, the device makes no other request, and only its key is stored."""
    service.say(ENROLL, reply)
    refusal = refused(device.boot)
    assert (refusal.action, refusal.code) == (Action.STOP, code)
    assert (service.requests, device.pauses) == ([ENROLL], [])
    assert device.store.next() is device.store.live() is None


@pytest.mark.parametrize("spoiled", ["key", "name", "id", "time", "issuer"])
def test_a_certificate_that_is_not_ours_is_never_stored(
    device: Bench, service: Service, spoiled: str
) -> None:
    """A certificate that fails a check is not stored, and the device stops."""
    key = begun(device)
    leaf = service.issuing.issue(
        "dev2" if spoiled == "name" else "dev1", factories.ec_key() if spoiled == "key" else key
    )
    service.issued.append(leaf)
    announced = {"id": {"certificateId": "00" * 32}, "time": {"time": "2001-01-01T00:00:00Z"}}
    service.say(ENROLL, Reply(201, service.announce(0, deviceId="dev1", **announced.get(spoiled, {}))))
    issuer = service.factory if spoiled == "issuer" else service.issuing
    service.say(f"{CHAIN}/0", Reply(200, (factories.pem(leaf) + factories.pem(issuer.certificate)).encode()))
    assert refused(device.boot).action is Action.STOP
    assert device.store.next() is None
    assert service.requests == [ENROLL, f"{CHAIN}/0"]


def begun(device: Bench) -> factories.PrivateKey:
    """Store a key as a first boot that was interrupted does, and return it."""
    key = factories.ec_key()
    with device.store.locked():
        device.store.keep_next_key(factories.key_pem(key).encode())
    return key


@pytest.mark.parametrize("reply", [Reply(200, b" " * 65_537), Reply(200, b"half", {"Content-Length": "8"})])
def test_a_download_that_failed_is_repeated(device: Bench, service: Service, reply: Reply) -> None:
    """A chain that is too long or cut short is a passing fault, not a wrong certificate."""
    service.say(f"{CHAIN}/0", reply)
    assert device.boot()["status"] == "active"
    assert len(device.pauses) == 1


def test_a_refused_log_in_enrolls_anew(device: Bench, service: Service) -> None:
    """If the live identity is refused with `reenroll`, the device enrolls with a new key."""
    device.boot()
    service.say(COMMIT, problem("reenroll", "certificate-not-current", 403))
    device.boot()
    assert len(service.issued) == len(service.committed) == 2
    assert service.issued[0].public_key() != service.issued[1].public_key()


def test_reenroll_twice_is_left_to_a_person(device: Bench, service: Service) -> None:
    """If a new certificate is refused with `reenroll` too, the device gives up."""
    service.say(COMMIT, *[problem("reenroll")] * 9)
    assert refused(device.boot).action is Action.REENROLL
    assert service.requests.count(COMMIT) == 1


@pytest.mark.parametrize("route", [COMMIT, DEVICE, CREDENTIALS])
def test_a_revoked_device_stops(device: Bench, service: Service, route: str) -> None:
    """On every call a revoked device stops and keeps its identity."""
    device.boot()
    live = device.live
    calls = {
        COMMIT: device.client.commit,
        DEVICE: device.client.device,
        CREDENTIALS: lambda live: device.client.credentials(live, "telemetry"),
    }
    service.say(route, problem("stop", "device-revoked", 403))
    refusal = refused(
        *((calls[route], live) if route in calls else (device.client.credentials, live, "telemetry"))
    )
    assert (refusal.action, refusal.code) == (Action.STOP, "device-revoked")
    assert device.store.live() == live


def test_the_gateway_s_refusal_of_an_expired_certificate_means_reenroll(
    tls_device: Bench, service: Service
) -> None:
    """The gateway's bare 403 means `reenroll` if the certificate has expired by the gateway's time, and
    `stop` otherwise.
    """
    tls_device.boot()
    late = (datetime.now(UTC) + timedelta(days=400)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    service.say(DEVICE, replace(FORBIDDEN, headers={"Date": late}), FORBIDDEN)
    for action in (Action.REENROLL, Action.STOP):
        assert refused(tls_device.client.device, tls_device.live).action is action


def test_an_expired_identity_enrolls_anew(tls_device: Bench, service: Service) -> None:
    """If the handshake refuses an expired certificate, the device enrolls with its bootstrap certificate."""
    start = datetime.now(UTC) - timedelta(days=2)
    truth = service.issue
    service.issue = lambda name, csr: service.issuing.issue(  # type: ignore[method-assign]
        name,
        Public(csr.public_key()),  # type: ignore[arg-type]
        not_before=start,
        days=1,
    )
    in_time = (start + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    announce = service.announce
    service.announce = lambda *a, **k: announce(*a, **k) | {"time": in_time}  # type: ignore[method-assign]
    with pytest.raises(Refused, match="expired"):
        tls_device.boot()
    service.issue, service.announce = truth, announce  # type: ignore[method-assign]
    assert tls_device.boot()["status"] == "active"
    assert len(service.issued) == 2
