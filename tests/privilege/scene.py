"""Invokes the deployed Lambdas for the flows, with the events that AWS services would send.

Event sources and schedules are disabled. An event comes only when a flow sends it, to a Lambda that has its
role's rights at that moment.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509

from firstboot.compiler.fleet import load
from firstboot.domain import topics
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY, SWEEP_KEY
from firstboot.pki import chain
from firstboot.register.handlers import TRIES
from tests import factories
from tests.aws.mqtt import event as mqtt_event
from tests.aws.product import http_event
from tests.flows.conftest import Cloud
from tests.flows.devices import client, fresh_name
from tests.infra.conftest import spell
from tests.privilege.roles import Role

REFRESH = "FIRSTBOOT_FLEET_REFRESH"
"""The Lambda's setting of the seconds after which it looks for a published fleet again."""

Members = dict[str, Any]


class BrokenError(Exception):
    """A flow does not work. The argument says what was found instead."""


def need(condition: object, what: object) -> None:
    """Raise BrokenError with `what` unless the condition holds."""
    if not condition:
        raise BrokenError(what)


@dataclass(frozen=True)
class NewDevice:
    """A device as its factory made it: its bootstrap certificate and key, and its operational key."""

    name: str
    bootstrap: x509.Certificate
    bootstrap_key: factories.PrivateKey
    key: factories.PrivateKey

    @property
    def request(self) -> Members:
        """The members of the device's request for a certificate."""
        return {"csr": factories.pem(factories.csr(self.key))}


@dataclass(frozen=True)
class Identity:
    """A device and its operational certificate."""

    name: str
    leaf: x509.Certificate

    @property
    def principal(self) -> str:
        """The certificate's id in AWS IoT."""
        return chain.fingerprint(self.leaf)


@dataclass(frozen=True)
class Scene:
    """A running stack. `folder` is for files of devices."""

    cloud: Cloud
    folder: Path

    def aws(self, service: str) -> Any:
        """Return an operator's boto3 client."""
        return client(self.cloud, service)

    @cached_property
    def names(self) -> dict[str, str]:
        """The physical ids of the deployed resources by their logical ids without hashes."""
        found = self.aws("cloudformation").describe_stack_resources(StackName=self.stack)["StackResources"]
        return {spell(each["LogicalResourceId"]): each["PhysicalResourceId"] for each in found}

    @cached_property
    def template(self) -> dict[str, Any]:
        """The resources of the template by their logical ids without hashes."""
        body = self.aws("cloudformation").get_template(StackName=self.stack)["TemplateBody"]
        return {spell(name): resource for name, resource in body["Resources"].items()}

    @property
    def stack(self) -> str:
        """The stack's name."""
        return str(self.cloud.endpoints["stack"])

    @cached_property
    def fleet(self) -> Fleet:
        """The deployed fleet."""
        return load(Path(self.cloud.endpoints["api_ca"]).parent / "fleet")

    def silence(self) -> None:
        """Disable event sources and schedules, and have Lambdas look for a published fleet at each call."""
        functions, events = self.aws("lambda"), self.aws("events")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        for rule in events.list_rules()["Rules"]:
            events.disable_rule(Name=rule["Name"])
        for function in functions.list_functions()["Functions"]:
            variables = function.get("Environment", {}).get("Variables", {})
            if REFRESH in variables:
                functions.update_function_configuration(
                    FunctionName=function["FunctionName"],
                    Environment={"Variables": variables | {REFRESH: "0"}},
                )

    def role(self, function: str) -> Role:
        """Return the role of a Lambda."""
        policy = f"{function}RoleDefaultPolicy"
        template = self.template[policy]["Properties"]
        iam, name = self.aws("iam"), self.names[f"{function}Role"]
        (deployed,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        return Role(iam, name, deployed, template["PolicyDocument"]["Statement"])

    def invoke(self, function: str, event: object) -> Any:
        """Return a Lambda's answer to an event."""
        answer = self.aws("lambda").invoke(FunctionName=self.names[function], Payload=json.dumps(event))
        payload = json.load(answer["Payload"])
        need("FunctionError" not in answer, payload)
        return payload

    def log(self, function: str, event: object) -> str:
        """Return what a Lambda logs of an invocation, metrics included."""
        answer = self.aws("lambda").invoke(
            FunctionName=self.names[function], Payload=json.dumps(event), LogType="Tail"
        )
        text = base64.b64decode(answer["LogResult"]).decode(errors="replace")
        need("FunctionError" not in answer, text)
        return text

    def http(
        self, path: str, leaf: x509.Certificate, body: Members | None = None, *, status: int = 200
    ) -> Members:
        """Return the members of the answer to a device's HTTPS request."""
        function = "Vend" if path.startswith(("/role-aliases", "/v1/device", "/v1/sas")) else "Exchange"
        method = "GET" if function == "Vend" else "POST"
        text = None if body is None else json.dumps(body)
        answer = self.invoke(
            function, http_event(method, path, leaf, text, {"content-type": "application/json"}, None)
        )
        need(answer["statusCode"] == status, answer)
        members: Members = json.loads(answer["body"])
        return members

    def ask(self, function: str, call: topics.Call, device: Identity | NewDevice, members: Members) -> str:
        """Return what a Lambda behind a topic rule logs of a device's request."""
        leaf = device.leaf if isinstance(device, Identity) else device.bootstrap
        payload, topic = json.dumps(members).encode(), call.request_topic(device.name)
        return self.log(function, mqtt_event(device.name, chain.fingerprint(leaf), topic, payload))

    def operate(self, operation: str, **parameters: Any) -> Any:
        """Return the result of an operator's call."""
        return self._operate("Operate", operation, parameters)

    def read(self, operation: str, **parameters: Any) -> Any:
        """Return the result of an operator's call to the read-only function."""
        return self._operate("OperateRead", operation, parameters)

    def _operate(self, function: str, operation: str, parameters: Members) -> Any:
        answer = self.invoke(function, {"operation": operation, "parameters": parameters})
        need("result" in answer, answer)
        return answer["result"]

    def deliver(self, function: str, **body: Any) -> None:
        """Deliver a queue's message to a Lambda, which must handle it.

        It is an order's last try. Otherwise a failed order would be sent again, and its message succeed.
        """
        record = {
            "messageId": "1",
            "body": json.dumps({"tries": TRIES} | body),
            "attributes": {"SentTimestamp": str(int(time.time() * 1_000))},
        }
        answer = self.invoke(function, {"Records": [record]})
        need(answer == {"batchItemFailures": []}, answer)

    def new_device(self) -> NewDevice:
        """Return a device that Firstboot does not know yet."""
        name, key = fresh_name(), factories.ec_key()
        return NewDevice(name, self.cloud.factory.issue(name, key), key, factories.ec_key())

    def booted(self) -> Identity:
        """Return a device that has enrolled and not logged in."""
        new_device = self.new_device()
        answer = self.http("/v1/certificates", new_device.bootstrap, new_device.request, status=201)
        return Identity(new_device.name, self.issued(new_device.name, answer["serial"]))

    def active(self) -> Identity:
        """Return a device that has logged in."""
        identity = self.booted()
        self.http("/v1/certificates/commit", identity.leaf, {})
        return identity

    def registered(self, **attributes: str | bool) -> Identity:
        """Return a device for which AWS IoT was reconciled."""
        identity = self.active()
        if attributes:
            self.operate("devices.set", deviceId=identity.name, attributes=attributes)
        self.deliver("RegisterWork", deviceId=identity.name)
        return identity

    def key_of(self, name: str, serial: str) -> str:
        """Return the key of a certificate in the bucket."""
        return f"certificates/{name}/{serial}.pem"

    def issued(self, name: str, serial: str) -> x509.Certificate:
        """Return an issued certificate."""
        stored = self.aws("s3").get_object(Bucket=self.names["Store"], Key=self.key_of(name, serial))
        return x509.load_pem_x509_certificates(stored["Body"].read())[0]

    def download(self, url: str) -> None:
        """Fetch a presigned URL as a device does."""
        context = ssl.create_default_context(cafile=self.cloud.endpoints["api_ca"])
        try:
            with urllib.request.urlopen(url, context=context, timeout=30) as answer:  # noqa: S310 - https
                need(b"BEGIN CERTIFICATE" in answer.read(), "the object is no certificate")
        except urllib.error.HTTPError as error:
            raise BrokenError(error) from error

    def row(self, key: str) -> Members:
        """Return a row of the table, or an empty one."""
        found: Members = self.aws("dynamodb").get_item(
            TableName=self.names["Registry"], Key={"pk": {"S": key}}, ConsistentRead=True
        )
        return dict(found.get("Item", {}))

    def device_row(self, name: str) -> Members:
        """Return a device's row."""
        return self.row(f"DEV#{name}")

    def forget_sweep(self) -> None:
        """Delete the row of the last sweep."""
        self.aws("dynamodb").delete_item(TableName=self.names["Registry"], Key={"pk": {"S": SWEEP_KEY}})

    @contextmanager
    def published(self, **changes: Any) -> Iterator[Fleet]:
        """Publish a fleet that differs from the deployed one, and withdraw it at the end."""
        newer = self.publish(**changes)
        try:
            yield newer
        finally:
            self.withdraw()

    def publish(self, **changes: Any) -> Fleet:
        """Publish a fleet that differs from the deployed one."""
        newer = replace(self.fleet, base=self.fleet.hash, **changes)
        self.aws("s3").put_object(
            Bucket=self.names["Store"], Key=PUBLISHED_FLEET_KEY, Body=newer.to_json().encode()
        )
        return newer

    def withdraw(self) -> None:
        """Delete the published fleet, so that the deployed one is in force."""
        self.aws("s3").delete_object(Bucket=self.names["Store"], Key=PUBLISHED_FLEET_KEY)

    def policies(self, leaf: x509.Certificate) -> set[str]:
        """Return the policies that a certificate has in AWS IoT."""
        aws = self.cloud.endpoints["aws"]
        target = f"arn:aws:iot:{aws['region']}:{aws['account']}:cert/{chain.fingerprint(leaf)}"
        listed = self.aws("iot").list_attached_policies(target=target)["policies"]
        return {each["policyName"] for each in listed}

    def delete_policy(self, name: str) -> None:
        """Detach a policy from all certificates and delete it from AWS IoT."""
        iot = self.aws("iot")
        with suppress(iot.exceptions.ResourceNotFoundException):
            for target in iot.list_targets_for_policy(policyName=name)["targets"]:
                iot.detach_policy(policyName=name, target=target)
            for version in iot.list_policy_versions(policyName=name)["policyVersions"]:
                if not version["isDefaultVersion"]:
                    iot.delete_policy_version(policyName=name, policyVersionId=version["versionId"])
            iot.delete_policy(policyName=name)
