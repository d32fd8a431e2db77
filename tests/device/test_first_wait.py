"""Test the first wait, which spreads the enrollments of devices that get power together."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from device import __main__ as program
from tests.device.service import COMMIT, Service, problem
from tests.device.test_cli import boot

LONGEST = 4_000


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the first waits, which take no time and are three quarters of the longest one."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(program, "jitter", lambda: 0.75)
    return pauses


def test_an_enrollment_waits_first(
    service: Service, state: Path, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """A boot without an identity waits for a random part of the factory's setting, and says so."""
    assert boot(service, state, "--first-wait", str(LONGEST)) == 0
    assert pauses == [3_000]
    assert "The first request is in 3000 s" in capsys.readouterr().err


def test_the_environment_has_the_setting(
    service: Service, state: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variable that firstboot.sh reads sets the wait too, and the option is stronger."""
    monkeypatch.setenv("FIRSTBOOT_FIRST_WAIT", str(LONGEST))
    assert boot(service, state) == 0
    assert boot(service, state.with_name("another"), "--first-wait", "0") == 0
    assert pauses == [3_000]


def test_a_power_cut_in_the_wait_spreads_again(
    service: Service, state: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that loses power in its first wait sends nothing, and draws again when it gets power."""

    def cut(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", cut)
        with pytest.raises(KeyboardInterrupt):
            boot(service, state, "--first-wait", str(LONGEST))
    assert service.requests == []
    assert boot(service, state, "--first-wait", str(LONGEST)) == 0
    assert pauses == [3_000]


def test_an_identity_logs_in_at_once(service: Service, state: Path, pauses: list[float]) -> None:
    """A boot that finds a certificate, committed or not, does not wait."""
    service.say(COMMIT, problem("stop"))
    assert boot(service, state, "--first-wait", str(LONGEST)) == 12
    pauses.clear()
    assert boot(service, state, "--first-wait", str(LONGEST)) == 0
    assert boot(service, state, "--first-wait", str(LONGEST)) == 0
    assert pauses == []


@pytest.mark.parametrize("text", ["soon", "-1", "1e3"])
def test_a_wrong_wait_is_wrong_usage(
    service: Service, state: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A first wait that is no number ends boot with 2 before any request."""
    with pytest.raises(SystemExit) as ended:
        boot(service, state, f"--first-wait={text}")
    monkeypatch.setenv("FIRSTBOOT_FIRST_WAIT", text)
    assert (ended.value.code, boot(service, state)) == (2, 2)
    assert service.requests == []
