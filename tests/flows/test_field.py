"""Certificates and CSRs of the field on real sockets, over mTLS, by signed proof and over MQTT.

tests/field judges all of them without sockets. Here is one of each library, secure element and CA of a maker.
The local gateway and the emulator's broker read the certificates before Firstboot does (docs/emulator.md).
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from firstboot.domain import topics
from tests import factories, proofs
from tests.field import corpus, remade
from tests.flows.conftest import Cloud, until
from tests.flows.devices import Device, fresh_name, issued, printed
from tests.flows.mqtt import Identity, paho
from tests.flows.test_bad_input import ENROLL, ask
from tests.flows.test_jitr import outcome

CHAINS, CSRS = (
    {str(case): case for case in corpus.cases(kind) if case.folder == corpus.HERE}
    for kind in ("chain", "csr")
)

PAIRS = {
    "mbedtls-p256": "mbedtls-p256",
    "tpm2-openssl-ca": "tpm2-openssl-p256",
    "element-eui48-san": "wolfssl-challenge-password",
    "idevid-9999": "openssl-compressed-point",
    "jitp-v1-leaf": "openssl-rsa-pss",
    "openssl-usr-cert": "gnutls-p256",
    "printable-underscore": "keytool-p256",
    "teletex-latin-1": "forge-unsorted-attributes",
    "issuer-case-and-spaces": "pkijs-unsorted-attributes",
    "generalizedtime-not-after": "go-p256",
}
"""A chain of each kind, and beside it a CSR of each library."""


@dataclass(frozen=True)
class Sender:
    """A device with a bootstrap certificate of the field, and a CSR whose key no test has."""

    cloud: Cloud
    name: str
    files: tuple[Path, Path]
    leaf: str
    key: Any
    csr: str

    def over_mtls(self) -> dict[str, Any]:
        """Return the answer of the mTLS host."""
        answer = ask(self.cloud, self.files, "POST", ENROLL, json.dumps(self._members()).encode())
        assert answer.status == 201, answer.members
        return answer.members

    def by_proof(self) -> dict[str, Any]:
        """Return the answer of the public host."""
        url, body = self.cloud.endpoints["public"] + ENROLL, json.dumps(self._members())
        unused = self.cloud.factory.certificate
        proof = proofs.sign(self.key, unused, "POST", url, body, header={"x5c": [self.leaf]})
        headers = {"Authorization": f"Bearer {proof}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, body.encode(), headers)  # noqa: S310 - the local stack's
        context = ssl.create_default_context(cafile=self.cloud.endpoints["api_ca"])
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:  # noqa: S310
            members: dict[str, Any] = json.load(answer)
            return members

    def over_mqtt(self) -> dict[str, Any]:
        """Return the answer over MQTT, after AWS IoT has come to know the certificate (JITR)."""
        until(lambda: outcome(self.cloud, self.name, self.files) == "Success")
        who = Identity(self.cloud, *self.files, self.name)
        request = self._members() | {"bootstrap": self.files[0].read_text()}
        topic, members = paho(MQTTProtocolVersion.MQTTv311)(who, topics.CERTIFICATES, request)
        assert topic == topics.CERTIFICATES.accepted_topic(self.name), members
        return members

    def _members(self) -> dict[str, Any]:
        return {"csr": self.csr, "deliver": "inline"}


WAYS: list[Callable[[Sender], dict[str, Any]]] = [Sender.over_mtls, Sender.by_proof, Sender.over_mqtt]


@pytest.mark.parametrize("pair", PAIRS.items(), ids=PAIRS)
def test_one_certificate_over_each_transport(cloud: Cloud, tmp_path: Path, pair: tuple[str, str]) -> None:
    """A bootstrap certificate and a CSR of the field get the same certificate over each transport."""
    chain, csr = pair
    name, key = fresh_name(), factories.ec_key()
    made = remade.leaf(CHAINS[chain], name, key, cloud.factory)
    files = remade.save(tmp_path, made, key)
    text = factories.base64_text(CSRS[csr].read("der"))
    sender = Sender(cloud, name, files, factories.base64_text(made.der), key, text)
    answers = [way(sender) for way in WAYS]
    assert len({answer["certificateId"] for answer in answers}) == 1
    assert {answer["deviceId"] for answer in answers} == {name}
    assert len(issued(cloud, name)) == 1


@pytest.mark.parametrize("host", ["mtls", "public"])
@pytest.mark.parametrize("chain", PAIRS)
def test_first_boot_with_a_certificate_of_the_field(
    cloud: Cloud, tmp_path: Path, chain: str, host: str
) -> None:
    """The reference device boots with a bootstrap certificate of the field."""
    device = booting(cloud, tmp_path, chain, host)
    assert device.boot()["status"] == "active"
    assert device.status()["deviceId"] == device.name


def test_first_boot_over_mqtt(cloud: Cloud, tmp_path: Path) -> None:
    """The reference device boots over MQTT with a certificate that cryptography cannot read."""
    device = booting(cloud, tmp_path, "element-eui48-san", "mqtt")
    assert device.boot()["status"] == "active"
    assert printed(device.run(*device.credentials_arguments("telemetry")))["Version"] == 1


def booting(cloud: Cloud, folder: Path, chain: str, host: str) -> Device:
    """Return a device with a bootstrap certificate of the field."""
    device, key = Device(cloud, fresh_name(), folder, host), factories.ec_key()
    remade.save(folder, remade.leaf(CHAINS[chain], device.name, key, cloud.factory), key)
    return device
