"""The sweep's Lambda function over moto, with devices to read."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3

from firstboot.aws import clients
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.domain.sweep import Sweep
from firstboot.policy.service import ServicePolicy
from firstboot.register import build
from firstboot.register.settings import SweepSettings
from firstboot.runtime.guard import Guard
from tests.aws.product import CONTEXT, Product
from tests.fleets import TELEMETRY

CONNECT = {
    "Effect": "Allow",
    "Action": "iot:Connect",
    "Resource": "arn:{partition}:iot:{region}:{account}:client/{deviceId}",
}
MQTT = {"Version": "2012-10-17", "Statement": [CONNECT]}
RULES = '@id("all") permit (principal, action, resource);'
GRANTS = {"telemetry": TELEMETRY, "mqtt": MQTT}


@dataclass
class Sweeper:
    """The sweep's function, clock and queues. `on_call` runs before each AWS call, `after_call` after it."""

    product: Product
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    calls: list[str] = field(default_factory=list)
    on_call: Callable[[str], None] = lambda _: None
    after_call: Callable[[str], None] = lambda _: None

    def run(self, pages: int = 100) -> None:
        """Run the sweep once, with time for this number of pages."""
        left = iter(range(pages))
        context: Any = SimpleNamespace(
            **vars(CONTEXT),
            get_remaining_time_in_millis=lambda: 50_000 if next(left, None) is not None else 0,
        )
        with contextlib.redirect_stdout(io.StringIO()):  # hides the metrics
            self.product.lambdas.sweep({}, context)

    def beside(self) -> None:
        """Run a second sweep during another. It has no handler, because metrics are one process's."""
        build.sweep(SweepSettings.read(), Guard("register", lambda: self.now)).run(self.now, lambda: True)

    def next_minute(self, pages: int = 100) -> None:
        """Run the sweep that the schedule starts a minute later."""
        self.now += timedelta(minutes=1)
        self.run(pages)

    def device(self, name: str, attached: set[str] | None = None, **members: Any) -> None:
        """Put a device record that has these grants' policies recorded as attached in AWS IoT.

        Its certificate is pending, so the certificate's id is not in the record.
        """
        plain = {
            "pk": f"DEV#{name}",
            "deviceId": name,
            "group": "gateways",
            "status": "enrolled",
            "generation": 1,
            "createdAt": 0,
            "updatedAt": 0,
            "attributes": {},
            "claims": {},
            "pending": {
                "serial": "1",
                "spki": "2",
                "notBefore": 0,
                "notAfter": 1,
                "renewAfter": 1,
                "heldUntil": 0,
            },
            "registered": {"certificate"},
            **({"attached": attached} if attached else {}),
        }
        boto3.client("dynamodb").put_item(TableName=self.product.table, Item=rows.values(plain | members))

    def ordered(self) -> list[str]:
        """Empty the queues and return the devices that were in them."""
        settings = SweepSettings.read()
        return sorted(_emptied(settings.changes_queue) + _emptied(settings.urgent_queue))

    def row(self) -> Sweep:
        """Return the row of the sweep's progress."""
        found = DynamoSweeps(clients.dynamodb(), self.product.table).read()
        assert found
        return found

    def policies(self) -> dict[str, Any]:
        """Return the policies in AWS IoT by name, without Firstboot's own."""
        own = {policy.policy_name("Firstboot") for policy in ServicePolicy}
        return {name: said for name, said in self.all_policies().items() if name not in own}

    def all_policies(self) -> dict[str, Any]:
        """Return the policies in AWS IoT by name, with their documents."""
        iot = boto3.client("iot")
        names = [policy["policyName"] for policy in iot.list_policies()["policies"]]
        return {name: json.loads(iot.get_policy(policyName=name)["policyDocument"]) for name in names}


def _emptied(url: str) -> list[str]:
    sqs, found = boto3.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"])["deviceId"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
