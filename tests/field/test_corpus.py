"""Certificates and CSRs of real encoders are accepted or refused as cases.json says."""

from __future__ import annotations

import base64
import hashlib

import pytest

from firstboot.domain.errors import CertificateExpired, FirstbootError
from firstboot.identity.errors import BootstrapExpired
from firstboot.pki import bootstrap, csr
from tests.field.corpus import Case, cases

CHAINS, CSRS = cases("chain"), cases("csr")


def test_the_corpus_is_whole() -> None:
    """The corpus has 65 chains and 49 CSRs, each with a name of its own."""
    assert len({str(case) for case in CHAINS if case.folder == CHAINS[0].folder}) == 65
    assert len({str(case) for case in CSRS if case.folder == CSRS[0].folder}) == 49


@pytest.mark.parametrize("case", CHAINS, ids=str)
def test_a_chain(case: Case) -> None:
    """A bootstrap certificate from the field is accepted, or refused with a code that fits."""
    if case.is_good:
        assert verified(case) == case.anchor().der
        return
    with pytest.raises(FirstbootError) as refused:
        verified(case)
    assert code(refused.value) in case.codes
    assert refused.value.detail


def verified(case: Case) -> bytes:
    """Return the anchor's DER. Raises FirstbootError."""
    return bootstrap.verify(case.leaf(), [case.anchor()], case.at, case.intermediates())[-1].der


def code(error: FirstbootError) -> str:
    """Return the code that a device sees: a bootstrap certificate's end has a code of its own."""
    return BootstrapExpired.code if isinstance(error, CertificateExpired) else error.code


def check_csr(case: Case, text: str) -> None:
    """Check that a CSR gives its key, or is refused with a code that fits."""
    if case.is_good:
        assert csr.verify(csr.parse(text)).spki == case.case["spki"]
        return
    with pytest.raises(FirstbootError) as refused:
        csr.verify(csr.parse(text))
    assert refused.value.code in case.codes


@pytest.mark.parametrize("case", CSRS, ids=str)
def test_a_csr(case: Case) -> None:
    """A CSR from the field gives its key, or is refused with a code that fits."""
    check_csr(case, base64.b64encode(case.read("der")).decode())


@pytest.mark.parametrize("case", [case for case in CSRS if "pem" in case.case["files"]], ids=str)
def test_a_csr_as_text(case: Case) -> None:
    """The text form of a CSR is read as its DER is."""
    check_csr(case, case.read("pem").decode())


@pytest.mark.parametrize("case", CHAINS, ids=str)
def test_a_fingerprint_is_that_of_the_bytes(case: Case) -> None:
    """A certificate that can be read keeps the bytes it was read from."""
    try:
        leaf = case.leaf()
    except FirstbootError:
        assert not case.is_good
    else:
        assert leaf.fingerprint == hashlib.sha256(case.read("leaf")).hexdigest()
