"""The walk's steps of unusual certificates measure what AWS refuses, and fail if Firstboot refuses it.

AWS IoT's broker and the service are fakes. tests/verify has the walk against the emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from device import form
from device.refusal import Action, CertificateRefused, Refused
from device.store import FileIdentity, Identity
from firstboot.pki.profile import Issuer
from firstboot.policy.service import ServicePolicy
from tests import factories
from verify import mqtt
from verify.broker import ACCEPTED, CLOSED, Login
from verify.mqtt import Narration
from verify.step import Failed, Measurement
from verify.steps import forms, naming

CA = {
    "EC": factories.authority("factory"),
    "RSA": factories.authority("factory", key=factories.rsa_key()),
}
GROUP = SimpleNamespace(
    name="gateways", device_id="subject.CN", strip_prefix="", strip_suffix="", pattern=None
)
FORMS = ["X.509 v1", "GeneralizedTime before 2050", "NULL as ECDSA's parameters"]
NAME, OTHER = "gw-1", "gw-2"


@dataclass
class Service:
    """A service that keeps the certificates that it was asked with, and answers each with `answer`."""

    answer: Callable[[], None]
    seen: list[bytes]

    def enroll(self, bootstrap: Identity, _csr: str, _device_id: str | None) -> None:
        """Answer."""
        self.seen.append(bootstrap.certificate.read_bytes())
        self.answer()

    def boot(self) -> None:
        """Answer."""
        self.answer()


def raising(refusal: Refused) -> Callable[[], None]:
    """Return an answer that is a refusal."""

    def answer() -> None:
        raise refusal

    return answer


def accepting() -> None:
    """Accept the certificate."""


class World:
    """A bench with a factory, a service and a broker."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "EC") -> None:
        self.folder, self.authority = folder, CA[kind]
        self.service = Service(accepting, [])
        self.outcomes: Callable[[Login], str] = lambda _: CLOSED
        key: Any = self.authority.key
        names = iter((NAME, OTHER, "gw-3"))
        self.bench: Any = SimpleNamespace(
            name=lambda: next(names),
            group=GROUP,
            group_with=lambda *_: GROUP,
            factories={"gateways": Issuer(self.authority.certificate, key)},
            bootstrap=self._bootstrap,
            service=lambda *_, **__: self.service,
            client=lambda _: None,
            at_end=[],
        )
        monkeypatch.setattr(mqtt, "broker", lambda _: SimpleNamespace(outcome=self.outcomes))
        monkeypatch.setattr(mqtt, "unit", self._unit)

    def _bootstrap(self, name: str, *_: object, **__: object) -> Identity:
        key = factories.ec_key()
        files = FileIdentity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.certificate.write_text(factories.pem(self.authority.issue(name, key)))
        files.key.write_text(factories.key_pem(key))
        return files

    def _unit(self, _bench: object, _name: str, _bootstrap: object, said: Narration, *_: object) -> Service:
        for line in ("Connecting to it", "Waiting for the certificate"):
            said(line)
        return self.service

    def takes(self, step: Callable[[Any], Iterator[Measurement]]) -> dict[str, str | float]:
        """Take a step and return what it measures."""
        return {each.what: each.value for each in step(self.bench)}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bench with a factory whose key is an EC key."""
    return World(tmp_path, monkeypatch)


def test_each_form_is_sent_to_api_gateway(world: World) -> None:
    """The certificates that are sent have the forms that the measurements name."""
    assert world.takes(forms.at_api_gateway) == dict.fromkeys(FORMS, "accepted")
    versions = [form.chain(pem)[0].der for pem in world.service.seen]
    assert x509.load_der_x509_certificate(versions[0]).version is x509.Version.v1
    assert len(set(versions)) == 3


def test_a_factory_with_an_rsa_key_has_no_ecdsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of ECDSA is left out for a factory that signs with RSA."""
    world = World(tmp_path, monkeypatch, "RSA")
    assert isinstance(world.authority.key, rsa.RSAPrivateKey)
    assert list(world.takes(forms.at_api_gateway)) == FORMS[:2]


def test_a_refusal_of_api_gateway_is_a_measurement(world: World) -> None:
    """A refusal in the handshake, or by API Gateway itself, does not fail the step."""
    world.service.answer = raising(CertificateRefused("the gateway refused"))
    found = world.takes(forms.at_api_gateway)
    assert set(found.values()) == {"refused before Firstboot: the gateway refused"}


def test_a_handshake_that_fails_is_a_measurement(world: World) -> None:
    """A handshake that fails without a word about the certificate does not fail the step."""
    world.service.answer = raising(Refused(Action.RETRY, "No answer: UNEXPECTED_EOF"))
    assert set(world.takes(forms.at_api_gateway).values()) == {"no answer: No answer: UNEXPECTED_EOF"}


def test_a_refusal_of_firstboot_is_a_failure(world: World) -> None:
    """The step fails if a form passes API Gateway and Firstboot refuses it."""
    world.service.answer = raising(Refused(Action.STOP, "no", code="certificate-malformed"))
    with pytest.raises(Failed, match="certificate-malformed"):
        world.takes(forms.at_api_gateway)


def test_a_refusal_in_aws_iot_s_handshake_is_a_measurement(world: World) -> None:
    """A form that AWS IoT refuses in the handshake is not tried further."""
    world.outcomes = lambda _: "TLS: SSLV3_ALERT_BAD_CERTIFICATE"
    found = world.takes(forms.at_aws_iot)
    assert list(found) == FORMS
    assert set(found.values()) == {"refused in the handshake: TLS: SSLV3_ALERT_BAD_CERTIFICATE"}


def test_a_form_that_aws_iot_never_lets_in_is_a_measurement(world: World) -> None:
    """A form that passes the handshake and is never let in is named, and its certificate removed later."""
    world.service.answer = raising(Refused(Action.RETRY, "No connection"))
    found = world.takes(forms.at_aws_iot)
    assert [found[each] for each in FORMS] == ["not let in: No connection"] * 3
    assert len(world.bench.at_end) == 3


def variable(world: World) -> dict[str, str | float]:
    """Take the step of the variable for serial numbers."""
    return world.takes(
        lambda bench: naming.variable(ServicePolicy.BOOTSTRAP_SERIAL_NUMBER, "subject.serialNumber", bench)
    )


def test_a_connection_under_the_common_name_is_a_failure(world: World) -> None:
    """The step fails if the common name, which names another device here, lets the client in."""
    world.outcomes = lambda login: ACCEPTED if login.client_id == OTHER else CLOSED
    with pytest.raises(Failed, match="another device"):
        variable(world)


def test_a_variable_that_aws_iot_puts_in_is_measured(world: World) -> None:
    """The step counts the connections until the client was let in by the variable."""
    found = variable(world)
    assert found["connections until the bootstrap certificate was let in"] == 1
    assert found["the broker's answer to another device's client id"] == CLOSED
