"""Test the checks that the device makes before it accepts a certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from device import certificates
from device.refusal import Action, Refused
from tests import factories
from tests.factories import pem
from tests.field import encode

NOW = datetime(2026, 11, 22, 10, 39, 39, tzinfo=UTC)
CA = factories.authority("Issuing")
KEY = factories.ec_key()
LEAF = CA.issue("dev1", KEY, not_before=NOW - timedelta(minutes=5))


def check(*chain: x509.Certificate, **changes: Any) -> None:
    """Check a chain against correct expectations, with `changes` to them."""
    good: dict[str, Any] = {
        "device_id": "dev1",
        "certificate_id": chain[0].fingerprint(hashes.SHA256()).hex(),
        "moment": NOW,
    }
    certificates.check("".join(map(pem, chain)).encode(), factories.key_pem(KEY).encode(), **(good | changes))


def test_the_requested_certificate_is_accepted() -> None:
    """A certificate with the right key, name, id, issuer and time is accepted."""
    check(LEAF, CA.certificate)


def test_only_the_service_s_clock_counts() -> None:
    """A certificate's validity is judged by the service's time and not by the device's clock."""
    leaf = CA.issue("dev1", KEY, not_before=datetime(2001, 1, 1, tzinfo=UTC), days=1)
    check(leaf, CA.certificate, moment=datetime(2001, 1, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(("earlier", "is_due"), [(1, False), (60, False), (61, True)])
def test_a_certificate_that_ends_with_its_ca_is_not_due(earlier: int, *, is_due: bool) -> None:
    """A certificate that ends within a minute before its CA is not due for renewal, however old it is."""
    start, end = CA.certificate.not_valid_before_utc, CA.certificate.not_valid_after_utc
    days = (end - start - timedelta(seconds=earlier)) / timedelta(days=1)
    leaf = CA.issue("dev1", KEY, not_before=start, days=days)
    chain = (pem(leaf) + pem(CA.certificate)).encode()
    assert certificates.due(chain, end - timedelta(hours=1)) == is_due
    assert certificates.due(pem(leaf).encode(), end - timedelta(hours=1))


@dataclass(frozen=True)
class Bad:
    """A chain to be refused, and the reason."""

    why: str
    chain: list[x509.Certificate]
    changes: dict[str, Any]


def _unreadable_subject(fields: list[bytes]) -> list[bytes]:
    """Make the common name a UTF8String that is not UTF-8."""
    fields[encode.SUBJECT] = fields[encode.SUBJECT].replace(b"dev1", b"dev\xff")
    return fields


def _subject_of_bits(fields: list[bytes]) -> list[bytes]:
    """Make the common name a BIT STRING."""
    fields[encode.SUBJECT] = fields[encode.SUBJECT].replace(b"\x0c\x04dev1", b"\x03\x04\x00ev1")
    return fields


def _unknown_key(fields: list[bytes]) -> list[bytes]:
    """Make the public key one of an unknown kind."""
    kind = encode.oid("1.2.840.10045.2.1")
    fields[encode.KEY] = fields[encode.KEY].replace(kind, encode.oid("1.2.840.10045.2.65"))
    return fields


def _odd(original: x509.Certificate, change: encode.Change) -> x509.Certificate:
    return x509.load_der_x509_certificate(encode.resigned(original, CA.key, change))


IMPOSTOR = factories.authority("Issuing")
CASES = [
    Bad("not two certificates", [LEAF], {}),
    Bad("not two certificates", [LEAF, CA.certificate, CA.certificate], {}),
    Bad("not two certificates", [_odd(LEAF, _unreadable_subject), CA.certificate], {}),
    Bad("not two certificates", [_odd(LEAF, _subject_of_bits), CA.certificate], {}),
    Bad("not issued by the CA", [LEAF, _odd(CA.certificate, _unknown_key)], {}),
    Bad("another key", [CA.issue("dev1", factories.ec_key(), not_before=NOW), CA.certificate], {}),
    Bad("another device", [CA.issue("dev2", KEY, not_before=NOW), CA.certificate], {}),
    Bad("another device", [LEAF, CA.certificate], {"device_id": "dev2"}),
    Bad("not the one announced", [LEAF, CA.certificate], {"certificate_id": "00" * 32}),
    Bad("not valid now", [LEAF, CA.certificate], {"moment": NOW - timedelta(days=1)}),
    Bad("not valid now", [LEAF, CA.certificate], {"moment": NOW + timedelta(days=400)}),
    Bad("not issued by the CA", [LEAF, IMPOSTOR.certificate], {}),
    Bad("not issued by the CA", [LEAF, factories.authority("Other", factories.rsa_key()).certificate], {}),
]


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.why)
def test_another_certificate_is_refused(bad: Bad) -> None:
    """Each check that fails on its own stops the device."""
    with pytest.raises(Refused, match=bad.why) as caught:
        check(*bad.chain, **bad.changes)
    assert caught.value.action is Action.STOP


def test_a_csr_is_signed_by_the_key_and_has_no_subject() -> None:
    """A CSR is signed by the device's key, and its subject is empty because the service decides the name."""
    request = x509.load_pem_x509_csr(certificates.csr(factories.key_pem(KEY).encode()).encode())
    assert request.is_signature_valid
    assert request.public_key() == KEY.public_key()
    assert list(request.subject) == []


def test_keys_are_p256_and_fresh() -> None:
    """Each new key is on P-256, and no two are equal."""
    first, second = certificates.new_key(), certificates.new_key()
    assert first != second
    assert isinstance(certificates._private_key(first).curve, ec.SECP256R1)


def test_a_version_that_does_not_exist_is_refused() -> None:
    """A certificate of an unknown version of X.509 stops the device, however it is delivered."""

    def version_9(fields: list[bytes]) -> list[bytes]:
        return [encode.tlv(0xA0, b"\x02\x01\x08"), *fields[encode.SERIAL :]]

    der = encode.resigned(LEAF, CA.key, version_9)
    chain = ssl.DER_cert_to_PEM_cert(der) + pem(CA.certificate)
    with pytest.raises(Refused, match="not two certificates"):
        certificates.check(
            chain.encode(), factories.key_pem(KEY).encode(), device_id="dev1", certificate_id="", moment=NOW
        )
    with pytest.raises(ValueError, match="unknown version"):
        certificates.pem([der])
