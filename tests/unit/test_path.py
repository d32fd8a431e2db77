"""Test what the search for a path says when it finds none."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from OpenSSL import crypto

from firstboot.domain.errors import Reason
from firstboot.pki import path
from firstboot.pki.certificate import Certificate
from tests import factories
from tests.field import encode
from tests.field.encode import own
from tests.field.test_more_chains import without_key_identifiers

NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
ROOT = factories.authority("Root")
LINE = ROOT.intermediate("Line")
KEY = factories.ec_key()
LEAF = LINE.issue("gw-1", KEY)
OTHER_ROOT = factories.authority("Root")
OLD = ROOT.intermediate("Old", not_before=NOW - timedelta(days=9), days=1)
SHORT = ROOT.intermediate("Short", path_length=0)
BELOW = SHORT.intermediate("Below")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
ODD = LINE.issue("gw-1", KEY, extra=[(UNKNOWN, True)])
NAMELESS = x509.load_der_x509_certificate(
    encode.resigned(ODD, LINE.key, lambda fields: [*fields[:5], encode.tlv(0x30), *fields[6:]])
)
WRONG_IDENTIFIER = factories.Authority(
    x509.load_der_x509_certificate(
        encode.resigned(
            LINE.certificate,
            ROOT.key,
            lambda fields: [
                *fields[: encode.EXTENSIONS],
                fields[encode.EXTENSIONS].replace(
                    x509.SubjectKeyIdentifier.from_public_key(ROOT.key.public_key()).digest, bytes(20)
                ),
            ],
        )
    ),
    LINE.key,
)


def find(
    leaf: x509.Certificate, anchor: factories.Authority, *others: factories.Authority
) -> list[Certificate]:
    """Search a path to one anchor."""
    return path.find(own(leaf), [own(anchor.certificate)], [own(each.certificate) for each in others], NOW)


def test_a_path_has_both_ends() -> None:
    """A path begins with the leaf and ends with the anchor, which may be an intermediate CA."""
    assert find(LEAF, ROOT, LINE) == [own(LEAF), own(LINE.certificate), own(ROOT.certificate)]
    assert find(LEAF, LINE) == [own(LEAF), own(LINE.certificate)]


NO_CA = factories.Authority(ROOT.issue("Line", KEY), KEY)
CASES = [
    (
        (NO_CA.issue("gw-1", factories.ec_key()), ROOT, NO_CA),
        Reason.CERTIFICATE_CONSTRAINT,
        "CN=Line invalid CA certificate",
    ),
    (
        (LEAF, ROOT),
        Reason.CERTIFICATE_PATH,
        "CN=gw-1 has the issuer CN=Line. No trust anchor and no CA certificate sent with it has that name",
    ),
    (
        (LINE.certificate, OTHER_ROOT),
        Reason.CERTIFICATE_SIGNATURE,
        "CN=Line is not signed by the key of any CN=Root known here",
    ),
    (
        (LEAF, ROOT, WRONG_IDENTIFIER),
        Reason.CERTIFICATE_PATH,
        "CN=Line is signed by CN=Root, but its authorityKeyIdentifier names another certificate",
    ),
    (
        (OLD.issue("gw-1", KEY), ROOT, OLD),
        Reason.CERTIFICATE_DATES,
        (
            f"CN=Old is valid from {NOW - timedelta(days=9):%Y-%m-%dT%H:%M:%SZ}"
            f" to {NOW - timedelta(days=8):%Y-%m-%dT%H:%M:%SZ}"
        ),
    ),
    (
        (BELOW.issue("gw-1", KEY), ROOT, SHORT, BELOW),
        Reason.CERTIFICATE_CONSTRAINT,
        "CN=Short allows fewer CAs below it on a path (pathLenConstraint)",
    ),
    (
        (ODD, ROOT, LINE),
        Reason.CERTIFICATE_CONSTRAINT,
        "CN=gw-1 has a critical extension that is not known; critical are 2.5.29.19, 2.5.29.15, 1.2.3.4",
    ),
    (
        (NAMELESS, ROOT, LINE),
        Reason.CERTIFICATE_CONSTRAINT,
        (
            "A certificate without a subject has a critical extension that is not known; critical are"
            " 2.5.29.19, 2.5.29.15, 1.2.3.4"
        ),
    ),
    (
        (OTHER_ROOT.certificate, LINE),
        Reason.CERTIFICATE_PATH,
        "CN=Root is self-signed, and is no trust anchor",
    ),
]


@pytest.mark.parametrize(("given", "reason", "text"), CASES, ids=[f"case-{n}" for n in range(len(CASES))])
def test_a_missing_path_is_explained(given: tuple[object, ...], reason: Reason, text: str) -> None:
    """A search that finds no path says which certificate it fails at, and for which reason."""
    with pytest.raises(path.NoPath) as caught:
        find(*given)  # type: ignore[arg-type]
    assert (str(caught.value), caught.value.reason) == (text, reason)


def test_the_failing_certificate_is_named() -> None:
    """A search that finds no path has the certificate that it fails at."""
    with pytest.raises(path.NoPath) as caught:
        find(OLD.issue("gw-1", KEY), ROOT, OLD)
    assert caught.value.certificate == own(OLD.certificate)


def _tower(levels: int) -> tuple[list[Certificate], Certificate]:
    """Return a CA below a CA and so on, each with a namesake that signed nothing, and a leaf below them."""
    found: list[Certificate] = []
    above = ROOT
    for level in range(levels):
        name = f"Level {level}"
        decoy = above.issue(name, factories.ec_key(), ca=True)
        below = above.intermediate(name)
        found += [encode.changed(each, above, without_key_identifiers) for each in (decoy, below.certificate)]
        above = below
    return found, encode.changed(above.issue("gw-1", KEY), above, without_key_identifiers)


def test_the_search_is_bounded() -> None:
    """A search leaves out the namesakes of a CA that did not sign, and ends after eight tries."""
    intermediates, leaf = _tower(path.MAX_TRIES - 1)
    found = path.find(leaf, [own(ROOT.certificate)], intermediates, NOW)
    assert found == [leaf, *intermediates[::-2], own(ROOT.certificate)]
    intermediates, leaf = _tower(path.MAX_TRIES)
    with pytest.raises(path.NoPath) as caught:
        path.find(leaf, [own(ROOT.certificate)], intermediates, NOW)
    assert str(caught.value) == "CN=gw-1 has no path within 8 searches"
    assert (caught.value.reason, caught.value.certificate) == (Reason.CERTIFICATE_PATH, leaf)


def test_who_signed() -> None:
    """A certificate was signed by a key, and issued by a CA if the names agree as well."""
    line, root = own(LINE.certificate), own(ROOT.certificate)
    assert path.signed_by(line, root)
    assert path.issued_by(line, root)
    assert not path.signed_by(line, own(OTHER_ROOT.certificate))
    renamed = factories.authority("Another", ROOT.key)
    assert path.signed_by(line, own(renamed.certificate))
    assert not path.issued_by(line, own(renamed.certificate))
    assert not path.issued_by(line, own(OTHER_ROOT.certificate))
    weak = factories.authority("Root", factories.rsa_key(1024))
    assert not path.signed_by(own(weak.certificate), own(weak.certificate))


def test_what_openssl_reads() -> None:
    """A certificate is readable if OpenSSL reads it as well."""
    assert path.is_readable(own(LEAF))


def test_a_sender_s_certificate_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """An anchor is loaded once, and the certificate of a request is gone after the request."""
    loaded: list[weakref.ref[crypto.X509]] = []
    load = crypto.load_certificate

    def noted(kind: int, encoded: bytes) -> crypto.X509:
        made = load(kind, encoded)
        loaded.append(weakref.ref(made))
        return made

    monkeypatch.setattr(crypto, "load_certificate", noted)
    root = factories.authority("Noted root")
    anchor = own(root.certificate)
    for number in range(3):
        path.find(own(root.issue(f"gw-{number}", KEY)), [anchor], [], NOW)
    gc.collect()
    assert len(loaded) == 4
    assert sum(each() is not None for each in loaded) == 1
