"""The issuing CA, as a CloudFormation resource: made once, then only read.

`resource` is called by CDK's provider framework, `watch` by a daily schedule.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.metrics import MetricUnit, single_metric
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws import clients
from firstboot.aws.iot.endpoint import data_endpoint
from firstboot.aws.kms import KmsKey, public_key
from firstboot.aws.s3 import fleet
from firstboot.aws.s3.authority import AuthorityStore
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import AuthorityKeyChanged, AuthorityTermsChanged, FirstbootError, Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import METRICS
from firstboot.pki import chain, profile
from firstboot.runtime.settings import AuthoritySettings, WatchSettings

# One for good: CloudFormation deletes what gets another id, and there is nothing else to be.
PHYSICAL_ID = "authority"


class DeploymentRefused(Exception):
    """What stands against the deployment, in words: CloudFormation shows the message and no type."""


def resource(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Make the CA, or find it, and bring the truststore up to date with the deployed fleet.

    Returns the attributes CaCertificate (PEM), TruststoreVersion and MqttHost. Delete does
    nothing: devices trust this CA for years, and its key, certificate and bucket are retained.
    Raises DeploymentRefused from AuthorityError or Unavailable.
    """
    if event["RequestType"] == "Delete":
        return {"PhysicalResourceId": event["PhysicalResourceId"]}
    try:
        return {"PhysicalResourceId": PHYSICAL_ID, "Data": _ensure(AuthoritySettings.read())}
    except FirstbootError as error:
        raise DeploymentRefused(f"{error.title}: {error.log or error.code}") from error


def _ensure(settings: AuthoritySettings) -> dict[str, str]:
    store = AuthorityStore(clients.s3(), settings.bucket)
    key = KmsKey(clients.kms(), settings.ca_key, public_key(clients.kms(), settings.ca_key))
    ca = authority(store, key, settings.subject, int(settings.years))
    anchors = trust_anchors(fleet.deployed())
    chain.check_anchors(anchors, ca)
    _count_days(ca)
    return {
        "CaCertificate": _pem(ca),
        "TruststoreVersion": store.put_truststore("".join(map(_pem, [*anchors, ca])).encode()),
        "MqttHost": data_endpoint(clients.iot()),
    }


def watch(event: dict[str, Any], context: object) -> None:
    """Say how many days the CA has left: the metric behind the alarm."""
    _count_days(chain.parse(WatchSettings.read().ca_certificate))


def authority(
    store: AuthorityStore, key: ec.EllipticCurvePrivateKey, subject: str, years: int
) -> x509.Certificate:
    """The one CA certificate of `store`, made now if there is none.

    Of two that make one at the same time, the first to store it wins; both return that one.
    Raises AuthorityKeyChanged when it is not `key`'s, AuthorityTermsChanged when it has another name or
    lifetime: whoever asks for another CA must hear that there is none.
    """
    if store.certificate() is None:
        made = profile.authority_certificate(key, subject, utc_now(), years)
        store.put_certificate(_pem(made).encode())
    stored = store.certificate()
    if stored is None:
        raise Unavailable(log="the CA certificate was stored and is not there")
    ca = chain.parse(stored.decode())
    if ca.public_key() != key.public_key():
        raise AuthorityKeyChanged(log=ca.subject.rfc4514_string())
    if found := profile.authority_differs(ca, subject, years):
        raise AuthorityTermsChanged(log=f"it is {found}; caSubject and caYears in cdk.json must say so")
    return ca


def trust_anchors(fleet: Fleet) -> list[x509.Certificate]:
    """Every trust anchor of every group, once, in an order that depends on nothing but them."""
    texts = {pem for group in fleet.groups.values() for pem in group.trust}
    return sorted(map(chain.parse, texts), key=chain.fingerprint)


def _count_days(ca: x509.Certificate) -> None:
    left = (ca.not_valid_after_utc - utc_now()).days
    with single_metric(name="CaDaysLeft", unit=MetricUnit.Count, value=left, namespace=METRICS) as metric:
        metric.add_dimension("service", "authority")


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
