"""What the authority Lambda functions do for CloudFormation and the daily schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509

from firstboot.authority.authority import Authority, pem, trust_anchors
from firstboot.domain.errors import FirstbootError
from firstboot.domain.fleet import Fleet
from firstboot.pki import chain
from firstboot.runtime.guard import Guard

# Never changed: CloudFormation deletes a resource that gets another id.
PHYSICAL_ID = "authority"


class DeploymentRefused(Exception):
    """Why a deployment fails, in words: CloudFormation shows the message and no type."""


def refuse_deployment(error: FirstbootError, _: Guard) -> None:
    """Fail the deployment with a reason that its deployer can read."""
    raise DeploymentRefused(f"{error.title}: {error.log or error.code}") from error


class Truststore(Protocol):
    """The truststore of the mTLS host."""

    def put_truststore(self, pem: bytes) -> str:
        """Store the truststore if it differs; return the S3 version that holds it. Raises Unavailable."""


@dataclass(frozen=True)
class Resource:
    """Handle the custom resource's events, which CDK's provider framework sends.

    `authority` and `mqtt_host` are called only when the resource is made or updated.
    """

    authority: Callable[[], Authority]
    truststore: Truststore
    fleet: Fleet
    mqtt_host: Callable[[], str]
    guard: Guard

    def __call__(self, event: dict[str, Any], _: Any, now: datetime) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context
        """Make the CA, or find it, and bring the truststore up to date with the deployed fleet.

        Returns the attributes CaCertificate (PEM), TruststoreVersion and MqttHost. Delete does
        nothing: devices trust this CA for years, and its key, certificate and bucket are retained.
        Raises AuthorityError, Unavailable.
        """
        if event["RequestType"] == "Delete":
            return {"PhysicalResourceId": event["PhysicalResourceId"]}
        ca = self.authority()(now)
        anchors = trust_anchors(self.fleet)
        chain.check_anchors(anchors, ca)
        count_days(ca, now, self.guard)
        truststore = "".join([*(anchor.pem for anchor in anchors), pem(ca)]).encode()
        data = {
            "CaCertificate": pem(ca),
            "TruststoreVersion": self.truststore.put_truststore(truststore),
            "MqttHost": self.mqtt_host(),
        }
        return {"PhysicalResourceId": PHYSICAL_ID, "Data": data}


@dataclass(frozen=True)
class Watch:
    """Report daily how long the CA is still valid."""

    ca: x509.Certificate
    guard: Guard

    def __call__(self, _: object, __: Any, now: datetime) -> None:  # noqa: ANN401 - Lambda's context
        """Write the metric behind the alarm."""
        count_days(self.ca, now, self.guard)


def count_days(ca: x509.Certificate, now: datetime, guard: Guard) -> None:
    """Write the days for which the CA is still valid as a metric."""
    guard.count("CaDaysLeft", (ca.not_valid_after_utc - now).days)
