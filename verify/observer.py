"""Receive what AWS IoT publishes about certificates and connections.

No device may subscribe to these topics. So the walk makes a certificate and a policy in AWS IoT for an
observer, and removes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from device.store import FileIdentity, Identity
from verify import leftovers
from verify.bench import Bench
from verify.broker import ACCEPTED, Connection, Login
from verify.mqtt import broker, let_in
from verify.step import Failed


@contextmanager
def observing(bench: Bench, *filters: str) -> Iterator[Connection]:
    """Connect an observer that has subscribed to the filters. Raises Failed."""
    iot = bench.client("iot")
    name = f"{leftovers.OBSERVER}{bench.run}"
    bench.at_end.append((f"policy {name}", lambda: leftovers.forget(iot, name)))
    try:
        who = Login(name, _made(bench, iot, name))
        let_in(bench, who)
        with broker(bench).connected(who) as connection:
            for each in filters:
                if (answer := connection.subscribe(each)) != ACCEPTED:
                    raise Failed(f"the observer's subscription to {each}", answer)
            yield connection
    finally:
        leftovers.forget(iot, name)


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
    identity = FileIdentity(bench.folder / f"{name}.pem", bench.folder / f"{name}.key")
    identity.certificate.write_text(made["certificatePem"])
    identity.key.touch(mode=0o600)
    identity.key.write_text(made["keyPair"]["PrivateKey"])
    return identity
