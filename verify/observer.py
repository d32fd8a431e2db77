"""Receive what AWS IoT publishes about certificates and connections.

No device may subscribe to these topics. So the walk makes a certificate and a policy in AWS IoT for an
observer, and removes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device.store import Identity
from verify.bench import Bench
from verify.broker import ACCEPTED, Connection, Login
from verify.mqtt import broker, let_in
from verify.step import Failed

PREFIX = "verify-observer-"
"""What the names of all walks' policies begin with. A later walk removes those that a killed walk left."""


@contextmanager
def observing(bench: Bench, *filters: str) -> Iterator[Connection]:
    """Connect an observer that has subscribed to the filters. Raises Failed."""
    iot = bench.client("iot")
    name = f"{PREFIX}{bench.run}"
    bench.at_end.append((f"policy {name}", lambda: forget(iot, name)))
    try:
        who = Login(name, _made(bench, iot, name))
        let_in(bench, who)
        with broker(bench).connected(who) as connection:
            for each in filters:
                if (answer := connection.subscribe(each)) != ACCEPTED:
                    raise Failed(f"the observer's subscription to {each}", answer)
            yield connection
    finally:
        forget(iot, name)


def leftovers(iot: Any) -> list[str]:  # noqa: ANN401 - a boto3 client
    """Return the names of walks' policies."""
    pages = iot.get_paginator("list_policies").paginate()
    names = (each["policyName"] for page in pages for each in page["policies"])
    return [name for name in names if name.startswith(PREFIX)]


def forget(iot: Any, name: str) -> None:  # noqa: ANN401 - a boto3 client
    """Delete a policy and the certificates that have it, unless they are gone."""
    try:
        pages = iot.get_paginator("list_targets_for_policy").paginate(policyName=name)
        targets = [target for page in pages for target in page["targets"]]
        for target in targets:
            iot.detach_policy(policyName=name, target=target)
            remove(iot, target.rpartition("/")[2])
        iot.delete_policy(policyName=name)
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


def _made(bench: Bench, iot: Any, name: str) -> Identity:  # noqa: ANN401 - a boto3 client
    """Make the policy and a certificate that has it."""
    place = bench.deployed.place
    arn = f"arn:{place.partition}:iot:{place.region}:{place.account}"
    rights = {
        "iot:Connect": f"{arn}:client/{name}",
        "iot:Subscribe": f"{arn}:topicfilter/$aws/events/*",
        "iot:Receive": f"{arn}:topic/$aws/events/*",
    }
    statements = [{"Effect": "Allow", "Action": action, "Resource": on} for action, on in rights.items()]
    iot.create_policy(
        policyName=name, policyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements})
    )
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName=name, target=made["certificateArn"])
    identity = Identity(bench.folder / f"{name}.pem", bench.folder / f"{name}.key")
    identity.certificate.write_text(made["certificatePem"])
    identity.key.touch(mode=0o600)
    identity.key.write_text(made["keyPair"]["PrivateKey"])
    return identity
