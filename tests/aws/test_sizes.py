"""The sizes in docs/devices.md are measured, because firmware engineers choose their buffers by them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.clock import EPOCH
from firstboot.domain.session import Credentials
from firstboot.vend import credential_provider
from tests import factories, proofs
from tests.aws import conftest
from tests.aws import product as world
from tests.aws.product import Answer, Product
from tests.unit.fleet_folders import TOML, fleet

DOCUMENT = (Path(__file__).parents[2] / "docs/devices.md").read_text()
SLACK = 40
"""How far a size may be above the measured one, because signatures and serials vary by a few bytes."""

# Names with the length that they have in a deployment.
REGION: Final = "eu-central-1"
BUCKET = "firstboot-storagestore4c9e7a21-k3v9x0q2m5td"
HOST = f"a1b2c3d4e5.execute-api.{REGION}.amazonaws.com"
MQTT_HOST = f"a1b2c3d4e5f6g7-ats.iot.{REGION}.amazonaws.com"
DEVICE = "gateways-000001"
# The length is that of AWS's session tokens. Of the bytes only the share of + and / counts, in a URL.
TOKEN = base64.b64encode(bytes(n * n % 251 for n in range(750))).decode()

PATH = "/v1/certificates"
COLUMNS: tuple[Callable[[], factories.PrivateKey], ...] = (factories.ec_key, factories.rsa_key)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every name in an answer the length that it has in a deployment."""
    monkeypatch.setattr(conftest, "REGION", REGION)
    monkeypatch.setattr(world, "HOST", HOST)


@pytest.fixture
def bucket(aws: None, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the bucket for certificates, with temporary credentials for presigned URLs, as in Lambda."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return BUCKET


@pytest.mark.parametrize("column", range(len(COLUMNS)), ids=["P-256", "RSA-2048"])
def test_the_budgets_hold(product: Product, monkeypatch: pytest.MonkeyPatch, column: int) -> None:
    """Each item is at most as large as docs/devices.md says, and not much smaller."""
    monkeypatch.setenv("FIRSTBOOT_MQTT_HOST", MQTT_HOST)
    product.lambdas.restart()
    measured = _measured(product, COLUMNS[column])
    stated = {name: sizes[column] for name, sizes in _stated().items()}
    assert stated.keys() == measured.keys()
    assert {name: (size, stated[name]) for name, size in measured.items() if size > stated[name]} == {}
    assert {
        name: (size, stated[name]) for name, size in measured.items() if size < stated[name] - SLACK
    } == {}


def _stated() -> dict[str, tuple[int, ...]]:
    rows = re.findall(r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \|", DOCUMENT, re.MULTILINE)
    return {name: tuple(int(size.replace(",", "")) for size in sizes) for name, *sizes in rows}


def _measured(product: Product, new_key: Callable[[], factories.PrivateKey]) -> dict[str, int]:
    factory_key, key = new_key(), new_key()
    line = product.factory.intermediate("Acme line 1")
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    csr_der = csr.public_bytes(Encoding.DER)
    body = _json({"csr": factories.base64_text(csr_der), "deliver": "inline"})
    bootstrap = product.factory.issue(DEVICE, factory_key)
    nonce = product.call("GET", "/v1/nonce")
    fresh = {"iat": None, "nonce": nonce.body["nonce"]}

    def proof(key: factories.PrivateKey, leaf: x509.Certificate, *above: x509.Certificate) -> int:
        return len(proofs.sign(key, leaf, "POST", f"https://{HOST}{PATH}", body, above=above, claims=fresh))

    by_url = product.prove("POST", PATH, factory_key, bootstrap, body.replace("inline", "url"), claims=fresh)
    inline = product.prove("POST", PATH, factory_key, bootstrap, body, claims=fresh)
    leaf = product.certificate(by_url)
    by_thumbprint = proofs.sign(
        key, leaf, "POST", f"https://{HOST}{PATH}", body, by_thumbprint=True, claims=fresh
    )
    return {
        "CSR, DER": len(csr_der),
        "CSR, base64 of the DER": len(factories.base64_text(csr_der)),
        "CSR, PEM": len(factories.pem(csr)),
        "body with the CSR in base64": len(body),
        "body with the CSR in PEM": len(_json({"csr": factories.pem(csr), "deliver": "inline"})),
        "proof, `x5c` with one certificate": proof(factory_key, bootstrap),
        "proof, `x5c` with two": proof(factory_key, line.issue(DEVICE, factory_key), line.certificate),
        "proof, `x5t#S256`": len(by_thumbprint),
        "nonce": _size(nonce),
        "201, `url`": _size(by_url),
        "the URL in it": len(by_url.body["certificateUrl"]),
        "the file behind the URL": len(factories.pem(leaf) + factories.pem(product.ca)),
        "201, `inline`": _size(inline),
        "`configuration` in either, at most": _longest_configuration(product, bootstrap, body),
        "commit": _size(product.prove("POST", f"{PATH}/commit", key, leaf, claims=fresh)),
        "record": _size(product.prove("GET", "/v1/device", key, leaf, claims=fresh)),
        "credentials": len(
            credential_provider.success(Credentials("A" * 20, "s" * 40, TOKEN, EPOCH)).body or ""
        ),
        "problem, `proof-stale`": _size(product.prove("GET", "/v1/device", key, leaf, claims={"iat": 0})),
        "private key, PKCS#8 DER": len(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())),
        "certificate, DER": len(leaf.public_bytes(Encoding.DER)),
        "issuing CA, DER": len(product.ca.public_bytes(Encoding.DER)),
    }


def _configure(product: Product) -> None:
    """Give the group the longest configuration that the compiler accepts."""
    longest = fleet(toml=TOML + "[groups.gateways.configuration]\na = '" + "x" * 1_016 + "'")
    with pytest.raises(FleetInvalid):
        fleet(toml=TOML + "[groups.gateways.configuration]\na = '" + "x" * 1_017 + "'")
    configuration = longest.groups["gateways"].configuration
    product.publish(
        groups={"gateways": replace(product.fleet.groups["gateways"], configuration=configuration)},
        colon_ids=True,
    )


def _longest_configuration(product: Product, bootstrap: x509.Certificate, body: str) -> int:
    _configure(product)
    bare = product.call("POST", PATH, bootstrap, body)
    return _size(product.call("POST", PATH, bootstrap, body[:-1] + ',"configuration":true}')) - _size(bare)


@pytest.mark.parametrize("deliver", ["inline", "url"])
@pytest.mark.parametrize("name", ["d" * 64, "d" + ":" * 63], ids=["letters", "colons"])
def test_the_longest_answer_fits(
    product: Product, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, deliver: str
) -> None:
    """An answer with the largest key, name, URL and configuration has at most 4,096 bytes."""
    monkeypatch.setenv("FIRSTBOOT_MQTT_HOST", MQTT_HOST)
    _configure(product)
    key = rsa.generate_private_key(65_537, 4_096)
    answer = product.enroll(product.bootstrap(name), key, deliver=deliver, configuration=True)
    # In the path of the URL a colon takes three characters.
    assert len(answer.body.get("certificateUrl", "")) <= 2_048
    short = 2_048 - len(answer.body.get("certificateUrl", " " * 2_048))
    assert _size(answer) + short <= 4_096


def _size(answer: Answer) -> int:
    assert answer.status in (200, 201, 401), answer.body
    return len(_json(answer.body))


def _json(members: dict[str, object]) -> str:
    return json.dumps(members, separators=(",", ":"))
