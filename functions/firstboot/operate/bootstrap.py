"""The operator's call that revokes a bootstrap certificate.

1. The certificate is no CA's. Revoking an anchor here would stop nothing.
2. A row refuses the certificate, in each of its forms, at every enrollment and at JITR.
3. Each form that AWS IoT knows becomes REVOKED there. JITR refuses a form that comes later, by the row.

The row is written first, because it stops the certificate wherever it comes next. Devices that the
certificate has enrolled keep their operational certificates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.clock import whole_seconds
from firstboot.domain.errors import Unavailable
from firstboot.operate.audit import Audit
from firstboot.operate.requests import RevokeBootstrap
from firstboot.pki import bootstrap, forms
from firstboot.pki.certificate import Certificate, parse_text
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed, CertificateUsageWrong
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The rows about bootstrap certificates."""

    def revoke_bootstrap(self, identifier: str, now: datetime) -> None:
        """Refuse a bootstrap certificate for good. A repeat changes nothing. Raises Unavailable."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method raises Unavailable when AWS does not answer."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""

    def set_status(self, certificate: BrokerCertificate, status: Literal["REVOKED"]) -> None:
        """Set the certificate's status. A repeat changes nothing."""


@dataclass(frozen=True)
class BootstrapRevocation:
    """The use case that revokes a bootstrap certificate for good."""

    records: Records
    certificates: Certificates
    audit: Audit

    def __call__(self, parameters: RevokeBootstrap, now: datetime) -> Json:
        """Revoke a bootstrap certificate, and return the outcome for each of its forms in AWS IoT.

        `unavailable` means that AWS IoT did not answer, so the call must be repeated. A repeat is safe.
        Raises CertificateMalformed, CertificateUsageWrong, and Unavailable if nothing was written.
        """
        leaf = parse_text(parameters.certificate)
        _check_no_ca(leaf)  # 1
        self.records.revoke_bootstrap(leaf.identifier, whole_seconds(now))  # 2
        self.audit("BootstrapRevoked", bootstrap=leaf.identifier)
        outcomes = {each: self._revoke(each) for each in sorted(forms.ids(leaf))}  # 3
        return {"identifier": leaf.identifier, "awsIot": outcomes}

    def _revoke(self, certificate_id: str) -> Literal["revoked", "not-registered", "unavailable"]:
        try:
            certificate = self.certificates.find(certificate_id)
            if certificate is None:
                return "not-registered"
            self.certificates.set_status(certificate, "REVOKED")
        except Unavailable:
            return "unavailable"
        return "revoked"


def _check_no_ca(leaf: Certificate) -> None:
    try:
        is_ca = bootstrap.is_ca(leaf)
    except NotDer as error:
        raise CertificateMalformed(f"basicConstraints is not in DER: {error}") from error
    if is_ca:
        raise CertificateUsageWrong("The certificate is a CA's. Remove a trust anchor from the fleet instead")
