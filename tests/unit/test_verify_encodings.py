"""The walk's unusual certificates have the encodings that their names say, and valid signatures."""

from __future__ import annotations

import pytest
from cryptography import x509

from firstboot.pki import certificate, der, path
from tests import factories
from tests.field.encode import own
from verify import encodings
from verify.encodings import VALIDITY

EC = factories.authority("EC factory")
RSA = factories.authority("RSA factory", key=factories.rsa_key())
LEAF = {ca: ca.issue("gw-1", factories.ec_key()) for ca in (EC, RSA)}
FORMS = [encodings.version_1, encodings.generalized_time, encodings.null_parameters]


@pytest.mark.parametrize("ca", [EC, RSA], ids=["EC", "RSA"])
@pytest.mark.parametrize("encode", FORMS)
def test_the_factory_has_signed_it(encode: encodings.Encode, ca: factories.Authority) -> None:
    """A certificate in another encoding is issued by its CA, and is for the same name."""
    made = certificate.parse(encode(LEAF[ca], ca.key))
    assert path.issued_by(made, own(ca.certificate))
    assert made.subject.values(certificate.COMMON_NAME) == ["gw-1"]


def test_version_1_has_no_extensions() -> None:
    """A certificate of X.509 v1 has neither a version nor extensions."""
    made = x509.load_der_x509_certificate(encodings.version_1(LEAF[EC], EC.key))
    assert made.version is x509.Version.v1
    assert len(made.extensions) == 0


def test_dates_are_generalized_time() -> None:
    """Both dates are GeneralizedTime, and are the dates of the original."""
    made = encodings.generalized_time(LEAF[EC], EC.key)
    dates = der.read(made).children[0].children[VALIDITY].children
    assert [each.tag for each in dates] == [der.GENERALIZED_TIME] * 2
    period = LEAF[EC].not_valid_before_utc, LEAF[EC].not_valid_after_utc
    assert tuple(each.time() for each in dates) == period


def test_ecdsa_has_null_as_its_parameters() -> None:
    """The algorithm of a signature by ECDSA has NULL as its parameters, in both places."""
    whole = der.read(encodings.null_parameters(LEAF[EC], EC.key))
    algorithms = whole.children[1], whole.children[0].children[encodings.ALGORITHM]
    assert [each.children[1].encoded for each in algorithms] == [b"\x05\x00"] * 2
    usual = der.read(encodings.generalized_time(LEAF[EC], EC.key)).children[1]
    assert len(usual.children) == 1
