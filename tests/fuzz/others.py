"""Targets on the other side of the service: the operator's calls and files, and the device."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from console import key_manifest, manifest
from console.attributes import Attributes
from console.cloud import Refused as ConsoleRefused
from device import answers, certificates, form, mqtt
from device.refusal import Refused
from device.service import Service
from device.store import Identity
from device.transport import Answer, Transport
from firstboot.compiler.fleet import compile_fleet
from firstboot.compiler.source import read
from firstboot.domain.dead_letters import Letter
from firstboot.domain.errors import FirstbootError
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import ANY_FLEET, device_id
from firstboot.domain.plans import CertificatePlan
from firstboot.operate import letters, requests
from firstboot.operate.operations import OPERATIONS
from firstboot.pki import sources
from firstboot.pki.certificate import Certificate, parse
from firstboot.pki.errors import CertificateMalformed
from firstboot.runtime import routes
from firstboot.runtime.invoke import Bound, Operation
from firstboot.runtime.messages import convert, parse_json
from tests import factories
from tests.field import corpus
from tests.fuzz.target import Target, json_value, of, text

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
_DOMAIN = (FirstbootError,)
_GROUP = Group(
    "gateways",
    (),
    "subject.CN",
    "replace",
    10,
    CertificatePlan(days=365, renew_at=0.66, grace_days=90),
    "registry",
)
_REQUESTS = {
    "devices.explain": '{"deviceId":"d","context":{"roleAlias":"telemetry","sourceIp":"192.0.2.1"}}',
    "devices.rebind": '{"deviceId":"d","key":"' + "a" * 64 + '","until":"2026-12-31"}',
    "devices.set": '{"deviceId":"gw-1","attributes":{"site":"a","floor":1,"old":null}}',
    "devices.list": '{"limit":10,"after":"a","enrolledBy":"' + "a" * 64 + '"}',
    "groups.expect": '{"group":"gateways","devices":{"d":{"site":"a"}}}',
}


def _operation(data: bytes) -> None:
    """Read the parameters of an operator's call; the first byte chooses the operation."""
    if data:
        operation: Operation[Any] = OPERATIONS[data[0] % len(OPERATIONS)]
        Bound(operation, _use).call(json_value(data[1:]), NOW)


def _use(parameters: Any, _: object) -> dict[str, Any]:
    if isinstance(parameters, requests.ExplainDevice):
        parameters.contexts(_fleet())
    if isinstance(parameters, requests.ExpectDevices | requests.ImportDevices):
        requests.checked_ids(parameters.devices, ANY_FLEET)
    return {}


def _operation_seeds() -> Iterator[bytes]:
    for number, operation in enumerate(OPERATIONS):
        yield bytes([number]) + _REQUESTS.get(operation.name, '{"deviceId":"d"}').encode()


def _manifest(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        manifest.check(Path(file.name))
        manifest.check_values(Path(file.name), _attributes())
        list(manifest.devices(Path(file.name), _attributes()))


def _key_manifest(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        run = key_manifest.Run(lambda _: None, _GROUP, ANY_FLEET, lambda: False)
        key_manifest.checked(Path(file.name), run)
        list(key_manifest.wanted(Path(file.name), ANY_FLEET))


def _key_manifest_seeds() -> Iterator[bytes]:
    der = factories.ec_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    yield f"deviceId,publicKey\ngw-1,{factories.base64_text(der)}\n".encode()


class _Host:
    """A host that gives one answer to each call."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def send(self, _: Identity, __: str, ___: str, ____: bytes | None = None) -> Answer:
        """Return the answer."""
        return self._answer


def _certified(data: bytes) -> None:
    """Read the service's answer to an enrollment, with the certificate in it, and check the certificate."""
    service = Service(_Host(Answer(201, Message(), data)), Transport(None), inline=True)
    issued = service.enroll(Identity(Path("/none"), Path("/none")), "", None)
    _check(issued.chain, issued.device_id, issued.certificate_id)


def _certified_seeds() -> Iterator[bytes]:
    authority = _authority()
    leaf = _leaf_of_key()
    chain = [factories.base64_text(each) for each in (leaf, authority.certificate.public_bytes(Encoding.DER))]
    identifier = hashlib.sha256(leaf).hexdigest()
    members = {"deviceId": "gw-1", "certificateId": identifier, "time": "2026-12-15T12:00:00Z"}
    yield json.dumps(members | {"certificate": chain[0], "chain": chain[1:]}).encode()


def _downloaded(data: bytes) -> None:
    """Check a downloaded certificate; a real CA is beside it."""
    _check(
        _pem(data) + factories.pem(_authority().certificate).encode(),
        "gw-1",
        hashlib.sha256(data).hexdigest(),
    )


def _check(chain: bytes, name: str, identifier: str) -> None:
    key = factories.key_pem(_key()).encode()
    certificates.check(chain, key, device_id=name, certificate_id=identifier, moment=NOW)


def _own(data: bytes) -> None:
    """Read a bootstrap certificate as the client does."""
    for each in form.chain(_pem(data)):
        each.common_name()
    certificates.expired(_pem(data), NOW)
    certificates.belong_together(factories.key_pem(_key()).encode(), _pem(data))


def _pem(data: bytes) -> bytes:
    return (
        b"-----BEGIN CERTIFICATE-----\n"
        + factories.base64_text(data).encode()
        + b"\n-----END CERTIFICATE-----\n"
    )


@cache
def _key() -> Any:
    return factories.ec_key()


def _leaf_of_key() -> bytes:
    leaf = _authority().issue("gw-1", _key(), not_before=NOW - timedelta(days=1))
    return leaf.public_bytes(Encoding.DER)


@cache
def _authority() -> factories.Authority:
    return factories.authority()


@cache
def _fleet() -> Fleet:
    return compile_fleet(read(ROOT / "fleet"))


@cache
def _attributes() -> Attributes:
    return Attributes(_fleet())


def _leaf(data: bytes) -> str:
    found: Certificate = parse(data)
    for source in ("subject.serialNumber", "san.uri", "san.dns"):
        with suppress(CertificateMalformed):
            sources.value(found, source)
    return str(device_id(sources.value(found, "subject.CN")))


def _chains() -> Iterator[bytes]:
    return (case.read("leaf") for case in corpus.cases("chain"))


_LETTERS = (
    '{"requestContext":{"functionArn":"arn:aws:lambda:us-east-1:123456789012:function:f"},"requestPayload":{}}',
    '{"topic":"firstboot/d/certificates/request","clientId":"d","failures":[{"errorMessage":"e"}]}',
)

OTHERS: dict[str, Target] = {
    "operator-request": Target(_operation, _DOMAIN, _operation_seeds),
    "operator-fleet": Target(
        lambda data: requests.fleet(convert(requests.ApplyFleet, parse_json(data)).fleet),
        _DOMAIN,
        lambda: iter([b'{"fleet":' + _fleet().to_json().encode() + b"}"]),
    ),
    "operator-letter": Target(
        lambda data: letters.described(Letter("r", text(data), NOW)), (), of(*_LETTERS)
    ),
    "route": Target(
        lambda data: [each.match(text(data)) for each in routes.ROUTES],
        (),
        of("/role-aliases/a/credentials", "/v1/device"),
    ),
    "device-id": Target(lambda data: device_id(text(data)), _DOMAIN, of("gw-1", "a:b", "boot-1")),
    "device-id-of-leaf": Target(_leaf, _DOMAIN, _chains),
    "console-manifest": Target(
        _manifest,
        (ConsoleRefused,),
        of('deviceId,site\ngw-1,a\n"gw-2","b ""c"""\n', "\ufeffdeviceId\r\ngw-1\r\n"),
    ),
    "console-key-manifest": Target(_key_manifest, (ConsoleRefused,), _key_manifest_seeds),
    "device-answer": Target(
        lambda data: answers.success(Answer(200, Message(), data)),
        (Refused,),
        of('{"time":"2026-01-01T00:00:00Z"}'),
    ),
    "device-refusal": Target(
        lambda data: answers.success(Answer(403, Message(), data)),
        (Refused,),
        of(
            '{"code":"c","action":"wait","retryAfter":1,"detail":"d","time":"2026-01-01T00:00:00Z"}',
            '{"message":"m"}',
        ),
    ),
    "device-certified": Target(_certified, (Refused,), _certified_seeds),
    "device-downloaded": Target(_downloaded, (Refused,), lambda: iter([_leaf_of_key(), *_chains()])),
    "device-bootstrap": Target(_own, (ValueError,), _chains),
    "device-broker": Target(
        lambda data: mqtt.parse(text(data)), (ValueError,), of("localhost:8883", "[::1]:8883")
    ),
}
