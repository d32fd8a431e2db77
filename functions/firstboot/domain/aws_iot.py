"""Certificates as AWS IoT knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CertificateStatus = Literal["ACTIVE", "INACTIVE", "REVOKED"]
"""A certificate's status in AWS IoT, as far as we set it."""


@dataclass(frozen=True)
class BrokerCertificate:
    """A certificate as AWS IoT knows it. `status` is AWS IoT's own word, `pem` without its issuers."""

    certificate_id: str
    arn: str
    status: str
    pem: str
