"""The URL in a signed proof is compared with the request's after normalisation, and no further."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import jwt
import pytest

from firstboot.pki import certificate, proof
from firstboot.pki.errors import ProofMismatch
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
