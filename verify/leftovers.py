"""Remove certificates and policies of walks from AWS IoT that belong to no device.

A device's own go with the device (cleaning.py). These are the observers', and bootstrap certificates that AWS
IoT registered and that never enrolled.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.serialization import Encoding

from console.cloud import unanswered
from firstboot.pki.certificate import COMMON_NAME, parse_text
from firstboot.pki.errors import CertificateMalformed
from verify.bench import OURS, Bench

OBSERVER = "verify-observer-"
"""The first part of the names of all walks' policies in AWS IoT."""


def sweep(bench: Bench) -> int:
    """Remove what killed walks left, and return how many certificates and policies that were.

    Raises Unreachable.
    """
    iot = bench.client("iot")
    try:
        policies = [each for each in _listed(iot, "list_policies", "policies") if _is_observer(each)]
        for each in policies:
            forget(iot, each["policyName"])
        names = [each["certificateId"] for each in _certificates(bench, iot) if _is_ours(iot, each)]
        for name in names:
            remove(iot, name)
    except (BotoCoreError, ClientError) as error:
        raise unanswered("removing what an earlier walk has left in AWS IoT", error) from error
    return len(policies) + len(names)


def forget(iot: Any, policy: str) -> None:  # noqa: ANN401 - a boto3 client
    """Delete a policy and the certificates that have it, unless they are gone."""
    try:
        targets = list(_listed(iot, "list_targets_for_policy", "targets", policyName=policy))
        for target in targets:
            iot.detach_policy(policyName=policy, target=target)
            remove(iot, target.rpartition("/")[2])
        iot.delete_policy(policyName=policy)
    except iot.exceptions.ResourceNotFoundException:
        return


def remove(iot: Any, certificate_id: str) -> None:  # noqa: ANN401 - a boto3 client
    """Delete a certificate with its policies, unless it is gone. It must have no thing."""
    try:
        iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
        known = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
        arn = known["certificateArn"]
        for policy in iot.list_attached_policies(target=arn)["policies"]:
            iot.detach_policy(policyName=policy["policyName"], target=arn)
        iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
    except iot.exceptions.ResourceNotFoundException:
        return


def _listed(iot: Any, operation: str, member: str, **parameters: str) -> Iterator[Any]:  # noqa: ANN401
    for page in iot.get_paginator(operation).paginate(**parameters):
        yield from page[member]


def _is_observer(policy: dict[str, str]) -> bool:
    return policy["policyName"].startswith(OBSERVER)


def _certificates(bench: Bench, iot: Any) -> Iterator[dict[str, str]]:  # noqa: ANN401 - a boto3 client
    """Yield the certificates that AWS IoT registered of the walk's factories."""
    factories = {each.certificate.public_bytes(Encoding.DER) for each in bench.factories.values()}
    for ca in _listed(iot, "list_ca_certificates", "certificates"):
        identifier = ca["certificateId"]
        known = iot.describe_ca_certificate(certificateId=identifier)["certificateDescription"]
        if ssl.PEM_cert_to_DER_cert(known["certificatePem"].strip()) in factories:
            yield from _listed(iot, "list_certificates_by_ca", "certificates", caCertificateId=identifier)


def _is_ours(iot: Any, certificate: dict[str, str]) -> bool:  # noqa: ANN401 - a boto3 client
    """Return whether a certificate has the name of a walk's device, or one that never enrolls."""
    known = iot.describe_certificate(certificateId=certificate["certificateId"])["certificateDescription"]
    try:
        names = parse_text(known["certificatePem"]).subject.values(COMMON_NAME)
    except CertificateMalformed:
        return False
    return any(OURS.fullmatch(name.rstrip("*")) for name in names)
