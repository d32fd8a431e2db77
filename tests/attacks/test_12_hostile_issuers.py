"""Stop the devices of all token issuers.

An attacker controls the server of one token issuer of the fleet. Each token that names this issuer makes the
authorizer fetch keys from the attacker's server, which answers slowly, endlessly, not at all, or with keys
that take long to read. The devices of another issuer must connect all the same. The servers are real, over
TLS.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firstboot.runtime import issuer_keys
from tests.aws import test_assign
from tests.aws.test_assign import REFUSED, Broker
from tests.issuers import HOSTILE, Issuer, Web, serving

broker = test_assign.broker

_SECONDS = 0.6
"""The time for a fetch in these tests, which is shorter than the product's."""


def _number(bits: int) -> str:
    number = secrets.randbits(bits) | 1 | 1 << (bits - 1)
    return base64.urlsafe_b64encode(number.to_bytes(bits // 8)).decode().rstrip("=")


# From `d` the factors of `n` can be computed, which takes minutes for a number of this size.
_PRIVATE = {"kid": "rsa", "kty": "RSA", "n": _number(100_000), "e": "AQAB", "d": _number(100_000)}


@pytest.fixture
def attacker(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Yield the attacker's server. The fleet has its issuer beside the one of `broker`."""
    (tmp_path / "attacker").mkdir()
    with serving(tmp_path / "attacker", b"") as web:
        roots = tmp_path / "roots.pem"
        roots.write_text(broker.web.ca.read_text() + web.ca.read_text())
        monkeypatch.setenv("SSL_CERT_FILE", str(roots))
        monkeypatch.setattr(issuer_keys, "_SECONDS", _SECONDS)
        _name(broker, web.url)
        yield web


def _name(broker: Broker, jwks: str) -> None:
    """Publish a fleet in which the attacker's issuer has its keys at this URL."""
    entry = Issuer("https://attacker.example", jwks).entry(name="attacker")
    broker.publish(issuers={"acme": broker.issuer.entry(), "attacker": entry})


def _attack(broker: Broker) -> float:
    """Ask with a token of the attacker's issuer, and return the seconds that it took to refuse it."""
    token = Issuer("https://attacker.example").token(now=datetime.now(UTC))
    begun = time.monotonic()
    assert broker.ask(token) == REFUSED
    return time.monotonic() - begun


def _check(broker: Broker, most: float = 2 * _SECONDS) -> None:
    """Check that the attacker costs one fetch's time, and that the other issuer's devices connect at once."""
    assert _attack(broker) < most
    begun = time.monotonic()
    assert broker.ask(broker.token())["isAuthenticated"]
    assert time.monotonic() - begun < _SECONDS
    # Within the pause between two fetches the attacker costs nothing.
    assert _attack(broker) < _SECONDS / 2
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(each.name.startswith("jwks") for each in threading.enumerate()):
        time.sleep(0.01)
    assert not [each.name for each in threading.enumerate() if each.name.startswith("jwks")]


@pytest.mark.parametrize("answer", HOSTILE)
def test_a_hostile_answer_stops_no_other_issuer(broker: Broker, attacker: Web, answer: str) -> None:
    """While one issuer's server answers without an end, the devices of the other issuer connect."""
    attacker.hostile = HOSTILE[answer]
    _check(broker)


def test_a_silent_server_stops_no_other_issuer(broker: Broker, attacker: Web) -> None:
    """While one issuer's server takes connections and says nothing, the devices of the other connect."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        _name(broker, f"https://localhost:{silent.getsockname()[1]}/jwks")
        _check(broker)


def test_keys_that_take_long_to_read_stop_no_other_issuer(broker: Broker, attacker: Web) -> None:
    """A key set with a huge private key is read at once, because private keys are never used."""
    attacker.body = json.dumps({"keys": [_PRIVATE]}).encode()
    _check(broker)
