"""The device's own reader of certificates."""

from __future__ import annotations

import ssl

import pytest

from device import form
from firstboot.pki.certificate import COMMON_NAME
from tests.field import corpus

CHAINS = [case for case in corpus.cases("chain") if case.is_good]


def pem(der: bytes) -> bytes:
    """Return a certificate as a file has it."""
    return ssl.DER_cert_to_PEM_cert(der).encode()


@pytest.mark.parametrize("case", CHAINS, ids=str)
def test_the_device_reads_what_the_service_reads(case: corpus.Case) -> None:
    """The device finds the same fields as the service in each good certificate of the field."""
    (found,), leaf = form.chain(pem(case.read("leaf"))), case.leaf()
    assert (found.der, found.spki, found.not_after) == (leaf.der, leaf.spki.encoded, leaf.not_after)
    if names := leaf.subject.values(COMMON_NAME):
        assert found.common_name() == names[0]
    else:
        with pytest.raises(ValueError, match="no common name"):
            found.common_name()


def test_a_cut_certificate_is_refused() -> None:
    """A certificate that ends early is an error at each length."""
    der = CHAINS[0].read("leaf")
    for length in range(len(der)):
        with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
            form.chain(pem(der[:length]))


@pytest.mark.parametrize("file", [b"", b"\0", b"-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"])
def test_a_file_without_a_certificate_is_refused(file: bytes) -> None:
    """A file that has no certificate is an error."""
    with pytest.raises(ValueError):  # noqa: PT011 - the messages differ
        form.chain(file)


def test_all_certificates_of_a_file_are_read() -> None:
    """Certificates are read in the order of the file, with other text between them."""
    ders = [case.read("leaf") for case in CHAINS[:3]]
    assert [each.der for each in form.chain(b"text\n".join(map(pem, ders)))] == ders
