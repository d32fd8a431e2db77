"""Each refusal of a certificate or CSR names its cause, for a program and for a person."""

from __future__ import annotations

import pytest

from firstboot.domain.errors import FirstbootError, Reason
from firstboot.pki import bootstrap, csr
from tests.field.corpus import HERE, Case, cases

_CERTIFICATES = {
    Reason.CERTIFICATE_ENCODING: [
        "ber-indefinite-length", "duplicate-extension", "generalizedtime-fraction", "negative-serial",
        "null-outer-only", "trailing-byte", "two-glued",
    ],
    Reason.CERTIFICATE_ALGORITHM: ["md5-signature", "sha1-signature"],
    Reason.CERTIFICATE_KEY: ["p224", "rsa-1024", "secp256k1"],
    Reason.CERTIFICATE_USAGE: [
        "ca-as-leaf", "ca-as-leaf-true-01", "no-digital-signature", "server-auth-only",
    ],
    Reason.CERTIFICATE_DATES: ["expired", "expired-generalizedtime", "not-yet-valid-generalizedtime"],
    Reason.CERTIFICATE_PATH: [
        "device-as-issuer", "intermediate-not-ca", "intermediate-without-key-cert-sign",
        "issuer-name-near-miss", "self-signed-with-ca-name",
    ],
    Reason.CERTIFICATE_SIGNATURE: [
        "forged-signature", "null-forged", "tampered-subject", "teletex-tampered", "wrong-key",
    ],
    Reason.CERTIFICATE_CONSTRAINT: [
        "name-constraint-directory-violated", "name-constraint-dns-violated", "path-too-long",
        "unknown-critical", "unknown-critical-01",
    ],
}  # fmt: skip
_CSRS = {
    Reason.CSR_ENCODING: ["ber-indefinite-length", "certificate-instead", "trailing-byte", "two-glued"],
    Reason.CSR_ALGORITHM: ["md5-rsa", "sha1-rsa"],
    Reason.CSR_KEY: ["ed25519", "explicit-parameters-own-generator", "p224", "rsa-1024", "secp256k1"],
    Reason.CSR_SIGNATURE: [
        "attributes-removed", "hash-mismatch", "no-attributes-forged", "null-forged", "signature-raw-rs",
        "signature-zero", "swapped-key", "tampered-subject", "underscore-forged",
        "version-changed-after-signing", "wrong-key",
    ],
}  # fmt: skip
_NAMED = {
    "expired": "2025-12-31T23:59:59Z",
    "name-constraint-directory-violated": "name constraints",
    "path-too-long": "pathLenConstraint",
    "rsa-1024": "1024 bits",
    "server-auth-only": "extendedKeyUsage",
    "sha1-signature": "SHA-1",
    "sha1-rsa": "SHA-1",
    "issuer-name-near-miss": "Kestrel Factory CA 11",
    "unknown-critical": "1.3.6.1.4.1.99999.7.1",
    "wrong-key": "signed by the key",
}
"""Words of the detail: the date, the field or the extension that is to be corrected."""


def bad(kind: str) -> list[Case]:
    """Return the cases of this folder that are to be refused."""
    return [case for case in cases(kind) if not case.is_good and case.folder == HERE]


def refusal(case: Case) -> FirstbootError:
    """Return the refusal of a case."""
    with pytest.raises(FirstbootError) as refused:
        verify(case)
    return refused.value


def verify(case: Case) -> None:
    """Verify a case."""
    if case.case["kind"] == "csr":
        csr.verify(csr.parse_der(case.read("der")))
    else:
        bootstrap.verify(case.leaf(), [case.anchor()], case.at, case.intermediates())


@pytest.mark.parametrize("case", [*bad("chain"), *bad("csr")], ids=str)
def test_a_refusal_has_its_reason(case: Case) -> None:
    """A refused case has the reason that its flaw stands for, and a detail."""
    expected = _CSRS if case.case["kind"] == "csr" else _CERTIFICATES
    error = refusal(case)
    assert str(case) in expected[error.reason or Reason.CERTIFICATE_NAME]
    assert error.detail


@pytest.mark.parametrize("name", _NAMED)
def test_a_detail_names_what_to_correct(name: str) -> None:
    """The detail of a refusal names the date, the field, the extension or the issuer that is wrong."""
    details = [refusal(case).detail for case in (*bad("chain"), *bad("csr")) if str(case) == name]
    assert any(_NAMED[name] in detail for detail in details), details
