"""Test which servers the device trusts, which certificate it shows, and how much it reads."""

from __future__ import annotations

import gc
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from device.refusal import Action, CertificateRefused, Refused
from device.store import Identity
from device.transport import Answer, Transport
from tests import factories
from tests.device.server import running
from tests.device.service import DEVICE, Reply, Service


def get(service: Service, identity: Identity | None = None, url: str = "", ca: Path | None = None) -> Answer:
    """Send a GET of the record, or of `url`, and read at most 10 bytes."""
    transport = Transport((ca or service.ca).read_text())
    return transport.send("GET", url or f"{service.url}/v1/device", limit=10, identity=identity)


def refused(
    service: Service, identity: Identity | None = None, url: str = "", ca: Path | None = None
) -> Refused:
    """Return the refusal that `get` ends with."""
    with pytest.raises(Refused) as caught:
        get(service, identity, url, ca)
    return caught.value


def test_an_answer_comes_whole(service: Service) -> None:
    """An answer has its status, headers and body up to the limit; the body is not in its repr."""
    service.say(DEVICE, Reply(404, b"0123456789", {"X-Some": "header"}))
    answer = get(service)
    assert (answer.status, answer.headers["x-some"], answer.body) == (404, "header", b"0123456789")
    assert repr(answer) == "Answer(404)"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"0123456789a"),
        Reply(200, b"01234", {"Content-Length": "9"}),
        Reply(200, b"", {"A": "b" * 70_000}),
    ],
    ids=["too long", "cut short", "endless header"],
)
def test_a_body_is_bounded_and_whole(service: Service, reply: Reply) -> None:
    """An answer that is too long or cut short counts as none, and the connection is closed."""
    service.say(DEVICE, reply)
    assert refused(service).action is Action.RETRY
    gc.collect()  # a socket left open would be reported now, as an error


def test_redirects_are_not_followed(service: Service) -> None:
    """A redirect is an answer and leads to no other request."""
    service.say(DEVICE, Reply(307, b"", {"Location": f"{service.url}/elsewhere"}))
    assert get(service).status == 307
    assert service.requests == [DEVICE]


@pytest.mark.parametrize("url", ["http://localhost/chain", "file:///etc/passwd", "https:///chain", ""])
def test_only_https_is_spoken(service: Service, url: str) -> None:
    """A URL with another scheme is refused before anything is sent."""
    with pytest.raises(Refused, match="https") as caught:
        Transport(None).send("GET", url, limit=10)
    assert caught.value.action is Action.STOP


def test_a_server_under_another_root_is_sent_nothing(service: Service, tmp_path: Path) -> None:
    """A server that --ca does not cover is refused for good, with the reason and the option."""
    other = tmp_path / "other.pem"
    other.write_text(factories.pem(factories.authority("Web").certificate))
    refusal = refused(service, ca=other)
    assert (refusal.action, refusal.code) == (Action.STOP, "server-untrusted")
    assert refusal.detail == (
        "The TLS certificate of localhost is not trusted (unable to get local issuer certificate): "
        "--ca must name the CA that issued the server's certificate"
    )
    assert service.requests == []


@pytest.mark.parametrize(
    ("days", "reason"), [(9, "certificate is not yet valid"), (-9, "certificate has expired")]
)
def test_a_server_outside_its_dates_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, reason: str
) -> None:
    """A server certificate outside its dates is a passing fault, because the device's clock can be set."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    service = Service(tmp_path)
    service.web_options = {"not_before": datetime.now(UTC) + timedelta(days=days), "days": 1}
    with running(tmp_path, service):
        refusal = refused(service)
    assert (refusal.action, refusal.code) == (Action.RETRY, "server-untrusted")
    assert f"({reason}): check this device's clock" in refusal.detail


def test_without_a_root_of_ours_the_system_s_count(service: Service) -> None:
    """Without --ca the device trusts the system's roots only."""
    with pytest.raises(Refused, match="is not trusted"):
        Transport(None).send("GET", service.url, limit=10)
    assert service.requests == []


def test_a_server_of_another_name_is_sent_nothing(service: Service) -> None:
    """A server certificate for another host name is refused for good."""
    refusal = refused(service, url=service.url.replace("localhost", "127.0.0.1"))
    assert (refusal.action, refusal.code) == (Action.STOP, "server-untrusted")
    assert service.requests == []


def test_a_server_that_does_not_answer_is_a_passing_fault(service: Service) -> None:
    """A closed port and an unknown host are passing faults."""
    for url in ("https://localhost:1/", "https://nowhere.invalid/"):
        assert refused(service, url=url).action is Action.RETRY


def rogue(service: Service) -> Identity:
    """Return an identity of a CA that the service does not know."""
    key = factories.ec_key()
    return service.save("rogue", factories.authority("Rogue").issue("dev1", key), key)


def old(service: Service) -> Identity:
    """Return a bootstrap identity that has expired."""
    return service.bootstrap("old", not_before=datetime.now(UTC) - timedelta(days=9), days=1)


@pytest.mark.parametrize("identity", [rogue, old], ids=["rogue", "expired"])
@pytest.mark.parametrize("body", [None, b"x" * 100_000], ids=["no body", "long body"])
def test_a_certificate_refused_in_the_handshake_is_told_from_a_fault(
    service: Service, identity: object, body: bytes | None
) -> None:
    """A TLS alert about the client certificate is reported as such. In TLS 1.3 it arrives after the request
    was sent.
    """
    assert callable(identity)
    with pytest.raises(CertificateRefused):
        Transport(service.ca.read_text()).send(
            "POST", service.url, limit=10, identity=identity(service), body=body
        )
    assert service.requests == []


def test_an_encrypted_key_stops_without_a_question(service: Service) -> None:
    """An encrypted key stops the device; the terminal is not asked for a password."""
    bootstrap = service.bootstrap()
    encryption = BestAvailableEncryption(b"secret")
    bootstrap.key.write_bytes(factories.ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    assert refused(service, bootstrap).action is Action.STOP


def test_a_key_of_another_certificate_stops(service: Service) -> None:
    """A key that does not belong to the certificate stops the device."""
    mixed = Identity(service.bootstrap("dev1").certificate, service.bootstrap("dev2").key)
    assert refused(service, mixed).action is Action.STOP
