"""Test requests that a certificate's key has signed. botocore is the judge of their canonical form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.errors import FirstbootError
from firstboot.pki.errors import CertificateMalformed, ProofMalformed, ProofSignatureInvalid
from firstboot.pki.sigv4 import SignedRequest, verify
from tests import factories, signed_requests

NOW = datetime(2026, 11, 28, 12, 0, 5, tzinfo=UTC)
ROOT = factories.authority("Issuing")
P256, P384, RSA = factories.ec_key(), ec.generate_private_key(ec.SECP384R1()), factories.rsa_key()


def sign(
    key: Any = P256,
    *,
    query: str = "",
    body: bytes = b"{}",
    chain: int = 0,
    algorithm: str | None = None,
    **headers: str,
) -> SignedRequest:
    """Sign a request for credentials."""
    sent = signed_requests.sign(
        key,
        ROOT.issue("dev1", key),
        f"https://devices.example.com/sessions{query}",
        body,
        NOW,
        chain=[ROOT.certificate] * chain,
        algorithm=algorithm,
        **headers,
    )
    return SignedRequest("POST", "/sessions", query.removeprefix("?"), sent, body)


@pytest.mark.parametrize("key", [P256, P384, RSA], ids=["P-256", "P-384", "RSA"])
def test_a_signed_request_is_verified(key: Any) -> None:
    """The key of the certificate signs, with each kind of key."""
    found = verify(sign(key, body=json.dumps({"roleArn": "arn:aws:iam::1:role/x"}).encode()))
    assert found.leaf.public_key().public_numbers() == key.public_key().public_numbers()
    assert (found.signed_at, found.host, found.intermediates) == (NOW, "devices.example.com", ())


def test_the_chain_comes_along() -> None:
    """Intermediate certificates of the request are returned."""
    assert [each.fingerprint for each in verify(sign(chain=2)).intermediates] == [
        ROOT.certificate.fingerprint(hashes.SHA256()).hex()
    ] * 2


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), st.text(st.characters(codec="utf-8")))
    ),
    st.binary(max_size=64),
)
def test_botocores_canonical_form_is_ours(pairs: list[tuple[str, str]], body: bytes) -> None:
    """The signature that botocore's canonical form leads to holds for each query and body."""
    query = urlencode(pairs, quote_via=quote)
    verify(sign(query=f"?{query}" if query else "", body=body))


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: replace(asked, body=b"{ }"),
        lambda asked: replace(asked, query="a=2"),
        lambda asked: replace(asked, query=""),
        lambda asked: replace(asked, path="/session"),
        lambda asked: replace(asked, method="PUT"),
        lambda asked: replace(asked, headers={**asked.headers, "host": "other.example.com"}),
        lambda asked: replace(asked, headers={**asked.headers, "x-amz-date": "20261128T120006Z"}),
        lambda asked: replace(asked, headers={**asked.headers, "content-type": "text/plain"}),
        lambda asked: replace(
            asked, headers={**asked.headers, "authorization": asked.headers["authorization"][:-2] + "00"}
        ),
        lambda asked: replace(
            asked,
            headers={**asked.headers, "authorization": asked.headers["authorization"].replace("eu-", "us-")},
        ),
    ],
)
def test_a_changed_request_is_refused(change: Callable[[SignedRequest], SignedRequest]) -> None:
    """Each part of the request is signed."""
    asked = sign(query="?a=1", content_type="application/json")
    verify(asked)
    with pytest.raises(ProofSignatureInvalid):
        verify(change(asked))


def test_another_key_s_signature_is_refused() -> None:
    """The signature must be that of the certificate's key, by the algorithm for its kind."""
    asked, other = sign(), sign(factories.ec_key())
    mixed = {**asked.headers, "authorization": other.headers["authorization"]}
    with pytest.raises(ProofMalformed, match="serial"):
        verify(replace(asked, headers=mixed))
    for key, algorithm in ((P256, "RSA"), (RSA, "ECDSA")):
        with pytest.raises(ProofSignatureInvalid):
            verify(sign(key, algorithm=algorithm))


def test_a_weak_key_signs_nothing() -> None:
    """A certificate of a key that is not taken elsewhere proves nothing here."""
    with pytest.raises(ProofSignatureInvalid):
        verify(sign(ec.generate_private_key(ec.SECP256K1())))


def test_both_forms_of_a_signature_have_one_digest() -> None:
    """An ECDSA signature has a twin that an attacker can compute, and the digest to be spent is the same."""
    asked = sign()
    again = replace(asked, headers=signed_requests.twin(dict(asked.headers)))
    assert verify(again).digest == verify(asked).digest
    assert verify(sign(body=b"[]")).digest != verify(asked).digest


def _with(**changed: str | None) -> dict[str, str]:
    headers = {**sign(chain=1).headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return {name: value for name, value in headers.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (_with(authorization=None), ProofMalformed),
        (_with(authorization="Bearer x"), ProofMalformed),
        (_with(authorization=sign().headers["authorization"].replace("X509-ECDSA", "HMAC")), ProofMalformed),
        (_with(authorization=sign().headers["authorization"]), ProofMalformed),  # the chain is not signed
        (_with(x_amz_date=None), ProofMalformed),
        (_with(x_amz_date="20261128T12000Z"), ProofMalformed),
        (_with(x_amz_date="20261328T120000Z"), ProofMalformed),
        (_with(x_amz_date="20261127T120005Z"), ProofMalformed),  # not the scope's day
        (_with(x_amz_x509=None), ProofMalformed),
        (_with(x_amz_x509="x"), CertificateMalformed),
        (_with(x_amz_x509="AAAA"), CertificateMalformed),
        (_with(host="\ud800"), ProofMalformed),
        (sign(x_amz_security_token="\xe4").headers, ProofMalformed),
    ],
)
def test_what_is_no_signed_request_is_refused(headers: dict[str, str], error: type[FirstbootError]) -> None:
    """A request whose form is wrong is refused with the reason."""
    with pytest.raises(error):
        verify(SignedRequest("POST", "/sessions", "", headers, b"{}"))


def test_a_long_chain_is_refused() -> None:
    """The number of certificates in the chain is bounded."""
    with pytest.raises(ProofMalformed, match="at most"):
        verify(sign(chain=4))


@pytest.mark.parametrize("query", ["\ud800", "a=\xe4"])
def test_a_query_that_is_not_ascii_is_refused(query: str) -> None:
    """A URL has ASCII only."""
    with pytest.raises(ProofMalformed, match="ASCII"):
        verify(replace(sign(), query=query))


def test_the_worked_trace_holds() -> None:
    """The request in docs/protocol-roles-anywhere.md has a valid signature and the digest of the page."""
    page = (Path(__file__).parents[2] / "docs/protocol-roles-anywhere.md").read_text()
    head, _, body = page.partition("```http\n")[2].partition("\n```")[0].partition("\n\n")
    # A line that goes on begins with spaces; in a certificate and a signature nothing replaces the break.
    head = re.sub(r",\n +", ", ", head)
    first, *lines = re.sub(r"\n +", "", head).split("\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert first == "POST /sessions HTTP/1.1"
    found = verify(SignedRequest("POST", "/sessions", "", headers, body.replace("\n", "").encode()))
    assert found.leaf.serial_number == 7041776
    assert f"`{found.digest}`" in page


@given(st.text(), st.text(), st.text(), st.binary())
def test_no_input_breaks_the_parser(authorization: str, date: str, query: str, body: bytes) -> None:
    """Each input is verified or refused with a domain error."""
    headers = {**sign().headers, "authorization": authorization, "x-amz-date": date}
    with pytest.raises(FirstbootError):
        verify(SignedRequest("POST", "/sessions", query, headers, body))
