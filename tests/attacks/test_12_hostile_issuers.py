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

from tests.aws import test_assign
from tests.aws.test_assign import REFUSED, Broker
from tests.issuers import HOSTILE, Issuer, Web, serving

broker = test_assign.broker


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
        _name(broker, web.url)
        yield web


def _name(broker: Broker, jwks: str) -> None:
    """Publish a fleet in which the attacker's issuer has its keys at this URL."""
    entry = Issuer("https://attacker.example", jwks).entry(name="attacker")
    broker.publish(issuers={"acme": broker.issuer.entry(), "attacker": entry})


def _attack(broker: Broker) -> None:
    """Ask with a token of the attacker's issuer, which is refused."""
    token = Issuer("https://attacker.example").token(now=datetime.now(UTC))
    assert broker.ask(token) == REFUSED


def _check(broker: Broker) -> None:
    """Check that the attacker costs one fetch, whose thread ends, and that the other devices connect."""
    begun = time.monotonic()
    _attack(broker)
    assert time.monotonic() - begun < 10
    assert broker.ask(broker.token())["isAuthenticated"]
    _attack(broker)  # within the pause between two fetches
    assert broker.logs.getvalue().count('"keys not fetched"') <= 1
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _fetching():
        time.sleep(0.01)
    assert _fetching() == []


def _fetching() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("jwks")]


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
    """A key set with a huge private key is read at once, because a private key is never computed with."""
    attacker.body = json.dumps({"keys": [_PRIVATE]}).encode()
    _check(broker)
