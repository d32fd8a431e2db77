"""Certificates as AWS IoT knows them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

CertificateStatus = Literal["ACTIVE", "INACTIVE", "REVOKED"]
"""The statuses that Firstboot gives certificates in AWS IoT. AWS IoT has more of them."""


class ThingOwner(Enum):
    """The owner of a thing. A thing is OURS if it has our thing type or its device was imported."""

    OURS = "ours"
    ANOTHER = "another"


AGAIN_SECONDS = 5
"""When to ask AWS IoT again to delete what it still sees attached to something."""


@dataclass(frozen=True)
class BrokerCertificate:
    """A certificate as AWS IoT knows it.

    `status` has any value that AWS IoT may return (API reference, CertificateDescription). `pem` holds the
    certificate alone, without its issuers.
    """

    certificate_id: str
    arn: str
    status: str
    pem: str
