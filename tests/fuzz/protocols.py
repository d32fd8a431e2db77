"""Targets of the protocols of other services: Azure DPS, EST, IAM Roles Anywhere and fleet provisioning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.errors import FirstbootError
from firstboot.domain.fleet import Fleet
from firstboot.domain.secret_keys import KeyPair, KeysMalformed
from firstboot.exchange import dps_messages, provisioning
from firstboot.exchange.messages import any_csr
from firstboot.identity.dps import Attest, Attestation
from firstboot.identity.password import AdmitByPassword
from firstboot.identity.symmetric import AdmitByKey
from firstboot.pki import csr, password, sas
from firstboot.runtime.http import HttpRequest
from firstboot.runtime.messages import convert
from firstboot.vend import roles_anywhere
from tests import factories, fleets
from tests.fuzz.target import Target, json_value, of, text

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
_SCOPE = "0ne00000A0B"
_KEYS = KeyPair(b"p" * 64, b"s" * 64)
_DOMAIN = (FirstbootError,)


class _Known:
    """The fleet in force, the keys of its groups and the key of passwords."""

    def current(self, _: datetime) -> Fleet:
        """Return the fleet."""
        return _fleet()

    def pair(self, _: str, __: datetime) -> KeyPair:
        """Return the keys of a group."""
        return _KEYS

    def password_key(self) -> bytes:
        """Return the key of passwords."""
        return b"k" * password.KEY_BYTES


@cache
def _fleet() -> Fleet:
    own = fleets.group("gateways", factories.authority(), ways=("dps", "est"), symmetric_key=True)
    made = fleets.fleet(own)
    return type(made)(**vars(made) | {"id_scope": _SCOPE})


def _request(data: bytes) -> HttpRequest:
    headers = {"content-type": "application/json"}
    return HttpRequest("PUT", "/", "https://example.com/", data, "", "", headers=headers)


def _dps_registration(data: bytes) -> None:
    asked = dps_messages.read(dps_messages.DpsRequest, _request(data))
    csr.verify(csr.parse(asked.payload.csr))


def _dps_signature(data: bytes) -> object:
    """Attest a device whose header Authorization is `data`."""
    return _attest("gw-1", text(data))


def _dps_name(data: bytes) -> object:
    """Attest a device whose registration id in the path is `data`, with a good signature for it."""
    name = unquote(text(data))
    return _attest(name, _signature(name.lower()))


def _attest(name: str, authorization: str) -> object:
    known = _Known()
    shown = Attestation(_SCOPE, name, certificate=None, authorization=authorization)
    return Attest(known, AdmitByKey(known))(shown, NOW)


def _signature(name: str) -> str:
    # A name with a lone surrogate is no device id, so what is signed for it does not matter.
    said = name.encode(errors="replace").decode()
    key = sas.derived(_KEYS.primary, said)
    return sas.make(f"{_SCOPE}/registrations/{said}", key, NOW + timedelta(hours=1))


def _est_csr(data: bytes) -> None:
    asked = any_csr(data)
    csr.common_name(asked)
    csr.verify(asked)


def _est_password(data: bytes) -> object:
    """Admit a device whose header Authorization is `data`."""
    return AdmitByPassword(_Known())(text(data), _fleet(), NOW)


def _est_user(data: bytes) -> object:
    """Admit a device whose user name and password are `data`."""
    header = f"Basic {factories.base64_text(data)}"
    return AdmitByPassword(_Known())(header, _fleet(), NOW)


def _credentials() -> bytes:
    made, _ = password.make(_Known().password_key(), "gw-1", "gateways", NOW)
    return f"gw-1:{made}".encode()


def _session_query(data: bytes) -> object:
    url = f"https://example.com/sessions?{text(data)}"
    return roles_anywhere.read(HttpRequest("POST", "/sessions", url, b"", "", ""))


def _hook(data: bytes) -> object:
    return provisioning.requested(convert(provisioning.HookEvent, json_value(data)))


def _registrations() -> Iterator[bytes]:
    asked = {"csr": factories.pem(factories.csr(factories.ec_key())), "claims": {"a": 1}}
    yield json.dumps({"registrationId": "gw-1", "payload": asked}).encode()


def _csrs() -> Iterator[bytes]:
    made = factories.csr(factories.ec_key())
    yield factories.pem(made).encode()
    der = made.public_bytes(Encoding.DER)
    yield from (der, factories.base64_text(der).encode())


def _events() -> Iterator[bytes]:
    ids = {"claimCertificateId": "a" * 64, "certificateId": "b" * 64, "certificatePem": "x"}
    yield json.dumps(ids | {"parameters": {"DeviceId": "gw-1", "model": "m"}}).encode()


def _once(make: Callable[[], bytes]) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([make()])


_ANYWHERE = "arn:aws:rolesanywhere:eu-central-1:123456789012"
_ARNS = {
    "profileArn": f"{_ANYWHERE}:profile/1",
    "roleArn": "arn:aws:iam::123456789012:role/x",
    "trustAnchorArn": f"{_ANYWHERE}:trust-anchor/1",
}
_QUERY = "&".join(f"{name}={quote(arn, safe='')}" for name, arn in _ARNS.items())

PROTOCOLS: dict[str, Target] = {
    "dps-registration": Target(_dps_registration, _DOMAIN, _registrations),
    "dps-lookup": Target(
        lambda data: dps_messages.read(dps_messages.DpsLookup, _request(data)),
        _DOMAIN,
        of('{"registrationId":"gw-1"}', "{}"),
    ),
    "dps-signature": Target(_dps_signature, _DOMAIN, _once(lambda: _signature("gw-1").encode())),
    "dps-name": Target(_dps_name, _DOMAIN, of("gw-1", "GW%2D1", "a" * 64)),
    "est-csr": Target(_est_csr, _DOMAIN, _csrs),
    "est-password": Target(
        _est_password,
        _DOMAIN,
        lambda: iter([f"Basic {factories.base64_text(_credentials())}".encode()]),
    ),
    "est-user": Target(_est_user, _DOMAIN, _once(_credentials)),
    "roles-anywhere-query": Target(_session_query, _DOMAIN, of(_QUERY)),
    "provisioning-hook": Target(_hook, _DOMAIN, _events),
    "secret-keys": Target(lambda data: KeyPair.from_json(text(data)), (KeysMalformed,), of(_KEYS.to_json())),
}
