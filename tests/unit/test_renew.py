"""Test which certificates are to be renewed."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from firstboot.exchange.renew import Renew
from firstboot.identity.possession import OverTls
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateUntrusted
from tests import factories
from tests.field.encode import own, underscored

CA, OTHER = (factories.authority("Firstboot CA") for _ in range(2))
LEAF, FOREIGN = (ca.issue("gw-1", factories.ec_key()) for ca in (CA, OTHER))
BOOTSTRAP = {
    "readable": own(FOREIGN),
    "that cryptography can't read": underscored(FOREIGN, OTHER),
}
NOTHING = cast("Any", None)
RENEW = Renew(
    cast("Any", SimpleNamespace(issuer=SimpleNamespace(certificate=CA.certificate))), NOTHING, NOTHING
)


@pytest.mark.parametrize("leaf", BOOTSTRAP.values(), ids=BOOTSTRAP)
def test_only_a_certificate_of_our_ca_renews(leaf: Certificate) -> None:
    """A certificate of another CA asks for no renewal, and would be refused before a record is read."""
    assert RENEW.is_asked(OverTls(own(LEAF)))
    assert not RENEW.is_asked(OverTls(leaf))
    request = cast("Any", SimpleNamespace(device_id=None))
    with pytest.raises(CertificateUntrusted):
        RENEW(OverTls(leaf), request, NOTHING, datetime.now(UTC))
