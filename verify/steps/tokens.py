"""Steps of connections that the custom authorizer decides on by a token (docs/protocol.md)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from firstboot.domain.token_issuer import TokenIssuer
from firstboot.pki.token import signing_keys
from verify import mqtt
from verify.bench import Bench
from verify.broker import ACCEPTED, Broker, Login, Token
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step

_LIFE = timedelta(hours=1)
_JWKS_BYTES = 65_536
_PORT = 443
"""The port of custom authentication over MQTT (developer guide, "Device communication protocols")."""

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def token(key: Key, key_id: str, issuer: TokenIssuer, audience: str, subject: str) -> str:
    """Return a token that the issuer makes for a device now."""
    fitting = {"ES256"} if isinstance(key, ec.EllipticCurvePrivateKey) else {"RS256", "PS256"}
    algorithm = next(each for each in issuer.algorithms if each in fitting)
    now = datetime.now(UTC)
    claims = {"iss": issuer.issuer, "aud": audience, "sub": subject, "iat": now, "exp": now + _LIFE}
    return jwt.encode(claims, key, algorithm, headers={"typ": "at+jwt", "kid": key_id})


def issuer_of(bench: Bench, key: Key) -> tuple[TokenIssuer, str]:
    """Return the issuer whose JWK set has the public half of `key`, and its id there. Raises Lacking."""
    for issuer in bench.fleet.issuers.values():
        answer = bench.transport.send("GET", issuer.jwks, limit=_JWKS_BYTES)
        for key_id, known in signing_keys(answer.body).items():
            if known.public.public_numbers() == key.public_key().public_numbers():
                return issuer, key_id
    raise Lacking("a key of --issuer-key that the JWK set of an issuer has")


def connection(bench: Bench) -> Measurements:
    """Ask the authorizer about a token, connect with it, and be refused without a good one."""
    key = load_pem_private_key(bench.issuer_key or b"", None)
    if not isinstance(key, Key):
        raise Lacking("an EC or RSA key: --issuer-key")
    issuer, key_id = issuer_of(bench, key)
    group = bench.group_with(lambda each: each.name in issuer.groups, f"a group of the issuer {issuer.name}")
    unit, other = mqtt.over_https(bench, group), bench.name()
    authorizer, audience = bench.outputs("AuthorizerName"), bench.outputs("TokenAudience")
    good = Token(authorizer, token(key, key_id, issuer, audience, unit.name))
    yield from _asked(bench, unit.name, good)
    broker = replace(mqtt.broker(bench), port=_PORT)
    if (outcome := broker.outcome(Login(unit.name, token=good))) != ACCEPTED:
        raise Failed("a connection with a token", outcome)
    forged = Token(authorizer, token(_like(key), key_id, issuer, audience, unit.name))
    refused = {
        "another device's client id": Login(other, token=good),
        "a token of another key": Login(unit.name, token=forged),
        "no token": Login(unit.name, token=Token(authorizer, "")),
    }
    yield from refusals(broker, refused)


def _asked(bench: Bench, client_id: str, good: Token) -> Measurements:
    """Measure what the authorizer answers, by AWS IoT's own test of it."""
    answer = bench.client("iot").test_invoke_authorizer(
        authorizerName=good.authorizer,
        mqttContext={"username": "verify", "password": good.text.encode(), "clientId": client_id},
    )
    if not answer["isAuthenticated"]:
        raise Failed("the authorizer to accept the token", "a refusal")
    yield Measurement("the authorizer asks again after", answer["refreshAfterInSeconds"], "s")
    yield Measurement("the connection ends after", answer["disconnectAfterInSeconds"], "s")
    lengths = ", ".join(str(len(each)) for each in answer["policyDocuments"])
    yield Measurement("policies of the connection", lengths, "characters")


def refusals(broker: Broker, refused: dict[str, Login]) -> Measurements:
    """Connect in each way that must be refused."""
    for what, login in refused.items():
        outcome = broker.outcome(login)
        yield Measurement(f"the broker's answer to {what}", outcome)
        if outcome == ACCEPTED:
            raise Failed(f"no connection with {what}", outcome)


def _like(key: Key) -> Key:
    """Make another key of the same kind."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ec.generate_private_key(key.curve)
    return rsa.generate_private_key(65_537, key.key_size)


STEPS = (
    Step(
        "a connection with a token",
        connection,
        frozenset({Need.FACTORY, Need.BROKER, Need.ISSUER, Need.AWS}),
        spends={Act.BOOT: 1, Act.CONNECTION: 5, Act.OPERATE: 5},
    ),
)
