"""Test the device over MQTT with mosquitto as the broker."""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from device import known, mqtt
from device.__main__ import main
from device.boot import Device
from device.patience import MQTT, OVERLOAD, BackOff, Patience
from device.refusal import Action
from device.service import Service as Client
from device.store import Store
from device.transport import TIMEOUT_SECONDS, Transport
from tests import factories
from tests.clients.broker import Broker, brokered, hanging_up
from tests.device.bench import refused
from tests.device.crash import DIED, run
from tests.device.service import COMMIT, CREDENTIALS, ENROLL, Reply, identifier, problem
from tests.device.test_cli import longest_credentials
from tests.device.test_crash import holds_one_identity

# The operations of this host. tests/device/test_crash.py tests those on the disk, which all hosts share.
SPEAKING = ("connect", "subscribe", "publish", "disconnect", "request", "read", "replace")
UNKNOWN = {"mqtt": {"ready": False, "retryAfter": 7}}


@pytest.fixture(autouse=True)
def no_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the system's roots, because loading them would take most of the time."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """Run a broker and a service that do nothing wrong unless a test says so."""
    with brokered(tmp_path) as broker:
        yield broker


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the path of the state directory."""
    return tmp_path / "state"


def command(broker: Broker, state: Path, *more: str, name: str = "dev1") -> list[str]:
    """Return the command line of a boot, which a test repeats."""
    bootstrap = broker.service.bootstrap(name)
    where = ["--mqtt", broker.address, "--ca", str(broker.service.ca), "--state", str(state)]
    files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
    return ["boot", *where, *files, *more]


class Bench:
    """A device in the test's process. `pauses` are in seconds; no time passes."""

    def __init__(
        self,
        broker: Broker,
        state: Path,
        address: str | None = None,
        ca: str | None = "",
        tries: int = 4,
        overload: BackOff | None = None,
    ) -> None:
        self.pauses: list[float] = []
        self.bootstrap = broker.service.bootstrap()
        transport = Transport(broker.service.ca.read_text() if ca == "" else ca)
        host = mqtt.Broker(address or broker.address, transport, self.bootstrap)
        patience = Patience(tries=tries, overload=overload, sleep=self._pause, jitter=lambda: 0)
        self.device = Device(Store(state), Client(host, transport), patience)
        self.paused: Callable[[], object] = lambda: None

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.paused()

    def boot(self) -> dict[str, Any]:
        """Run `boot`."""
        with self.device.store.locked():
            return self.device.boot(self.bootstrap)


def test_boot_status_renew_credentials(
    broker: Broker, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After boot the other commands need the state directory only, and the bootstrap certificate connects
    once.
    """
    assert main(command(broker, state)) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], "clientToken" in said) == ("active", False)
    assert main(["renew", "--state", str(state), "--inline"]) == 0
    assert json.loads(capsys.readouterr().out)["certificateId"] == identifier(broker.service.issued[1])
    assert main(["status", "--state", str(state)]) == 0
    assert json.loads(capsys.readouterr().out)["renew"] is False
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 0
    assert json.loads(capsys.readouterr().out)["AccessKeyId"] == "accessKeyId" * 2
    assert broker.asked == [
        ("dev1", topic)
        for topic in (
            "certificates/request",
            "certificates/commit",
            "certificates/request",
            "certificates/commit",
            "certificates/commit",
            "credentials/request",
        )
    ]
    assert [request["deliver"] for request in broker.service.enrollments] == ["url", "inline"]


def open_sockets() -> set[int]:
    """Return the file descriptors of the sockets that Python objects of this process hold."""
    found = [each for each in gc.get_objects() if isinstance(each, socket.socket)]
    return {each.fileno() for each in found} - {-1}


def test_no_socket_is_left_to_the_garbage_collector(broker: Broker, state: Path) -> None:
    """The client closes each of its sockets itself."""
    bench = Bench(broker, state)
    gc.collect()
    gc.disable()
    try:
        before = open_sockets()
        bench.boot()
        assert open_sockets() <= before
    finally:
        gc.enable()


def test_inline_needs_no_https(broker: Broker, state: Path) -> None:
    """With --inline the device calls the broker only."""
    assert main(command(broker, state, "--inline")) == 0
    assert broker.service.requests == [ENROLL, COMMIT]


def test_a_shared_certificate_connects_for_the_device_it_asks_for(broker: Broker, state: Path) -> None:
    """A shared certificate connects as `boot-` and the device id that the request names."""
    broker.service.say(ENROLL, problem("stop"))
    assert main(command(broker, state, "--device-id", "dev9", name="claim")) == 12
    assert broker.asked == [("boot-dev9", "certificates/request")]
    assert main(command(broker, state / "other", "--device-id", "dev1")) == 0
    assert broker.asked[1] == ("dev1", "certificates/request")
    assert broker.service.enrollments[0]["deviceId"] == "dev1"


def test_other_answers_are_not_ours(broker: Broker, state: Path) -> None:
    """The device ignores answers to other requests, malformed answers and answers that are too large."""
    another = json.dumps({"clientToken": "x" * 22, "status": 403, "action": "stop"}).encode()
    broker.noise = [
        ("rejected", another),
        ("rejected", json.dumps({"action": "stop"}).encode()),
        ("accepted", b"{"),
        ("accepted", b"[" * 4_000),
        ("accepted", b'"text"'),
        ("accepted", b" " * 10_000 + b"{}"),
    ]
    assert main(command(broker, state)) == 0
    assert broker.noise == []


def test_an_answer_above_the_protocols_size_is_none(
    broker: Broker, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device ignores an answer above 4,608 bytes and its token."""
    monkeypatch.setattr(mqtt, "TIMEOUT_SECONDS", 0.3)
    broker.extra = {"more": "x" * 4_608}
    refusal = refused(Bench(broker, state).boot)
    assert (refusal.action, refusal.detail) == (Action.RETRY, "No answer from localhost: TimeoutError")


@pytest.mark.parametrize(("action", "code"), [("retry", 10), ("wait", 11), ("stop", 12), ("reenroll", 13)])
def test_a_problem_is_what_it_is_over_https(
    broker: Broker, state: Path, action: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A problem has the same exit code as over HTTPS, after as many tries as its action allows."""
    broker.service.say(ENROLL, *[problem(action, "some-code", retryAfter=0)] * MQTT.tries)
    assert main(command(broker, state)) == code
    assert len(broker.asked) == (MQTT.tries if code < 12 else 1)
    assert json.loads(capsys.readouterr().err.splitlines()[-1]) == {
        "action": action,
        "code": "some-code",
        "detail": "Some detail",
        "retryAfter": 0.0,
    }


def test_a_certificate_not_issued_yet_is_waited_for(broker: Broker, state: Path) -> None:
    """An accepted request without a certificate is repeated after the time in the answer."""
    broker.service.say(ENROLL, Reply(202, {"deviceId": "dev1", "retryAfter": 3}))
    bench = Bench(broker, state)
    assert bench.boot()["status"] == "active"
    assert bench.pauses == [3]


def test_the_longest_session_token_is_read(
    broker: Broker, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The device reads credentials with the longest session token that STS makes, over MQTT."""
    assert main(command(broker, state)) == 0
    capsys.readouterr()
    token, answer = longest_credentials()
    broker.service.say(CREDENTIALS, Reply(200, json.loads(answer)))
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 0
    assert json.loads(capsys.readouterr().out)["SessionToken"] == token


def test_no_credentials_now_is_the_problems_own_action(broker: Broker, state: Path) -> None:
    """A refusal of credentials over MQTT names its action, so the device makes no other call."""
    assert main(command(broker, state)) == 0
    broker.service.say(CREDENTIALS, problem("wait", "no-grant", 403))
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 11
    assert broker.asked[-1] == ("dev1", "credentials/request")


def test_a_bootstrap_certificate_met_for_the_first_time_tries_again(broker: Broker, state: Path) -> None:
    """The device connects again when AWS IoT closes the connection of a certificate that it registers just in
    time.
    """
    with hanging_up(broker.port, "--") as port:
        bench = Bench(broker, state, f"localhost:{port}")
        assert bench.boot()["status"] == "active"
    assert len(bench.pauses) == 2
    assert len(broker.service.issued) == 1


def test_a_new_certificate_waits_until_aws_iot_knows_it(broker: Broker, state: Path) -> None:
    """The device waits as long as the answer says each time its new certificate is refused."""
    broker.extra = UNKNOWN
    with hanging_up(broker.port, "+--") as port:
        bench = Bench(broker, state, f"localhost:{port}")
        assert bench.boot()["status"] == "active"
    assert bench.pauses == [7, 7]
    assert len(broker.service.issued) == 1


def test_boot_says_what_it_waits_for(broker: Broker, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Boot writes a line to stderr for each step that takes time; later commands write none."""
    broker.extra = {"mqtt": {"ready": False, "retryAfter": 0}}
    with hanging_up(broker.port, "+-+") as port:
        boot = [part.replace(str(broker.port), str(port)) for part in command(broker, state)]
        assert main(boot) == 0
        here = f"Connecting to localhost:{port} as dev1"
    said = re.sub(r"\(\w+\)", "(…)", capsys.readouterr().err)  # how a connection ends is a matter of timing
    assert said.splitlines() == [
        here,
        "Waiting for the certificate",
        here,
        "AWS IoT does not know the new certificate yet (…): next try in 0 s",
        here,
        "Waiting for the answer to the log-in",
    ]
    assert main(command(broker, state)) == 0
    capsys.readouterr()
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 0
    assert capsys.readouterr().err == ""


def test_a_line_of_progress_can_t_be_forged(
    broker: Broker, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line ends and terminal escapes in the service's text are escaped in boot's progress."""
    broker.service.say(ENROLL, problem("retry", detail="a\nb\x1b[2J", retryAfter=0))
    assert main(command(broker, state)) == 0
    assert "a\\nb\\x1b[2J: next try in 0 s" in capsys.readouterr().err.splitlines()


def test_a_certificate_that_is_known_is_not_waited_for(broker: Broker, state: Path) -> None:
    """If AWS IoT knows the certificate and the broker closes the connection, the device retries with back-
    off.
    """
    broker.extra = {"mqtt": {"ready": True, "retryAfter": 0}}
    with hanging_up(broker.port, "+----") as port:
        refusal = refused(Bench(broker, state, f"localhost:{port}").boot)
    assert (refusal.action, refusal.retry_after) == (Action.RETRY, None)


def test_a_turn_far_away_is_waited_for_in_hours(
    broker: Broker, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that AWS IoT knows in more than an hour tries once an hour, and then at its turn."""
    broker.extra = {"mqtt": {"ready": False, "retryAfter": 9_000}}
    monotonic, ahead = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + ahead)

    def pass_on() -> None:
        nonlocal ahead
        ahead += bench.pauses[-1]

    with hanging_up(broker.port, "+----+") as port:
        bench = Bench(broker, state, f"localhost:{port}", overload=OVERLOAD)
        bench.paused = pass_on
        assert bench.boot()["status"] == "active"
    assert bench.pauses == [3_600, 3_600, 1_800, 60]


def test_a_long_wait_ends_the_run_and_the_next_carries_on(
    broker: Broker, state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long wait ends the run with 11 and the time, and the next run logs in with the same certificate."""
    monkeypatch.setattr(known, "MQTT", replace(MQTT, overload=None))
    broker.extra = {"mqtt": {"ready": False, "retryAfter": 900}}
    boot = command(broker, state)
    with hanging_up(broker.port, "+-") as port:
        assert main([part.replace(str(broker.port), str(port)) for part in boot]) == 11
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["retryAfter"] == 900
    assert (state / "next.chain").exists()
    assert main(boot) == 0
    assert len(broker.service.issued) == 1


def test_a_silent_service_is_asked_again(
    broker: Broker, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request without an answer is repeated for the same key, so one certificate is issued."""
    patient = TIMEOUT_SECONDS
    monkeypatch.setattr(mqtt, "TIMEOUT_SECONDS", 0.3)
    broker.silent = 2
    bench = Bench(broker, state)
    # The third answer has the full time limit, because a busy machine may be slow.
    bench.paused = lambda: len(bench.pauses) == 2 and monkeypatch.setattr(mqtt, "TIMEOUT_SECONDS", patient)
    assert bench.boot()["status"] == "active"
    assert len(bench.pauses) == 2
    assert len(broker.service.issued) == 1


def test_a_broker_that_dies_is_no_answer(broker: Broker, state: Path) -> None:
    """The client reports a retry at once if the broker dies during a call or no broker listens."""
    assert broker.process
    broker.stop = broker.process.kill
    bench = Bench(broker, state, tries=1)
    during = refused(bench.boot)
    assert (during.action, during.detail) == (Action.RETRY, "No answer from localhost: ConnectionError")
    # A killed process refuses connections only after the kernel has closed its socket.
    broker.process.wait()
    after = refused(bench.boot)
    assert after.action is Action.RETRY
    assert after.detail == "No connection to localhost: ConnectionRefusedError"


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_broker_must_prove_its_name(broker: Broker, state: Path, wrong: str) -> None:
    """The device sends nothing to a broker whose certificate is not trusted or has another name."""
    address = f"127.0.0.1:{broker.port}" if wrong == "name" else None
    refusal = refused(Bench(broker, state, address, None if wrong == "authority" else "").boot)
    assert (refusal.action, refusal.code, broker.asked) == (Action.STOP, "server-untrusted", [])


def test_an_identity_that_has_ended_enrolls_anew(broker: Broker, state: Path) -> None:
    """An identity that has expired by its own dates enrolls again."""
    key = factories.ec_key()
    ended = broker.service.issuing.issue("dev1", key, not_before=datetime.now(UTC) - timedelta(days=400))
    state.mkdir()
    (state / "certificate.pem").write_bytes(broker.service.chain(ended))
    (state / "device.key").write_text(factories.key_pem(key))
    bench = Bench(broker, state)
    assert bench.boot()["status"] == "active"
    assert bench.pauses == []
    assert len(broker.service.issued) == 1


def test_a_bootstrap_certificate_that_has_ended_is_for_a_person(broker: Broker, state: Path) -> None:
    """A bootstrap certificate that has expired stops the device without another try."""
    bench = Bench(broker, state)
    broker.service.bootstrap(not_before=datetime.now(UTC) - timedelta(days=400))
    refusal = refused(bench.boot)
    assert (refusal.action, bench.pauses) == (Action.STOP, [])


def test_boot_renews_by_the_certificates_own_dates(broker: Broker, state: Path) -> None:
    """Over MQTT the device renews when two thirds of the certificate's lifetime are over by the service's
    time.
    """
    broker.service.age = timedelta(days=244)
    boot = command(broker, state)
    assert main(boot) == 0
    broker.service.age = timedelta(days=243)
    assert main(boot) == 0
    assert main(boot) == 0
    assert len(broker.service.issued) == 2


def test_a_log_in_without_a_time_is_a_fault(broker: Broker, state: Path) -> None:
    """If the log-in's answer has no time, boot succeeds and reports that renewal failed."""
    bench = Bench(broker, state)
    bench.boot()
    broker.clock = False
    assert bench.boot()["renewal"]["action"] == "retry"


def test_a_refused_log_in_is_the_status(broker: Broker, state: Path) -> None:
    """The command status ends with the refusal of the log-in."""
    assert main(command(broker, state)) == 0
    broker.service.say(COMMIT, problem("reenroll", "certificate-not-current", 403))
    assert main(["status", "--state", str(state)]) == 13


@pytest.mark.parametrize("address", ["localhost", ":8883", "h:", "h:0", "h:65536", "h:x", "h:٣"])
def test_an_address_is_a_host_and_a_port(
    broker: Broker, state: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that is not HOST:PORT is wrong usage and changes nothing."""
    boot = [address if part == broker.address else part for part in command(broker, state)]
    assert main(boot) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err
    assert not state.exists()


def test_an_ipv6_address_is_one() -> None:
    """An IPv6 address is in brackets, as in a URL."""
    assert mqtt.parse("[::1]:8883") == ("::1", 8883)


def test_a_certificate_without_a_name_is_for_a_person(broker: Broker, state: Path) -> None:
    """A certificate without a common name gives no client id and stops the device."""
    bench = Bench(broker, state)
    broker.service.bootstrap(subject=x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")]))
    refusal = refused(bench.boot)
    assert (refusal.action, refusal.detail) == (Action.STOP, "The certificate has no common name")


def test_without_paho_the_device_says_what_is_missing(
    broker: Broker, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without paho-mqtt boot ends with 2, names the package to install, and changes nothing."""
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    monkeypatch.delitem(sys.modules, "device.mqtt")
    assert main(command(broker, state)) == 2
    assert "pip install 'firstboot-device[mqtt]'" in capsys.readouterr().err
    assert not state.exists()


def test_over_https_paho_is_not_needed() -> None:
    """The client does not import paho-mqtt unless --mqtt is given."""
    script = "import device.__main__, sys; sys.exit('paho' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )


def test_a_first_boot_killed_at_any_point_ends_with_one_certificate(broker: Broker, tmp_path: Path) -> None:
    """After a crash at any point of a first boot, one more run leaves one certificate and one identity."""
    point, code = 0, DIED
    while code == DIED:
        point += 1
        broker.service.forget()
        boot = command(broker, tmp_path / f"state-{point}")
        code = run(boot, point=point, only=SPEAKING, kills=True)
        assert run(boot) == 0, f"after dying at {point}"
        assert holds_one_identity(broker.service, tmp_path / f"state-{point}"), f"after dying at {point}"
        assert len(broker.service.issued) == 1, f"after dying at {point}"
    assert code == 0
    assert point > 30
