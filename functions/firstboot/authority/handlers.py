"""The handlers of the authority Lambda functions, for CloudFormation and the hourly schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509

from firstboot.authority.authority import Authority, pem, trust_anchors
from firstboot.authority.watched_key import Found, LookAtKey
from firstboot.domain.errors import FirstbootError, Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.publication import TOMBSTONE, Publication, Unreadable
from firstboot.pki.anchors import check_anchors
from firstboot.runtime.guard import Guard

# They must never change: CloudFormation deletes a resource whose id changes.
PHYSICAL_ID = "authority"
PUBLICATION_ID = "publication"

PUBLICATION = "Custom::FirstbootPublication"
"""The type of the custom resource that stands for the publication of a fleet."""

_ATTEMPTS = 3
"""How often a publication may change while it is retired, before the deployment fails."""


class DeploymentRefused(Exception):
    """A reason for a failed deployment. CloudFormation shows an exception's message only, not its type."""


def refuse_deployment(error: FirstbootError, _: Guard) -> None:
    """Fail the deployment with a reason that its deployer can read."""
    raise DeploymentRefused(f"{error.title}: {error.log or error.code}") from error


class Truststore(Protocol):
    """The truststore of the mTLS host."""

    def put_truststore(self, pem: bytes) -> str:
        """Store the truststore (PEM) if it differs, and return the S3 version that holds it.

        Raises Unavailable.
        """


class Secrets(Protocol):
    """The keys of the nonces in signed proofs and of one-time passwords."""

    def make_nonce_key(self) -> None:
        """Make the key of nonces unless there is one. Raises Unavailable."""

    def make_password_key(self) -> None:
        """Make the key of one-time passwords unless there is one. Raises Unavailable."""


@dataclass(frozen=True)
class Resource:
    """The handler of the custom resource's events, which CDK's provider framework sends.

    `authority` and `mqtt_host` are functions because a Delete event needs neither.
    """

    authority: Callable[[], Authority]
    truststore: Truststore
    secrets: Secrets
    fleet: Fleet
    mqtt_host: Callable[[], str]
    guard: Guard

    def __call__(self, event: dict[str, Any], _: Any, now: datetime) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context
        """Make or find the CA and the secrets, and bring the truststore up to date with the fleet.

        Return the attributes CaCertificate (PEM), TruststoreVersion and MqttHost. CloudFormation may repeat
        an event; the repeat changes nothing. Raises AuthorityError, Unavailable.
        """
        if event["RequestType"] == "Delete":
            # Delete removes nothing. Devices trust this CA for years, and its key, its certificate and the
            # bucket are retained.
            return {"PhysicalResourceId": event["PhysicalResourceId"]}
        ca = self.authority()(now)
        self.secrets.make_nonce_key()
        self.secrets.make_password_key()
        anchors = trust_anchors(self.fleet)
        # The compiler does not know the CA. An anchor that is the CA, or above or below it, could vouch for
        # operational certificates.
        check_anchors(anchors, ca)
        count_days(ca, now, self.guard)
        # The gateway must accept bootstrap certificates, under an anchor, and operational ones, under the CA.
        truststore = "".join([*(anchor.pem for anchor in anchors), pem(ca)]).encode()
        data = {
            "CaCertificate": pem(ca),
            "TruststoreVersion": self.truststore.put_truststore(truststore),
            "MqttHost": self.mqtt_host(),
        }
        return {"PhysicalResourceId": PHYSICAL_ID, "Data": data}


class Published(Protocol):
    """The published object. Every method raises Unavailable."""

    def read(self) -> Publication | None:
        """Return the published object, or None without one."""

    def write(self, text: bytes, over: Publication | None) -> bool:
        """Store `text` if the object is still as it was read (`over`); return whether it was."""


@dataclass(frozen=True)
class Retire:
    """The handler of the custom resource's events that stands for the publication of a fleet.

    CloudFormation sends an event when another fleet is deployed, as the last step of the deployment.
    """

    published: Published
    guard: Guard

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        """End the publication unless it builds on the fleet that is deployed now.

        Until then the functions only ignore it, so a deployment that fails leaves it in force. From then on
        it stays over, also if the fleet that it builds on is deployed again. A repeat changes nothing. Raises
        Unavailable.
        """
        if event["RequestType"] != "Delete":  # the bucket and its objects are retained
            deployed, is_update = event["ResourceProperties"]["FleetHash"], event["RequestType"] == "Update"
            if not any(self._is_settled(deployed, is_update=is_update) for _ in range(_ATTEMPTS)):
                raise Unavailable(log="fleets were published at the same time; deploy again")
        return {"PhysicalResourceId": PUBLICATION_ID}

    def _is_settled(self, deployed: str, *, is_update: bool) -> bool:
        """Try once to end the publication; return False if it changed in the meantime."""
        read = self.published.read()
        if read is None or not _is_over(read, deployed, is_update=is_update):
            return True
        # Another publication may have been written since: the condition of the write keeps it.
        if not self.published.write(TOMBSTONE, read):
            return False
        self.guard.warning("the published fleet was retired", deployed=deployed, published=read.digest)
        self.guard.count("FleetRetired")
        return True


def _is_over(published: Publication, deployed: str, *, is_update: bool) -> bool:
    """Return whether the deployed fleet, by its hash, ends the publication."""
    try:
        return published.base not in (None, deployed)
    except Unreadable:
        # An Update says that another fleet is deployed, which is newer than any publication before it. At the
        # first deployment with this resource the fleet may be the same. What can't be read may then take
        # rights away, so it stays.
        return is_update


@dataclass(frozen=True)
class Resources:
    """The handler of both custom resources' events."""

    authority: Resource
    retire: Retire

    def __call__(self, event: dict[str, Any], context: Any, now: datetime) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context
        """Handle an event of CloudFormation. Raises AuthorityError, Unavailable."""
        if event.get("ResourceType") == PUBLICATION:
            return self.retire(event)
        return self.authority(event, context, now)


@dataclass(frozen=True)
class Watch:
    """The handler of the hourly schedule, which reports on the CA's remaining life and on its key."""

    ca: x509.Certificate
    look: LookAtKey
    guard: Guard

    def __call__(self, _: object, __: Any, now: datetime) -> None:  # noqa: ANN401 - Lambda's context
        """Write the metrics that the alarms watch.

        Raises Unavailable if KMS does not answer or refuses: the alarm on the function's errors then rings.
        """
        count_days(self.ca, now, self.guard)
        self._report(self.look())

    def _report(self, found: Found) -> None:
        # Each metric is written at each look, so that an alarm ends when the cause is gone.
        self.guard.count("CaKeyUnusable", int(not found.usable))
        self.guard.count("CaKeyGrants", len(found.grants))
        if not found.usable or found.key.deletion or found.key.expiry:
            self.guard.warning(
                "the CA's key",
                state=found.key.state,
                deletion=str(found.key.deletion),
                expiry=str(found.key.expiry),
            )
        for each in found.grants:
            self.guard.warning(
                "a grant on the CA's key",
                grantId=each.grant_id,
                grantee=each.grantee,
                operations=list(each.operations),
            )
        if found.policy_changed is not None:
            self.guard.count("CaKeyPolicyChanged", int(found.policy_changed))
        if found.policy_changed:
            self.guard.warning("the policy of the CA's key is not the one that the deployment wrote")


def count_days(ca: x509.Certificate, now: datetime, guard: Guard) -> None:
    """Write the number of days for which the CA is still valid as a metric."""
    guard.count("CaDaysLeft", (ca.not_valid_after_utc - now).days)
