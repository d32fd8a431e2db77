"""`register` over moto: its messages, and the resulting state of AWS IoT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.fleet import Group
from firstboot.domain.names import RATE_LIMITER_KEY
from firstboot.pki import chain
from tests import factories
from tests.aws.aws_iot import AwsIot
from tests.aws.product import CONTEXT, Product, make_policies

IOT = {"Effect": "Allow", "Action": "iot:Connect"}
MQTT = {
    "Version": "2012-10-17",
    "Statement": [IOT | {"Resource": "arn:{partition}:iot:{region}:{account}:client/{deviceId}"}],
}
RULES = """
@id("telemetry") permit (principal, action == Action::"hold", resource == Grant::"telemetry");
@id("mqtt") permit (principal, action == Action::"hold", resource == Grant::"mqtt")
unless { principal.quarantined };
@id("site") permit (principal, action == Action::"hold", resource == Grant::"site")
when { principal has site };
"""
CONFIGURATION = {"interval": 60}
_MOST = 60  # orders for one device
SERVICE, GRANT, SITE = "Firstboot-device", "Firstboot-grant-mqtt", "Firstboot-grant-site"
SUPERSEDED = "Firstboot-superseded"


@dataclass
class Calls:
    """A record of `register`'s AWS calls, which can let the n-th call, all of an operation, or answers fail.

    moto has no DeleteConnection. The one here keeps the ids of the disconnected clients. With a list in
    `sent`, the bodies of messages go there and not into a queue. With `rules`, AWS IoT behaves as they say.
    `before` and `after` are called with the number of each recorded call, and may raise.
    """

    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    disconnected: list[str] = field(default_factory=list)
    fail: int | None = None
    failing: str | None = None
    lost: bool = False
    meanwhile: dict[str, Any] = field(default_factory=dict)
    watching: bool = False
    sent: list[str] | None = None
    rules: AwsIot | None = None
    before: Callable[[int], None] | None = None
    after: Callable[[int], None] | None = None

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> Calls:
        """Intercept the calls of every client."""
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            if not self.watching or _is_waiting(operation, parameters):
                return self._make(make, client, operation, parameters)
            self.made.append((operation, parameters))
            if self.before:
                self.before(len(self.made) - 1)
            due = len(self.made) - 1 == self.fail or operation == self.failing
            if due and not self.lost:
                raise _failure(operation)
            try:
                answer = self._make(make, client, operation, parameters)
            except ClientError:
                self._after(operation, due=due)
                raise
            self._after(operation, due=due)
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
        return self

    def _after(self, operation: str, *, due: bool) -> None:
        """Run the action that is planned between a call and its answer, and fail if that is planned."""
        if self.after:
            self.after(len(self.made) - 1)
        meanwhile = self.meanwhile.pop(operation, None)
        if meanwhile:
            self.watching = False
            meanwhile()
            self.watching = True
        if due:
            raise _failure(operation)

    def _make(self, make: Any, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "DeleteConnection":
            self.disconnected.append(parameters["clientId"])
            return {}
        if operation == "SendMessage" and self.sent is not None:
            self.sent.append(parameters["MessageBody"])
            return {}
        if self.rules and client.meta.service_model.service_name == "iot":
            return self.rules.call(partial(make, client), operation, parameters)
        return make(client, operation, parameters)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Record calls, and let them fail, only inside this context."""
        self.made, self.watching = [], True
        try:
            yield
        finally:
            self.watching = False

    @property
    def names(self) -> list[str]:
        """The operations in order."""
        return [operation for operation, _ in self.made]


def _is_waiting(operation: str, parameters: dict[str, Any]) -> bool:
    """Return whether a call waits for a turn, or counts the orders that wait."""
    return parameters.get("Key") == {"pk": {"S": RATE_LIMITER_KEY}} or operation == "GetQueueAttributes"


def _failure(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)


@dataclass
class Registering:
    """A product whose group is in the AWS IoT registry, and whose grants are about AWS IoT."""

    product: Product
    calls: Calls

    def publish(self, **group: Any) -> None:
        """Publish a fleet with grants about AWS IoT and with these changes to its one group."""
        known = self.product.fleet.groups["gateways"]
        self.publish_groups(replace(known, **group))

    def publish_groups(self, *groups: Group) -> None:
        """Publish a fleet with grants about AWS IoT and these groups, whose policies the sweep has made."""
        changes: dict[str, Any] = {
            "grants": self.product.fleet.grants | {"mqtt": MQTT, "site": MQTT},
            "rules": RULES,
            "groups": {each.name: each for each in groups},
        }
        self.product.publish(**changes)
        make_policies(replace(self.product.fleet, **changes))

    def enroll(self, device_id: str) -> Identity:
        """Return a device's operational certificate, which was issued and not used."""
        key = factories.ec_key()
        answer = self.product.enroll(self.product.bootstrap(device_id), key)
        return Identity(self.product, key, self.product.certificate(answer))

    def work(self, device_id: str, **members: Any) -> dict[str, Any]:
        """Pass `work` one of Firstboot's own messages."""
        return self.records(json.dumps({"deviceId": device_id} | members))

    def records(self, *bodies: str) -> dict[str, Any]:
        """Pass `work` these messages, and return its answer with the ids of those that failed."""
        records = [
            {"messageId": str(index), "body": body, "attributes": {"SentTimestamp": "1764000000000"}}
            for index, body in enumerate(bodies)
        ]
        with self.calls.watch():
            answer: dict[str, Any] = self.product.lambdas.work({"Records": records}, CONTEXT)
        return answer

    def until_quiet(self, *bodies: str) -> list[str]:
        """Pass `work` these messages, and those that it sends, until there are none; return all bodies."""
        waiting, done = list(bodies), []
        self.calls.sent = []
        while waiting:
            done.append(waiting.pop(0))
            assert self.records(done[-1]) == {"batchItemFailures": []}, done
            waiting += self.calls.sent
            self.calls.sent = []
            assert len(done) < _MOST, done
        self.calls.sent = None
        return done

    def row(self, device_id: str) -> dict[str, Any]:
        """Return the device's row."""
        key = {"pk": {"S": f"DEV#{device_id}"}}
        row: Any = clients.dynamodb().get_item(TableName=self.product.table, Key=key)
        return dict(row.get("Item", {}))

    def noted(self, device_id: str, name: str) -> set[str]:
        """Return a set in the device's row."""
        return set(self.row(device_id).get(name, {"SS": []})["SS"])

    def status(self, leaf: x509.Certificate) -> str | None:
        """Return the certificate's status in AWS IoT, or None if it is not registered."""
        iot = clients.iot()
        try:
            found = iot.describe_certificate(certificateId=chain.fingerprint(leaf))
        except iot.exceptions.ResourceNotFoundException:
            return None
        return str(found["certificateDescription"]["status"])

    def policies(self, leaf: x509.Certificate) -> set[str]:
        """Return the names of the policies that are attached to a certificate."""
        listed = clients.iot().list_attached_policies(target=arn(leaf))
        return {policy["policyName"] for policy in listed["policies"]}

    def desired(self, device_id: str) -> dict[str, Any] | None:
        """Return the desired state of the device's shadow, or None if it has none."""
        data = clients.iot_data()
        try:
            payload = data.get_thing_shadow(thingName=device_id)["payload"].read()
        except data.exceptions.ResourceNotFoundException:
            return None
        desired: dict[str, Any] = json.loads(payload)["state"]["desired"]
        return desired

    def world(self, device_id: str, *leaves: x509.Certificate) -> dict[str, Any]:
        """Return the whole state of a device in AWS IoT and in its row."""
        iot = clients.iot()
        things = [thing for thing in iot.list_things()["things"] if thing["thingName"] == device_id]
        return {
            "things": [(thing["thingTypeName"], thing["attributes"]) for thing in things],
            "certificates": [(self.status(leaf), self.policies(leaf)) for leaf in leaves],
            "principals": [set(iot.list_thing_principals(thingName=device_id)["principals"]) for _ in things],
            "groups": [iot.list_thing_groups_for_thing(thingName=device_id)["thingGroups"] for _ in things],
            "registered": self.noted(device_id, "registered"),
            "attached": self.noted(device_id, "attached"),
        }


@dataclass
class Identity:
    """An operational certificate and its key."""

    product: Product
    key: factories.PrivateKey
    leaf: x509.Certificate

    def commit(self) -> None:
        """Commit the certificate by its first login."""
        assert self.product.call("POST", "/v1/certificates/commit", self.leaf, "{}").status == 200

    def renew(self) -> Identity:
        """Return the next certificate, with a new key."""
        key = factories.ec_key()
        answer = self.product.enroll(self.leaf, key)
        assert answer.status == 201, answer.body
        return Identity(self.product, key, self.product.certificate(answer))


def arn(leaf: x509.Certificate) -> str:
    """Return the certificate's ARN in AWS IoT."""
    return f"arn:aws:iot:us-east-1:123456789012:cert/{chain.fingerprint(leaf)}"
