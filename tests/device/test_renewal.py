"""Test renewal, and recovery from every state that a power failure may leave."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device import certificates
from device.refusal import Action
from tests.device.bench import Bench, refused
from tests.device.service import (
    CHAIN,
    COMMIT,
    DEVICE,
    ENROLL,
    Public,
    Reply,
    Service,
    identifier,
    problem,
)


@pytest.fixture(params=["mtls", "public"])
def device(tmp_path: Path, service: Service, request: pytest.FixtureRequest) -> Bench:
    """Return a device that has booted, for each host."""
    device = Bench(tmp_path / "state", service, request.param)
    device.boot()
    service.requests.clear()
    return device


@pytest.fixture
def public_device(tmp_path: Path, service: Service) -> Bench:
    """Return a device that has booted on the public host."""
    device = Bench(tmp_path / "state", service, "public")
    device.boot()
    service.requests.clear()
    return device


def due(service: Service) -> None:
    """Make the last certificate due for renewal."""
    service.due.add(service.issued[-1].serial_number)


def end(device: Bench, state: Path) -> None:
    """Replace the live certificate by one that has expired."""
    old, service = device.service.issued[-1], device.service
    start = datetime.now(UTC) - timedelta(days=9)
    key = Public(old.public_key())
    expired = service.issuing.issue("dev1", key, not_before=start, days=1)  # type: ignore[arg-type]
    service.due.add(expired.serial_number)
    service.issued[-1] = service.committed[-1] = expired
    (state / "certificate.pem").write_bytes(service.chain(expired))


def keys(service: Service) -> int:
    """Return the number of keys that the service has certified."""
    return len({identifier_of_key(c.public_key()) for c in service.issued})


def identifier_of_key(key: object) -> bytes:
    """Return the bytes of a public key."""
    return certificates._spki(key)  # type: ignore[arg-type]


def test_boot_renews_when_it_is_time(device: Bench, service: Service) -> None:
    """A boot renews a certificate that is due, with the live identity and for a new key."""
    due(service)
    answer = device.boot()
    assert service.requests == [COMMIT, DEVICE, ENROLL, f"{CHAIN}/1", COMMIT]
    assert answer["certificateId"] == identifier(service.issued[1]) != identifier(service.issued[0])
    assert service.committed == service.issued
    assert keys(service) == 2
    service.requests.clear()
    assert device.boot() == answer
    assert service.requests == [COMMIT, DEVICE]


def test_renew_renews_now(device: Bench, service: Service) -> None:
    """The command renew gets a certificate for a new key before the old one is due."""
    before = device.live.key.read_bytes()
    device.renew()
    assert service.requests == [ENROLL, f"{CHAIN}/1", COMMIT]
    assert device.live.key.read_bytes() != before
    assert device.boot()["certificateId"] == identifier(service.issued[1])


def test_a_key_that_can_t_change_is_certified_again(device: Bench, service: Service) -> None:
    """A key that can't change, as in a secure element, gets the next certificate when it is due."""
    due(service)
    before = device.live.key.read_bytes()
    device.renew(same_key=True)
    assert (len(service.issued), keys(service)) == (2, 1)
    assert device.live.key.read_bytes() == before
    assert device.boot()["certificateId"] == identifier(service.issued[1])


def test_the_same_key_before_its_time_gets_the_same_certificate(device: Bench, service: Service) -> None:
    """Before it is due, renewing the same key gets the same certificate and loses nothing."""
    before = device.live.certificate.read_bytes()
    device.renew(same_key=True)
    assert len(service.issued) == 1
    assert device.live.certificate.read_bytes() == before


@pytest.mark.parametrize("route", [DEVICE, ENROLL, f"{CHAIN}/1"])
@pytest.mark.parametrize("action", ["retry", "wait", "stop", "reenroll"])
def test_a_boot_does_not_fail_because_a_renewal_does(
    device: Bench, service: Service, route: str, action: str
) -> None:
    """If a renewal is refused, boot succeeds with the refusal in its answer, and the next boot renews."""
    due(service)
    service.say(route, problem(action, "some-code", 403, retryAfter=99))
    answer = device.boot()
    assert answer["status"] == "active"
    assert answer["renewal"]["action"] == ("retry" if route.startswith(CHAIN) else action)
    assert device.pauses == []
    assert "renewal" not in device.boot()
    assert len(service.issued) == 2
    assert service.committed == service.issued


def test_a_log_in_that_may_have_happened_does_not_fail_quietly(device: Bench, service: Service) -> None:
    """If the log-in after a renewal has no answer, boot fails, because the old certificate may have lost its
    rights.
    """
    due(service)
    service.say(COMMIT, Reply(200, {"status": "active"}), *[problem("retry", status=503)] * 6)
    assert refused(device.boot).action is Action.RETRY
    assert device.boot()["certificateId"] == identifier(service.issued[1])


def test_renew_fails_when_renewal_does(device: Bench, service: Service) -> None:
    """The command renew fails with the refusal and keeps the new key for the next run."""
    service.say(ENROLL, problem("stop", "device-revoked", 403))
    assert refused(device.renew).code == "device-revoked"
    assert device.store.next_key()


def test_a_renewal_beyond_the_day_s_limit_is_left_for_later(device: Bench, service: Service) -> None:
    """After a wait of hours the command renew ends at once, and a later run renews with the same key."""
    service.say(ENROLL, problem("wait", "renewal-rate-exceeded", 429, retryAfter=50_000))
    refusal = refused(device.renew)
    assert (refusal.action, refusal.retry_after, device.pauses) == (Action.WAIT, 50_000, [])
    key = device.store.next_key()
    device.renew()
    assert service.committed == service.issued
    assert device.live.key.read_bytes() == key


def test_without_an_identity_nothing_is_renewed(tmp_path: Path, service: Service) -> None:
    """Without an identity renew ends with `reenroll` and makes no call."""
    assert refused(Bench(tmp_path / "new", service, "public").renew).action is Action.REENROLL
    assert service.requests == []


@pytest.mark.parametrize("renew", [Bench.boot, Bench.renew])
def test_a_renewal_begun_is_carried_on(
    device: Bench, service: Service, renew: Callable[[Bench], object]
) -> None:
    """Each command completes a renewal that was interrupted, for the same key."""
    service.say(f"{CHAIN}/1", *[Reply(403, b"")] * 6)
    assert refused(device.renew).action is Action.RETRY
    renew(device)
    assert (len(service.issued), service.committed) == (2, service.issued)


def test_an_enrollment_begun_is_carried_on_as_a_renewal(device: Bench, service: Service) -> None:
    """A key of an interrupted enrollment is renewed if the live identity works again."""
    service.say(COMMIT, problem("reenroll"))
    service.say(ENROLL, problem("stop"))
    assert refused(device.boot).action is Action.STOP
    key = device.store.next_key()
    device.boot()
    assert device.live.key.read_bytes() == key
    assert len(service.issued) == 2


def test_a_renewal_begun_is_carried_on_as_an_enrollment(device: Bench, service: Service) -> None:
    """A key of an interrupted renewal is enrolled if the live identity has lost its rights."""
    service.say(ENROLL, problem("stop"))
    refused(device.renew)
    key = device.store.next_key()
    service.issued.append(service.web.certificate)  # another took its place
    service.committed.append(service.web.certificate)
    device.boot()
    assert device.live.key.read_bytes() == key
    assert len(service.issued) == 3


def test_a_certificate_lost_after_its_log_in_is_asked_for_again(device: Bench, service: Service) -> None:
    """A certificate lost after its log-in is requested again with the identity that it replaced."""
    key = certificates.new_key()
    with device.store.locked():
        device.store.keep_next_key(key)
    issued = device.client.renew(device.live, certificates.csr(key))
    with device.store.locked():
        new = device.store.keep_next(key, issued.chain)
    device.client.commit(new)
    new.certificate.write_bytes(b"")
    service.requests.clear()
    device.boot()
    assert service.requests == [COMMIT, ENROLL, f"{CHAIN}/1", COMMIT]
    assert device.live.key.read_bytes() == key
    assert len(service.issued) == 2


def test_a_renewed_certificate_that_lapsed_is_given_up(device: Bench, service: Service) -> None:
    """A renewed certificate that lapsed before its log-in is deleted, and the live identity renews for a new
    key.
    """
    service.say(COMMIT, problem("stop"))
    refused(device.renew)
    service.issued.pop()
    due(service)
    lapsed = device.store.next_key()
    device.boot()
    assert device.live.key.read_bytes() != lapsed
    assert service.committed == service.issued
    assert len(service.issued) == 2
    assert not device.store.next_key()


def test_an_expired_identity_comes_back_by_its_own_key(
    public_device: Bench, service: Service, tmp_path: Path
) -> None:
    """On the public host an expired identity gets the next certificate for its own key."""
    end(public_device, tmp_path / "state")
    key = public_device.live.key.read_bytes()
    assert public_device.boot()["status"] == "active"
    assert service.requests == [COMMIT, ENROLL, f"{CHAIN}/1", COMMIT]
    assert public_device.live.key.read_bytes() == key
    assert keys(service) == 1


def test_a_key_begun_does_not_keep_an_expired_identity_out(
    public_device: Bench, service: Service, tmp_path: Path
) -> None:
    """An expired identity gets a certificate for its own key after one for a new key is refused."""
    service.say(ENROLL, problem("stop"))
    refused(public_device.renew)
    end(public_device, tmp_path / "state")
    service.requests.clear()
    public_device.boot()
    assert service.requests == [COMMIT, ENROLL, ENROLL, f"{CHAIN}/1", COMMIT]
    assert keys(service) == 1


def test_past_its_grace_an_expired_identity_enrolls_with_one_new_key(
    public_device: Bench, service: Service, tmp_path: Path
) -> None:
    """After its grace period an expired identity enrolls, with the same new key in each attempt."""
    end(public_device, tmp_path / "state")
    late = problem("reenroll", "certificate-expired", 401)
    service.say(ENROLL, late, problem("stop"), late, late)
    assert refused(public_device.boot).action is Action.STOP
    key = public_device.store.next_key()
    assert key != public_device.live.key.read_bytes()
    public_device.boot()
    assert public_device.live.key.read_bytes() == key


def test_an_expired_identity_of_the_mtls_host_enrolls(tmp_path: Path, service: Service) -> None:
    """On the mTLS host an expired identity enrolls, also if a renewal was interrupted."""
    device = Bench(tmp_path / "state", service, "mtls")
    device.boot()
    end(device, tmp_path / "state")
    with device.store.locked():
        device.store.keep_next_key(certificates.new_key())
    device.boot()
    assert keys(service) == 2


def test_a_renewed_certificate_of_another_device_is_never_stored(
    device: Bench, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewed certificate must name the device of the live certificate."""
    truth = service.issue
    monkeypatch.setattr(service, "issue", lambda _, csr: truth("dev2", csr))
    assert refused(device.renew).action is Action.STOP
    assert device.store.next() is None


def test_a_certificate_of_the_live_key_that_lapsed_takes_nothing_along(
    device: Bench, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while a certificate of the live key is deleted leaves the live certificate as it was."""
    due(service)
    service.say(COMMIT, problem("stop"))
    refused(device.renew, same_key=True)
    good = device.live.certificate.read_bytes()
    killed_at_second_unlink(monkeypatch)
    with device.store.locked(), pytest.raises(KeyboardInterrupt):
        device.store.forget_next()
    monkeypatch.undo()
    with device.store.locked():
        device.store.settle()
    assert device.live.certificate.read_bytes() == good


def killed_at_second_unlink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the second unlink fail, as if power failed there."""
    left = [os.unlink]

    def unlink(path: Path, **options: object) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()(path)

    monkeypatch.setattr(Path, "unlink", unlink)
