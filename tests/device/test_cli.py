"""Test the device's command line: exit codes and output."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from device.__main__ import main
from firstboot.domain.clock import EPOCH
from firstboot.domain.session import Credentials
from firstboot.policy.limits import SESSION_TOKEN
from firstboot.vend import credential_provider
from tests import factories
from tests.device.service import (
    COMMIT,
    CREDENTIALS,
    DEVICE,
    ENROLL,
    Reply,
    Service,
    common_name,
    identifier,
    problem,
)

NOW: dict[str, Any] = {"retryAfter": 0}
CODES = [("retry", 10), ("wait", 11), ("stop", 12), ("reenroll", 13)]


def boot(service: Service, state: Path, *more: str, host: str = "mtls") -> int:
    """Run `python -m device boot`."""
    bootstrap = service.bootstrap()
    where = [f"--{host}", service.url, "--ca", str(service.ca), "--state", str(state)]
    files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
    return main(["boot", *where, *files, *more])


@pytest.mark.parametrize("host", ["mtls", "public"])
def test_boot_status_renew_credentials(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """After boot, the other commands need the state directory only, on each host."""
    assert boot(service, state, host=host) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "active"
    assert main(["renew", "--state", str(state), "--inline"]) == 0
    assert json.loads(capsys.readouterr().out)["certificateId"] == identifier(service.issued[1])
    assert main(["renew", "--state", str(state), "--same-key"]) == 0
    assert len(service.issued) == 2
    capsys.readouterr()
    assert main(["status", "--state", str(state)]) == 0
    assert json.loads(capsys.readouterr().out)["deviceId"] == common_name(service.issued[0])
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "Version": 1,
        "AccessKeyId": "accessKeyId" * 2,
        "SecretAccessKey": "secretAccessKey" * 2,
        "SessionToken": "sessionToken" * 2,
        "Expiration": "2030-01-01T00:00:00Z",
    }
    assert [request["deliver"] for request in service.enrollments] == ["url", "inline", "url"]
    assert bool(service.nonces_given) is (host == "public")


def longest_credentials() -> tuple[str, bytes]:
    """Return STS's longest session token, and Firstboot's answer with it."""
    token = "t" * SESSION_TOKEN
    made = Credentials("ASIA" + "A" * 16, "s" * 40, token, EPOCH)
    return token, credential_provider.success(made).body.encode()


@pytest.mark.parametrize("host", ["mtls", "public"])
def test_the_longest_session_token_is_read(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """The device reads credentials with the longest session token that STS makes, on each host."""
    assert boot(service, state, host=host) == 0
    capsys.readouterr()
    token, answer = longest_credentials()
    service.say(CREDENTIALS, Reply(200, answer))
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 0
    assert json.loads(capsys.readouterr().out)["SessionToken"] == token


@pytest.mark.parametrize("hosts", [(), ("--mtls", "https://a.test", "--public", "https://b.test")])
def test_a_device_boots_on_one_host(tmp_path: Path, hosts: tuple[str, ...]) -> None:
    """A boot without a host or with two ends with 2."""
    files = ["--bootstrap-cert", "some.crt", "--bootstrap-key", "some.key", "--state", str(tmp_path / "none")]
    with pytest.raises(SystemExit) as caught:
        main(["boot", *files, *hosts])
    assert caught.value.code == 2


def test_a_device_moves_to_another_host(service: Service, state: Path) -> None:
    """A device calls the host that it booted on last, with the identity that it has."""
    assert boot(service, state) == 0
    assert boot(service, state, host="public") == 0
    given = service.nonces_given
    assert main(["status", "--state", str(state)]) == 0
    assert service.nonces_given == given + 1
    assert len(service.issued) == 1


@pytest.mark.parametrize(("action", "code"), CODES)
def test_each_action_has_its_exit_code(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], action: str, code: int
) -> None:
    """On every command a refusal is one line of JSON on stderr, stdout is empty, and the exit code is the
    action's.
    """
    refusals = [problem(action, "some-code", 403, **NOW)] * 9
    service.say(ENROLL, *refusals)
    assert boot(service, state) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    line = json.loads(printed.err)
    assert (line["action"], line["code"], line["detail"]) == (action, "some-code", "Some detail")
    service.forget()
    assert boot(service, state) == 0
    service.say(DEVICE, *refusals)
    service.say(CREDENTIALS, *refusals)
    assert main(["status", "--state", str(state)]) == code
    service.say(ENROLL, *refusals)
    assert main(["renew", "--state", str(state)]) == code
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == code


@pytest.mark.parametrize(
    ("status", "code"), [(403, 12), (404, 12), (400, 12), (429, 10), (500, 10), (503, 10)]
)
def test_the_credential_provider_s_errors_are_understood(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    """Errors in AWS IoT's format, which name no action, get the exit code of their status."""
    assert boot(service, state) == 0
    capsys.readouterr()
    headers = {"x-amzn-ErrorType": "SomeException", "Retry-After": "0"}
    service.say(CREDENTIALS, *[Reply(status, {"message": "Access Denied"}, headers)] * 3)
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == code
    line = json.loads(capsys.readouterr().err)
    assert (line["code"], line["detail"]) == ("SomeException", "Access Denied")


@pytest.mark.parametrize(("action", "code"), [*CODES, (None, 11)])
def test_denied_credentials_are_explained_by_the_record(
    service: Service, state: Path, action: str | None, code: int
) -> None:
    """After `Access Denied` the exit code is that of the record's refusal, or `wait` if it has none."""
    assert boot(service, state) == 0
    headers = {"x-amzn-ErrorType": "AccessDeniedException"}
    service.say(CREDENTIALS, *[Reply(403, {"message": "Access Denied"}, headers)] * 3)
    if action:
        service.say(DEVICE, *[problem(action, "some-code", 403, **NOW)] * 3)
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == code


@pytest.mark.parametrize("missing", ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"])
def test_incomplete_credentials_are_no_credentials(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    """Credentials that lack a member are not printed. An SDK would keep one without expiration forever."""
    assert boot(service, state) == 0
    capsys.readouterr()
    names = {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"} - {missing}
    service.say(CREDENTIALS, Reply(200, {"credentials": dict.fromkeys(names, "x")}), *[problem("stop")] * 2)
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 12
    assert capsys.readouterr().out == ""


def test_without_an_identity_there_is_nothing_to_log_in_with(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an identity every command but boot ends with 13 and makes no directory."""
    assert main(["status", "--state", str(state)]) == 13
    assert main(["renew", "--state", str(state)]) == 13
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 13
    assert not state.exists()
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_status_finishes_what_a_crash_left(service: Service, state: Path) -> None:
    """The command status completes a promotion that a crash interrupted."""
    assert boot(service, state) == 0
    (state / "certificate.pem").rename(state / "next.chain")
    assert main(["status", "--state", str(state)]) == 0
    assert (state / "certificate.pem").exists()


def test_a_file_that_can_t_be_read_is_wrong_usage(
    service: Service, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing or damaged file gives exit code 2 and a message with its name, and no request is sent."""
    assert boot(service, state, "--bootstrap-cert", str(tmp_path / "none.crt")) == 2
    assert str(tmp_path / "none.crt") in capsys.readouterr().err
    key = service.bootstrap().key.read_bytes()
    for name, content in (("none.pem", None), ("empty.pem", b""), ("garbage.pem", b"\xff"), ("key.pem", key)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert boot(service, state, "--ca", str(tmp_path / name)) == 2
        assert str(tmp_path / name) in capsys.readouterr().err
    assert boot(service, state, "--mtls", "https://localhost:99999") == 2
    assert service.requests == []


@pytest.mark.parametrize("host", ["mtls", "public"])
def test_a_wrong_ca_ends_the_run_at_once(
    service: Service, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    """A server that --ca does not cover ends boot with exit code 12 and the reason, after one attempt."""
    other = tmp_path / "other.pem"
    other.write_text(factories.pem(factories.authority("Other").certificate))
    with mock.patch("time.sleep", side_effect=AssertionError):
        assert boot(service, state, "--ca", str(other), host=host) == 12
    assert json.loads(capsys.readouterr().err)["code"] == "server-untrusted"


def test_the_version_is_the_product_s(capsys: pytest.CaptureFixture[str]) -> None:
    """The option --version prints the version in pyproject.toml."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"firstboot-device {project['version']}\n"


def test_a_damaged_memory_of_the_service_is_renewed_by_boot(service: Service, state: Path) -> None:
    """If service.json is damaged, boot writes it again, and the other commands report it until then."""
    assert boot(service, state) == 0
    (state / "service.json").write_bytes(b"")
    assert main(["status", "--state", str(state)]) == 13
    (state / "service.json").write_bytes(b"{")
    assert main(["status", "--state", str(state)]) == 2
    assert boot(service, state) == 0
    assert main(["status", "--state", str(state)]) == 0


def test_a_role_alias_can_t_leave_its_place_in_the_path(service: Service, state: Path) -> None:
    """Characters that no role alias has are escaped in the URL."""
    assert boot(service, state) == 0
    service.say("GET /role-aliases/..%2F%3Fa%23=,@-/credentials", problem("stop", "said"))
    assert main(["credentials", "--state", str(state), "--role-alias", "../?a#=,@-"]) == 12


def test_nothing_secret_is_printed(service: Service, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No key and no presigned URL is printed, in success or failure."""
    service.say("GET /chain/0", *[Reply(403, b"<Error>Signature</Error>")] * 2)
    service.say(ENROLL, *[])
    service.say(COMMIT, problem("retry", **NOW))
    boot(service, state)
    printed = capsys.readouterr()
    assert "PRIVATE" not in printed.out + printed.err
    assert "/chain/" not in printed.out + printed.err


def test_a_service_can_t_forge_a_log_line(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line ends and terminal escapes in the service's text are escaped in the output."""
    service.say(ENROLL, problem("stop", detail="a\nb\x1b[2J"))
    assert boot(service, state) == 12
    assert capsys.readouterr().err.count("\n") == 1
