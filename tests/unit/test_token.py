"""Test which issuers' tokens are accepted for a device, and that every doubt is a refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from firstboot.domain.clock import from_epoch
from firstboot.domain.errors import FirstbootError
from firstboot.pki import token
from firstboot.pki.errors import (
    TokenAudienceWrong,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenUntrusted,
)
from firstboot.pki.token import SigningKey, VerifiedToken
from tests import factories
from tests.issuers import AUDIENCE, NOW, Issuer, jwk

ISSUER = Issuer()
HOUR = int(NOW.timestamp()) + 3600


def verified(text: str, **changes: Any) -> VerifiedToken:
    """Return the token verified with the key that it names, for the issuer with `changes`."""
    unverified = token.parse(text)
    keys = token.signing_keys(ISSUER.document())
    return token.verify(unverified, ISSUER.entry(**changes), keys[unverified.key_id], AUDIENCE, NOW)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
@pytest.mark.parametrize("kind", ["at+jwt", "JWT", "AT+JWT", "jwt"])
def test_a_valid_token_is_accepted(algorithm: str, kind: str) -> None:
    """A valid token gives its subject and end, with each algorithm and each accepted type."""
    assert verified(ISSUER.token(algorithm, header={"typ": kind})) == VerifiedToken("gw-1", from_epoch(HOUR))


def test_a_token_may_have_more_or_fewer_optional_claims() -> None:
    """A token may have other claims, other header members and several audiences, and lack `nbf` and `iat`."""
    many = ISSUER.token(aud=["other", AUDIENCE], scope="x", header={"x5t": "abc"}, iat=None, nbf=None)
    assert verified(many).subject == "gw-1"


@pytest.mark.parametrize("algorithm", ["HS256", "none", "HS512", "ES384", "EdDSA"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    """An unpinned algorithm is refused, such as `none`, or an HMAC with the public key as its secret."""
    for secret in (ISSUER.public_pem("ec"), ISSUER.public_pem("rsa"), b""):
        for name in ("ec", "rsa"):
            with pytest.raises(TokenUntrusted):
                verified(ISSUER.forged(algorithm, secret, kid=name))


def test_an_algorithm_the_fleet_does_not_name_is_refused() -> None:
    """A valid signature with an algorithm that the fleet does not name for the issuer is refused."""
    with pytest.raises(TokenUntrusted, match="algorithm 'RS256'"):
        verified(ISSUER.token("RS256"), algorithms=("PS256",))


def test_an_algorithm_must_match_its_key() -> None:
    """A key made for one algorithm verifies no other, and a P-384 key verifies no ES256."""
    public = ISSUER.keys["rsa"].public_key()
    for key in (
        SigningKey(public, "PS256"),
        SigningKey(ec.generate_private_key(ec.SECP384R1()).public_key(), None),
    ):
        with pytest.raises(TokenUntrusted, match="with key"):
            token.verify(token.parse(ISSUER.token("RS256")), ISSUER.entry(), key, AUDIENCE, NOW)
    p384 = SigningKey(factories.ec_key(ec.SECP384R1()).public_key(), None)
    with pytest.raises(TokenUntrusted, match="with key"):
        token.verify(token.parse(ISSUER.token()), ISSUER.entry(), p384, AUDIENCE, NOW)


def test_a_short_rsa_key_is_refused() -> None:
    """A token is refused if its issuer's key is weaker than a device's key may be."""
    weak = factories.rsa_key(1024)
    with pytest.warns(UserWarning, match="1024"):
        text = ISSUER.token("RS256", key=weak)
    with pytest.raises(TokenUntrusted, match="with key"):
        token.verify(token.parse(text), ISSUER.entry(), SigningKey(weak.public_key(), None), AUDIENCE, NOW)


def test_another_key_is_refused() -> None:
    """A token is refused if it is not signed with the key that its header names."""
    with pytest.raises(TokenUntrusted, match="Signature"):
        verified(ISSUER.token(key=factories.ec_key()))


def test_another_issuers_name_is_refused() -> None:
    """The issuer's name must match exactly, to the letter."""
    for name in ("https://id.example.com/", "https://ID.example.com", "https://evil.example.com"):
        with pytest.raises(TokenUntrusted):
            verified(ISSUER.token(iss=name))


@pytest.mark.parametrize(
    "audience", ["urn:firstboot:us-east-1:123456789012:Other", AUDIENCE + "2", ["other"], 7]
)
def test_another_audience_is_refused(audience: Any) -> None:
    """A token for another deployment is refused."""
    with pytest.raises(TokenAudienceWrong):
        verified(ISSUER.token(aud=audience))


def test_a_token_expires_at_its_end() -> None:
    """A token has expired in the second of its `exp`, without leeway."""
    end = int(NOW.timestamp()) + 1
    assert verified(ISSUER.token(exp=end)).expires_at == from_epoch(end)
    for seconds in (0, 1, 3600):
        with pytest.raises(TokenExpired):
            verified(ISSUER.token(exp=int(NOW.timestamp()) - seconds))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_of_the_future_is_refused(claim: str) -> None:
    """The issuer's clock may be ahead by the leeway of a minute, and no more."""
    at = int((NOW + timedelta(seconds=token.LEEWAY)).timestamp())
    just: Any = {claim: at}
    beyond: Any = {claim: at + 1}
    assert verified(ISSUER.token(**just)).subject == "gw-1"
    with pytest.raises(TokenNotYetValid):
        verified(ISSUER.token(**beyond))


@pytest.mark.parametrize("kind", ["firstboot-proof+jwt", "dpop+jwt", "id_token", "at+jwt2", None, "JWT "])
def test_another_type_is_refused(kind: str | None) -> None:
    """A token of another type is refused, above all a signed proof, which a device can sign itself."""
    with pytest.raises(TokenMalformed, match="typ"):
        token.parse(ISSUER.token(header={"typ": kind}))


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": jwk(factories.ec_key())},
        {"jku": "https://id.example.com/jwks"},
        {"x5c": ["MII="]},
        {"x5u": "https://id.example.com/x"},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": True},
    ],
    ids="-".join,
)
def test_a_header_that_brings_its_own_trust_is_refused(header: dict[str, Any]) -> None:
    """A header that names a key in any way but by its id is refused."""
    with pytest.raises(TokenMalformed):
        token.parse(ISSUER.token(header=header))


@pytest.mark.parametrize("key_id", [None, ""])
def test_a_key_id_is_needed(key_id: str | None) -> None:
    """A token without a key id is refused, because no key is guessed."""
    with pytest.raises(TokenMalformed, match="kid"):
        token.parse(ISSUER.token(header={"kid": key_id}))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp"])
def test_a_missing_claim_is_refused(claim: str) -> None:
    """A token without issuer, audience, subject or end is refused."""
    missing: Any = {claim: None}
    with pytest.raises(TokenMalformed):
        verified(ISSUER.token(**missing))


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [True, "2030-01-01", [], -1, 10**400, 1e300, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(claim: str, value: Any) -> None:
    """A time that is text, or a number beyond the calendar, is refused."""
    with pytest.raises(TokenMalformed, match="time"):
        verified(ISSUER.token(**{claim: value}))


def test_a_subject_that_is_no_text_is_refused() -> None:
    """A subject that is a number is refused."""
    with pytest.raises(TokenMalformed):
        verified(ISSUER.token(sub=7))


@given(st.text() | st.text("abcXYZ019-_.=", max_size=60) | st.binary().map(lambda b: b.decode("latin-1")))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """No text makes the parser raise anything but its own error."""
    with pytest.raises(TokenMalformed):
        token.parse(text)


def test_nesting_and_length_are_refused() -> None:
    """A token that is nested too deeply or above the size limit is malformed."""
    head, payload, _ = ISSUER.token().split(".")
    deep = "W1tb" * 1_000  # base64 of [[[…
    for text in (f"{deep}.{payload}.", f"{head}.{deep}."):
        # Before Python 3.12 the parser stops at the depth; from 3.12 on it reaches the end of the text.
        with pytest.raises(TokenMalformed, match=r"recursion|Expecting value: line 1 column 3001"):
            token.parse(text)
    longest = ISSUER.token(x="y" * (token.MAX_LENGTH * 3 // 4 - 300))
    assert len(longest) < token.MAX_LENGTH
    assert token.parse(longest).issuer == ISSUER.url
    with pytest.raises(TokenMalformed, match="characters"):
        token.parse(longest + "A" * (token.MAX_LENGTH + 1 - len(longest)))


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_token_is_refused(at: int, character: str) -> None:
    """A token with any one character changed is refused."""
    text = ISSUER.token()
    place = at % len(text)
    if text[place] == character:
        return
    changed = text[:place] + character + text[place + 1 :]
    with pytest.raises((FirstbootError, KeyError)):
        verified(changed)


def test_a_set_has_the_keys_that_can_sign() -> None:
    """A key set gives its keys by id, without those for another use, without an id or of another kind."""
    ec_key, rsa_key = ISSUER.keys["ec"], ISSUER.keys["rsa"]
    members = [
        jwk(ec_key, kid="a", use="sig", alg="ES256"),
        jwk(rsa_key, kid="b"),
        jwk(ec_key, kid="c", use="enc"),
        jwk(ec_key),
        {"kty": "oct", "kid": "d", "k": "c2VjcmV0"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {**jwk(ec_key, kid="f"), "x": "!"},
        {"kty": "RSA", "kid": "g"},
        {"kty": "RSA", "kid": "h", "n": 1, "e": []},
        "x",
    ]
    keys = token.signing_keys(json.dumps({"keys": members}).encode())
    assert {name: key.algorithm for name, key in keys.items()} == {"a": "ES256", "b": None}
    assert keys["a"].public == ec_key.public_key()


def test_a_private_key_in_a_set_is_not_used() -> None:
    """A private key in an issuer's set is not used, because it is compromised."""
    private = {**ECAlgorithm.to_jwk(factories.ec_key(), as_dict=True), "kid": "a"}
    assert token.signing_keys(json.dumps({"keys": [private]}).encode()) == {}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["RSA", "EC", "AQAB", "P-256"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kty", "kid", "n", "e", "x", "y", "crv", "d", "alg", "use", "keys"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_key_set_is_read_or_refused(value: Any) -> None:
    """Any JSON from an issuer's key URL is a set of keys or raises ValueError."""
    for document in (value, {"keys": value}, {"keys": [value]}):
        try:
            token.signing_keys(json.dumps(document).encode())
        except ValueError:
            continue


def test_a_deep_key_set_is_refused() -> None:
    """A key set that is nested too deeply raises ValueError and does not end the process."""
    with pytest.raises(ValueError, match="nested"):
        token.signing_keys(b"[" * 60_000)


def test_a_private_key_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key in a set is left out before its numbers are computed with, which can take minutes."""
    monkeypatch.setattr(RSAAlgorithm, "from_jwk", lambda found: pytest.fail(f"read {found}"))
    private = {**RSAAlgorithm.to_jwk(factories.rsa_key(), as_dict=True), "kid": "a"}
    assert token.signing_keys(json.dumps({"keys": [private]}).encode()) == {}


@pytest.mark.parametrize(
    ("text", "log"),
    [
        (ISSUER.token(header={"typ": "x" * 90}), f"typ {'x' * 80!r}"),
        (ISSUER.token(header={"jku": "", "x5u": ""}), "the header has ['jku', 'x5u']"),
        (ISSUER.token(header={"kid": ""}), "alg, kid and iss must be strings"),
        ("a" * 6_145, "6145 characters"),
        ("a.b", "DecodeError("),
    ],
    ids=["type", "trust", "key-id", "long", "parts"],
)
def test_the_log_of_a_malformed_token_says_why(text: str, log: str) -> None:
    """The log of a malformed token says what is wrong, with at most 200 characters of what was sent."""
    with pytest.raises(TokenMalformed) as caught:
        token.parse(text)
    assert caught.value.log == log or (log.endswith("(") and caught.value.log.startswith(log))
    assert len(caught.value.log) <= 200


def test_the_log_of_an_untrusted_token_says_why() -> None:
    """The log of a refused algorithm has it and the key's id, 80 characters of each."""
    unverified = replace(token.parse(ISSUER.token()), algorithm="a" * 90, key_id="k" * 90)
    key = SigningKey(ISSUER.keys["ec"].public_key(), None)
    with pytest.raises(TokenUntrusted) as caught:
        token.verify(unverified, ISSUER.entry(), key, AUDIENCE, NOW)
    assert caught.value.log == f"algorithm {'a' * 80!r} with key {'k' * 80!r}"
    with pytest.raises(TokenMalformed) as late:
        verified(ISSUER.token(exp="soon"))
    assert late.value.log == "exp is not a time"
