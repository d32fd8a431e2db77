"""The world of the measured Lambdas: a CA, a factory, a fleet, requests of new devices, an environment."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.aws import ACCOUNT, REGION, TOKEN, Aws, Row
from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DEVICE_PREFIX
from firstboot.exchange.settings import ExchangeSettings
from firstboot.pki import profile
from firstboot.pki.profile import Issuer
from firstboot.vend.settings import VendSettings

ROOT = Path(__file__).parents[1]
HOST = "devices.example.com"
TABLE, BUCKET, KEY = "records", "device-certificates", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/6f5e"
_DAYS = timedelta(days=30)

Event = dict[str, Any]
Key = ec.EllipticCurvePrivateKey


@dataclass
class World:
    """A CA, the factory of the group `gateways`, the example fleet with that factory, and AWS.

    `folder` is for files.
    """

    folder: Path
    ca: Issuer = field(default_factory=lambda: authority("Firstboot issuing CA"))
    factory: Issuer = field(default_factory=lambda: authority("Acme Factory CA"))
    devices: int = 0

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "fleet", self.folder / "fleet")
        (self.folder / "fleet/trust/acme-factory.pem").write_bytes(self.factory.pem)
        self.fleet: Fleet = load(self.folder / "fleet")
        key = ec.generate_private_key(ec.SECP256R1())
        self.server_certificate = _server_certificate(key)
        self.files = self.folder / "aws.pem", self.folder / "aws.key"
        self.files[0].write_bytes(self.server_certificate)
        self.files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.aws = Aws(cast("Key", self.ca.key), *self.files)

    def enrollment(self) -> Event:
        """Return the event of a new device that asks for its first certificate over mTLS."""
        name, key = self._name(), ec.generate_private_key(ec.SECP256R1())
        leaf = self.certificate(self.factory, name, ec.generate_private_key(ec.SECP256R1()))
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        body = json.dumps({"csr": csr.public_bytes(Encoding.PEM).decode()})
        return event("POST", "/v1/certificates", leaf, body)

    def credentials(self) -> Event:
        """Return the event of an enrolled device that asks for credentials over mTLS.

        Its record is in both tables: that of the product, and that of the reference.
        """
        name, key = self._name(), ec.generate_private_key(ec.SECP256R1())
        leaf = self.certificate(self.ca, name, key)
        self.aws.rows |= {f"{DEVICE_PREFIX}{name}": record(name, leaf), f"device#{name}": _plain_record(leaf)}
        return event("GET", "/role-aliases/telemetry/credentials", leaf, alias="telemetry")

    def environment(self) -> dict[str, str]:
        """Return the environment of a Lambda, with the settings of the product and of the reference."""
        pem = self.ca.pem.decode()
        ours = (
            VendSettings(
                table=TABLE,
                bucket=BUCKET,
                ca_certificate=pem,
                partition="aws",
                region=REGION,
                account=ACCOUNT,
                fleet_refresh="60",
                sts_rate="600",
                iot_rate="7",
                stack="Firstboot",
            ).environment()
            | ExchangeSettings(
                table=TABLE,
                bucket=BUCKET,
                account=ACCOUNT,
                ca_certificate=pem,
                ca_key=KEY,
                mqtt_host="iot.example.com",
                mqtt_port="8883",
                fleet_refresh="60",
                kms_rate="1000",
                stack="Firstboot",
            ).environment()
        )
        plain = {
            "TABLE": TABLE,
            "BUCKET": BUCKET,
            "ACCOUNT": ACCOUNT,
            "CA_KEY": KEY,
            "CA_CERTIFICATE": pem,
            "FACTORY_CERTIFICATE": self.factory.pem.decode(),
        }
        return self._lambda() | ours | plain

    def _lambda(self) -> dict[str, str]:
        """Return the variables that Lambda sets."""
        return {
            "AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE12",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12",
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
            "AWS_ENDPOINT_URL": self.aws.url,
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PATH": "/usr/bin:/bin",
        }

    def _name(self) -> str:
        self.devices += 1
        return f"gw-{self.devices:06}"

    @staticmethod
    def certificate(issuer: Issuer, name: str, key: Key) -> x509.Certificate:
        """Return a client's certificate for a key."""
        now = datetime.now(UTC)
        return profile.bootstrap_certificate(issuer, name, key.public_key(), now, now + _DAYS)


def event(method: str, path: str, leaf: x509.Certificate, body: str = "", **parameters: str) -> Event:
    """Return API Gateway's event (payload format 2.0) of a call with a client certificate."""
    presented = {
        "clientCertPem": leaf.public_bytes(Encoding.PEM).decode(),
        "subjectDN": leaf.subject.rfc4514_string(),
        "issuerDN": leaf.issuer.rfc4514_string(),
        "serialNumber": str(leaf.serial_number),
        "validity": {"notBefore": "Nov 28 00:00:00 2026 GMT", "notAfter": "Dec 28 00:00:00 2026 GMT"},
    }
    made = {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": HOST, "user-agent": "firstboot/1"},
        "pathParameters": parameters,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "api",
            "authentication": {"clientCert": presented},
            "domainName": HOST,
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "firstboot/1",
            },
            "requestId": uuid.uuid4().hex,
            "routeKey": f"{method} {path}",
            "stage": "$default",
            "time": "28/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_795_824_000_000,
        },
        "isBase64Encoded": False,
    }
    return made | ({"body": body} if body else {})


def authority(name: str) -> Issuer:
    """Make a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Issuer(profile.authority_certificate(key, name, datetime.now(UTC), 10), key)


def _server_certificate(key: Key) -> bytes:
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "AWS on loopback")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _DAYS)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def record(name: str, leaf: x509.Certificate) -> Row:
    """Return the product's record of a device whose certificate `leaf` has logged in before."""
    key = _hash(leaf)
    start, end = int(leaf.not_valid_before_utc.timestamp()), int(leaf.not_valid_after_utc.timestamp())
    active = {
        "serial": {"S": f"{leaf.serial_number:x}"},
        "spki": {"S": key},
        "notBefore": {"N": str(start)},
        "notAfter": {"N": str(end)},
        "renewAfter": {"N": str(end - 86_400)},
        "heldUntil": {"N": "0"},
        "certificateId": {"S": leaf.fingerprint(hashes.SHA256()).hex()},
    }
    return {
        "pk": {"S": f"{DEVICE_PREFIX}{name}"},
        "deviceId": {"S": name},
        "group": {"S": "gateways"},
        "status": {"S": "enrolled"},
        "generation": {"N": "1"},
        "createdAt": {"N": str(start)},
        "updatedAt": {"N": str(start)},
        "enrolledBy": {"S": key},
        "bootstrapIds": {"SS": [key]},
        "anchor": {"S": key},
        "anchorSubject": {"S": "CN=Acme Factory CA"},
        "attributes": {"M": {"site": {"S": "hall-7"}}},
        "claims": {"M": {"firmware": {"S": "1.4.3"}}},
        "registered": {"SS": [leaf.fingerprint(hashes.SHA256()).hex()]},
        "attached": {"SS": ["mqtt"]},
        "active": {"M": active},
        "pin": {"S": key},
    }


def _plain_record(leaf: x509.Certificate) -> Row:
    return {
        "status": {"S": "enrolled"},
        "serial": {"S": f"{leaf.serial_number:x}"},
        "spki": {"S": _hash(leaf)},
        "enrolledAt": {"S": "2026-11-28T00:00:00+00:00"},
    }


def _hash(leaf: x509.Certificate) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()
