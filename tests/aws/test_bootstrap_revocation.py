"""A revoked bootstrap certificate enrolls no device, over any transport and in any of its forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from console import output
from firstboot.domain import topics
from tests import factories
from tests.aws.invoked import Run
from tests.aws.mqtt import Client
from tests.aws.product import Product
from tests.field.encode import own
from tests.fleets import group


def revoke(product: Product, leaf: x509.Certificate) -> dict[str, Any]:
    """Revoke a bootstrap certificate, and return the outcome of each form in AWS IoT."""
    result = product.operate("factory.revoke", certificate=factories.pem(leaf))["result"]
    assert result["identifier"] == own(leaf).identifier
    outcomes: dict[str, Any] = result["awsIot"]
    return outcomes


def register(leaf: x509.Certificate) -> str:
    """Register a certificate in AWS IoT, and return its id."""
    iot = boto3.client("iot")
    made = iot.register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
    return str(made["certificateId"])


def status(certificate_id: str) -> str:
    """Return a certificate's status in AWS IoT."""
    known = boto3.client("iot").describe_certificate(certificateId=certificate_id)
    return str(known["certificateDescription"]["status"])


def over_tls(product: Product, leaf: x509.Certificate, key: factories.PrivateKey) -> dict[str, Any]:
    """Enroll by the TLS client's certificate."""
    return product.enroll(leaf, key).body


def by_proof(product: Product, leaf: x509.Certificate, key: factories.PrivateKey) -> dict[str, Any]:
    """Enroll by a signed proof."""
    body = json.dumps({"csr": factories.pem(factories.csr(key))})
    return product.prove("POST", "/v1/certificates", key, leaf, body).body


def over_mqtt(product: Product, leaf: x509.Certificate, key: factories.PrivateKey) -> dict[str, Any]:
    """Enroll by a request of an MQTT client."""
    client = Client(product, "gw-1", leaf, key)
    request = {"csr": client.csr(), "bootstrap": factories.pem(leaf)}
    ((_, answer),) = client.send(topics.CERTIFICATES, request)
    return answer


WAYS = [over_tls, by_proof, over_mqtt]
Way = Callable[[Product, x509.Certificate, factories.PrivateKey], dict[str, Any]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("enrolled", [False, True], ids=["first", "repeat"])
def test_no_form_of_a_revoked_certificate_enrolls(product: Product, way: Way, *, enrolled: bool) -> None:
    """The certificate and its twin are refused over each transport, also when they repeat an enrollment."""
    key = factories.ec_key()
    leaf = product.factory.issue("gw-1", key)
    if enrolled:
        assert "certificateId" in way(product, leaf, key)
        assert "certificateId" in way(product, factories.twin(leaf), key)
    revoke(product, leaf)
    for form in (leaf, factories.twin(leaf)):
        refused = way(product, form, key)
        assert (refused["status"], refused["code"], refused["action"]) == (403, "bootstrap-revoked", "stop")
    assert len(product.objects()) == enrolled


def test_revoking_the_twin_revokes_the_certificate(product: Product) -> None:
    """An operator may have either form at hand."""
    leaf = product.bootstrap("gw-1")
    revoke(product, factories.twin(leaf))
    assert product.enroll(leaf).body["code"] == "bootstrap-revoked"


def test_other_certificates_and_enrolled_devices_are_not_touched(product: Product) -> None:
    """A device that the certificate enrolled renews, and another certificate of its factory enrolls."""
    leaf = product.bootstrap("gw-1")
    identity = product.certificate(product.enroll(leaf))
    revoke(product, leaf)
    assert product.call("POST", "/v1/certificates/commit", identity, "{}").status == 200
    assert product.enroll(identity).status == 201
    assert product.enroll(product.bootstrap("gw-2")).status == 201


def test_the_row_has_no_certificate(product: Product) -> None:
    """The row has the identifier and the first time, and nothing that a device sent."""
    leaf = product.bootstrap("gw-1")
    revoke(product, leaf)
    (first,) = product.rows()
    revoke(product, leaf)
    assert product.rows() == [first]
    assert set(first) == {"pk", "revokedAt"}
    assert first["pk"] == {"S": f"BOOTSTRAP#{own(leaf).identifier}"}


def test_known_forms_are_revoked_in_aws_iot(product: Product) -> None:
    """Each registered form becomes REVOKED, the others are named, and a repeat says the same."""
    leaf = product.bootstrap("gw-1")
    twin = factories.twin(leaf)
    known, other = register(twin), own(leaf).fingerprint
    bystander = register(product.bootstrap("gw-2"))
    for _ in range(2):
        assert revoke(product, leaf) == {known: "revoked", other: "not-registered"}
        assert (status(known), status(bystander)) == ("REVOKED", "ACTIVE")
    second = register(leaf)
    assert revoke(product, leaf) == {known: "revoked", second: "revoked"}
    assert status(second) == "REVOKED"


def test_a_claim_certificate_is_revoked_for_all_its_devices(product: Product) -> None:
    """A shared certificate enrolls no expected device any more."""
    claim = product.factory.issue("batch", factories.ec_key())
    shared = group("gateways", product.factory, device_id="request.deviceId", reenroll="refuse")
    product.publish(groups={"gateways": shared})
    product.operate("groups.expect", group="gateways", devices={"gw-1": {}, "gw-2": {}})
    assert product.enroll(claim, deviceId="gw-1").status == 201
    revoke(product, claim)
    assert product.enroll(factories.twin(claim), deviceId="gw-2").body["code"] == "bootstrap-revoked"


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        (factories.pem(factories.authority().certificate), "certificate-usage-wrong"),
        ("no certificate", "certificate-malformed"),
        (1, "malformed-request"),
    ],
    ids=["ca", "text", "number"],
)
def test_what_is_no_bootstrap_certificate_is_refused(product: Product, certificate: Any, code: str) -> None:
    """A CA's certificate and what is no certificate are refused, and nothing is written."""
    assert product.operate("factory.revoke", certificate=certificate)["problem"]["code"] == code
    assert product.rows() == []


def failing(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """Make AWS throttle every call of one operation."""
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, name: str, parameters: dict[str, Any]) -> Any:
        if name == operation:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, name)
        return make(client, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


@pytest.mark.parametrize("operation", ["DescribeCertificate", "UpdateCertificate"])
def test_what_aws_iot_did_not_do_is_said(
    product: Product, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """After a failure of AWS IoT the certificate enrolls no device, and the answer says what is left."""
    leaf = product.bootstrap("gw-1")
    known = register(leaf)
    with monkeypatch.context() as patch:
        failing(patch, operation)
        assert revoke(product, leaf)[known] == "unavailable"
    assert product.enroll(leaf).body["code"] == "bootstrap-revoked"
    assert status(known) == "ACTIVE"
    assert revoke(product, leaf)[known] == "revoked"


def test_a_failed_write_revokes_nothing(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the row can't be written, the call fails and AWS IoT is not changed."""
    leaf = product.bootstrap("gw-1")
    known = register(leaf)
    with monkeypatch.context() as patch:
        failing(patch, "UpdateItem")
        answer = product.operate("factory.revoke", certificate=factories.pem(leaf))
    assert answer["problem"]["status"] == 503
    assert status(known) == "ACTIVE"


def test_the_console_revokes(product: Product, run: Run, tmp_path: Path) -> None:
    """`factory revoke` takes a PEM file with text around it, and says what became of each form."""
    leaf = product.bootstrap("gw-1")
    known = register(leaf)
    file = tmp_path / "bootstrap.pem"
    file.write_bytes(b"d\xfcsseldorf\n" + factories.pem(leaf).encode())
    done = run("factory", "revoke", str(file), "--yes")
    assert done.exit_code == 0, done.stderr
    assert f"AWS IoT, {known}: revoked" in done.stdout
    assert product.enroll(leaf).body["code"] == "bootstrap-revoked"
    again = json.loads(run("factory", "revoke", str(file), "--json").stdout)
    assert again["awsIot"][known] == "revoked"


def test_the_console_says_what_is_left(
    product: Product, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If AWS IoT does not answer, the exit code is that of an unreachable service."""
    file = tmp_path / "bootstrap.pem"
    file.write_text(factories.pem(product.bootstrap("gw-1")))
    failing(monkeypatch, "DescribeCertificate")
    done = run("factory", "revoke", str(file))
    assert done.exit_code == output.UNREACHABLE
    assert "repeat the command" in done.stderr


def test_the_console_wants_a_certificate(run: Run, tmp_path: Path) -> None:
    """A file without a certificate is wrong usage."""
    file = tmp_path / "x.pem"
    file.write_text("x")
    assert run("factory", "revoke", str(file)).exit_code == 2


def test_a_revocation_is_audited(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """The audit trail names the certificate by its identifier."""
    leaf = product.bootstrap("gw-1")
    revoke(product, leaf)
    assert '"BootstrapRevoked":[1.0]' in capsys.readouterr().out
