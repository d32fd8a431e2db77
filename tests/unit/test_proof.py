"""Test what a signed proof must have, and that its URL is the request's.

The URLs are compared after normalisation, and no further.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.pki import certificate, proof
from firstboot.pki.errors import CertificateMalformed, ProofMalformed, ProofMismatch, ProofSignatureInvalid
from firstboot.pki.proof import Call
from tests import factories
from tests.proofs import base64url

KEY = factories.ec_key()
LEAF = certificate.parse_text(factories.pem(factories.authority().issue("gw-1", KEY)))
CALLED = "https://api.example.com/role-aliases/a=b-c/credentials?deviceId=gw-1&x=%2F"


def verify(htu: str, called: str) -> None:
    """Verify a proof for `htu` of a request to `called`."""
    claims = {
        "htm": "POST",
        "htu": htu,
        "bsh": base64url(hashlib.sha256(b"").digest()),
        "jti": "1",
        "iat": int(datetime.now(UTC).timestamp()),
    }
    header = {"typ": proof.TYPE, "x5c": [factories.base64_text(LEAF.der)]}
    token = jwt.encode(claims, KEY, algorithm="ES256", headers=header)
    proof.verify(proof.parse(token), LEAF, Call("POST", called, b""))


@pytest.mark.parametrize(
    "htu",
    [
        CALLED,
        CALLED.replace("https", "HTTPS"),
        CALLED.replace("api.example.com", "API.Example.COM"),
        CALLED.replace(".com", ".com:443"),
        CALLED.replace(".com", ".com:"),
        CALLED.replace("a=b-c", "a%3Db%2dc"),
        CALLED.replace("a=b-c", "%61=b-c"),
        CALLED.replace("deviceId=gw-1", "deviceId=gw%2D1"),
        CALLED.replace("%2F", "%2f"),
    ],
)
def test_an_equivalent_url_is_the_same(htu: str) -> None:
    """A proof holds if its URL differs in case of scheme and host, the default port, or harmless escapes."""
    verify(htu, CALLED)


@pytest.mark.parametrize(
    ("htu", "called"), [("https://a.example", "https://a.example/"), ("https://a.example/",) * 2]
)
def test_an_empty_path_is_the_root(htu: str, called: str) -> None:
    """A URL without a path is that of the root."""
    verify(htu, called)


@pytest.mark.parametrize(
    "htu",
    [
        "",
        "https://[",
        CALLED.replace("https", "http"),
        CALLED.replace("api.", ""),
        CALLED.replace(".com", ".com."),
        CALLED.replace(".com", ".com:80"),
        CALLED.replace(".com", ".com:0443"),
        CALLED.replace(".com", ".com::443"),
        CALLED.replace(".com", ".com:8443"),
        CALLED.replace("api", "user@api"),
        CALLED.replace("api.example.com", "api%2Eexample.com"),
        CALLED.replace("a=b", "A=b"),
        CALLED.replace("/role-aliases/a", "/role-aliases%2Fa"),
        CALLED.replace("/role-aliases/a", "//role-aliases/a"),
        CALLED.replace("/role-aliases/a", "/./role-aliases/a"),
        CALLED.replace("/role-aliases/a", "/x/../role-aliases/a"),
        CALLED.replace("/credentials", "/credentials/"),
        CALLED.replace("/credentials", "/credentials;a"),
        CALLED.replace("%2F", "/"),
        CALLED.replace("&x=%2F", ""),
        CALLED.replace("deviceId=gw-1&x=%2F", "x=%2F&deviceId=gw-1"),
        CALLED.replace("gw-1", "gw-2"),
        CALLED.replace("&", "%26"),
        CALLED.partition("?")[0],
        f"{CALLED}#fragment",
        f" {CALLED}",
        f"{CALLED} ",
        CALLED.replace("alias", "al\nias"),
        CALLED.replace("alias", "al\tias"),
        CALLED.replace("a=b", "\u1d43=b"),
        CALLED.replace("example", "ex\u0430mple"),
    ],
)
def test_every_other_url_is_another(htu: str) -> None:
    """A proof for any URL that is not equivalent is refused."""
    with pytest.raises(ProofMismatch):
        verify(htu, CALLED)


def test_two_texts_that_are_no_urls_are_not_equal() -> None:
    """A proof for what is no URL fits no request, even if the request's URL is none either."""
    for text in ("https://[", " ", ""):
        with pytest.raises(ProofMismatch):
            verify(text, text)


CALL = Call("POST", CALLED, b"body")
CLAIMS: dict[str, Any] = {
    "htm": "POST",
    "htu": CALLED,
    "bsh": base64url(hashlib.sha256(b"body").digest()),
    "jti": "j" * proof.MAX_JTI,
    "iat": 1_700_000_000,
}
CHAINED = [factories.base64_text(LEAF.der)]
HEX = LEAF.fingerprint


def _token(
    claims: dict[str, Any] | None = None, key: Any = KEY, algorithm: str = "ES256", **header: Any
) -> str:
    members = {"typ": proof.TYPE, "x5c": CHAINED} | header
    members = {name: value for name, value in members.items() if value is not None}
    payload = json.dumps(CLAIMS | (claims or {})).encode()
    return jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers=members)


def test_a_parsed_proof_has_its_certificates() -> None:
    """A proof has its algorithm and its certificates, of which the first one's thumbprint counts."""
    token = _token(x5c=CHAINED * 3)
    assert proof.parse(token) == proof.UnverifiedProof(token, "ES256", (LEAF,) * 3, HEX)
    named = _token(x5c=None, **cast("Any", {"x5t#S256": base64url(bytes.fromhex(HEX))}))
    assert proof.parse(named) == proof.UnverifiedProof(named, "ES256", (), HEX)


HEADER = "The header must have typ, alg, and x5c or x5t#S256"
CERTIFICATES = "x5c must be a list of one to three certificates, x5t#S256 a string"


@pytest.mark.parametrize(
    ("header", "detail", "log"),
    [
        ({"typ": "JWT"}, HEADER, "['alg', 'typ', 'x5c']"),
        ({"typ": None}, HEADER, "['alg', 'typ', 'x5c']"),
        ({"x5c": None}, HEADER, "['alg', 'typ']"),
        ({"x5t#S256": "a"}, HEADER, "['alg', 'typ', 'x5c', 'x5t#S256']"),
        ({"x5c": None, "jwk": {}}, CERTIFICATES, CERTIFICATES),
        ({"x5c": []}, CERTIFICATES, CERTIFICATES),
        ({"x5c": CHAINED * 4}, CERTIFICATES, CERTIFICATES),
        ({"x5c": CHAINED[0]}, CERTIFICATES, CERTIFICATES),
        ({"x5c": None, "x5t#S256": 1}, CERTIFICATES, CERTIFICATES),
        ({"x5c": None, "x5t#S256": "AAA"}, None, "the thumbprint has 2 bytes"),
        ({"x5c": None, "x5t#S256": "!"}, None, "Error("),
    ],
)
def test_a_refused_header_is_explained(header: dict[str, Any], detail: str | None, log: str) -> None:
    """A proof with another header is malformed, and the refusal says what is wrong."""
    with pytest.raises(ProofMalformed) as caught:
        proof.parse(_token(**header))
    assert caught.value.detail == (detail or ProofMalformed.title)
    assert caught.value.log == (log if log != "Error(" else caught.value.log)
    assert log in caught.value.log


@pytest.mark.parametrize(
    ("token", "log"),
    [
        ("a" * (proof.MAX_LENGTH + 1), "8193 characters"),
        ("a" * proof.MAX_LENGTH, "DecodeError('Not enough segments')"),
        ("\ud800", "UnicodeEncodeError("),
    ],
    ids=["long", "longest", "surrogate"],
)
def test_a_text_that_is_no_proof_is_malformed(token: str, log: str) -> None:
    """A text above the length limit, or that is no JWS, is malformed."""
    with pytest.raises(ProofMalformed) as caught:
        proof.parse(token)
    assert caught.value.log.startswith(log)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "a" * 90])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    """A proof with another algorithm is malformed; the log has the algorithm's beginning."""
    head = base64url(json.dumps({"alg": algorithm, "typ": proof.TYPE, "x5c": CHAINED}).encode())
    with pytest.raises(ProofMalformed) as caught:
        proof.parse(f"{head}.e30.e30")
    assert caught.value.detail == "alg must be one of ES256, RS256, PS256"
    assert caught.value.log == repr(algorithm)[:80]


@pytest.mark.parametrize(
    ("member", "log"),
    [(1, "a member of x5c is not a string"), ("!", "Error(")],
)
def test_a_member_that_is_no_certificate_is_malformed(member: object, log: str) -> None:
    """A member of x5c that is no base64 text is a malformed certificate."""
    with pytest.raises(CertificateMalformed) as caught:
        proof.parse(_token(x5c=[member]))
    assert caught.value.log.startswith(log)


def test_a_verified_proof_has_its_claims() -> None:
    """A verified proof has its jti, and its nonce or its time."""
    found = proof.verify(proof.parse(_token()), LEAF, CALL)
    assert found == proof.VerifiedProof("j" * 128, None, 1_700_000_000)
    by_nonce = _token({"nonce": "n", "iat": None, "jti": "j"})
    assert proof.verify(proof.parse(by_nonce), LEAF, CALL) == proof.VerifiedProof("j", "n", None)


def test_the_claims_of_other_tokens_are_not_judged() -> None:
    """Claims that PyJWT would judge, such as an end in the past, don't matter in a proof."""
    others = {"aud": "a", "exp": 1, "nbf": 9_000_000_000, "iss": 1, "sub": 1, "iat": 9_000_000_000}
    assert proof.verify(proof.parse(_token(others)), LEAF, CALL).issued_at == 9_000_000_000


STRINGS = "The claims htm, htu, bsh and jti must be strings"
PRINTABLE = "jti must have 1 to 128 printable characters"
FRESH = "The claims must have either nonce (a string) or iat (an integer)"


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"htm": 1}, STRINGS),
        ({"htu": None}, STRINGS),
        ({"bsh": []}, STRINGS),
        ({"jti": 1}, STRINGS),
        ({"jti": ""}, PRINTABLE),
        ({"jti": "j" * 129}, PRINTABLE),
        ({"jti": "a\nb"}, PRINTABLE),
        ({"iat": None}, FRESH),
        ({"nonce": "n"}, FRESH),
        ({"iat": 1.5}, FRESH),
        ({"iat": True}, FRESH),
        ({"iat": None, "nonce": 1}, FRESH),
    ],
)
def test_refused_claims_are_explained(claims: dict[str, Any], detail: str) -> None:
    """A proof with other claims is malformed, and the refusal says which are wrong."""
    with pytest.raises(ProofMalformed) as caught:
        proof.verify(proof.parse(_token(claims)), LEAF, CALL)
    assert caught.value.detail == detail


@pytest.mark.parametrize("call", [Call("GET", CALLED, b"body"), Call("POST", CALLED, b"other")])
def test_another_request_is_refused(call: Call) -> None:
    """A proof for another method or body is refused, and the log has both requests."""
    with pytest.raises(ProofMismatch) as caught:
        proof.verify(proof.parse(_token()), LEAF, call)
    assert caught.value.log == f"'POST' '{CALLED}' is not {call.method} '{CALLED}', or the body differs"


def test_the_log_of_a_mismatch_is_bounded() -> None:
    """The log of a proof for another request has at most 200 characters of each URL."""
    long, method = "https://a.example/" + "a" * 200, "M" * 20
    with pytest.raises(ProofMismatch) as caught:
        proof.verify(proof.parse(_token({"htu": long, "htm": method})), LEAF, Call("POST", long, b""))
    assert (
        caught.value.log == f"'{method[:9]}' '{long[:200]}' is not POST '{long[:200]}', or the body differs"
    )


RSA, P384 = factories.rsa_key(), factories.ec_key(ec.SECP384R1())
SMALL = factories.ec_key(ec.SECP256K1())


@pytest.mark.parametrize(
    ("key", "log"),
    [(RSA, "ES256 with "), (P384, "ES256 with "), (SMALL, "KeyRefused("), (factories.ec_key(), "")],
    ids=["rsa", "p384", "refused", "another"],
)
def test_a_key_must_fit_the_algorithm(key: Any, log: str) -> None:
    """A proof is refused if the certificate's key is another one, or not for the proof's algorithm."""
    other = certificate.parse_text(factories.pem(factories.authority().issue("gw-1", key)))
    with pytest.raises(ProofSignatureInvalid) as caught:
        proof.verify(proof.parse(_token()), other, CALL)
    assert caught.value.log.startswith(log)
    assert bool(caught.value.log) is bool(log)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_an_rsa_key_signs_with_both_paddings(algorithm: str) -> None:
    """A proof may be signed by an RSA key with either padding."""
    leaf = certificate.parse_text(factories.pem(factories.authority().issue("gw-1", RSA)))
    token = _token(None, RSA, algorithm, x5c=[factories.base64_text(leaf.der)])
    assert proof.verify(proof.parse(token), leaf, CALL).jti == "j" * 128


def test_a_payload_that_is_no_object_is_malformed() -> None:
    """A signed proof whose payload is no JSON object is malformed, and the log has the error."""
    token = jwt.PyJWS().encode(b"[]", KEY, algorithm="ES256", headers={"typ": proof.TYPE, "x5c": CHAINED})
    with pytest.raises(ProofMalformed) as caught:
        proof.verify(proof.parse(token), LEAF, CALL)
    assert caught.value.log.startswith("DecodeError(")
