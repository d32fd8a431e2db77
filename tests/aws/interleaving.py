"""One device whose record changes in the middle of the work on it, and what AWS IoT must have afterwards.

A worker may die at any call. Then its message is delivered again after all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.device import Device, Status
from firstboot.domain.names import DeviceId, certificate_key
from firstboot.pki import chain
from tests import factories
from tests.aws.product import CONTEXT
from tests.aws.registering import GRANT, SERVICE, SUPERSEDED, Identity, Registering, arn

_MOST = 60  # orders for one device


class Died(BaseException):
    """The worker died. It is no Exception, so that no code of the product can catch it."""


class Broken(BaseException):
    """The test itself failed inside the worker."""


@dataclass
class Subject:
    """A device, its certificates of all lives, and the orders that wait for it."""

    registering: Registering
    name: str
    certificates: list[Identity] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bootstrap = self.registering.product.bootstrap(self.name)
        self.registering.calls.sent = self.waiting

    # What a device and an operator do. Each change of the record goes to the stream.

    def enroll(self) -> None:
        """Enroll with the bootstrap certificate and a new key, also while another key is pending."""
        product = self.registering.product
        if "pending" in self.registering.row(self.name):
            self._update("SET pending.heldUntil = :past", {":past": {"N": "1"}})
        key = factories.ec_key()
        self._change(lambda: self._take(product.enroll(self.bootstrap, key), key))

    def commit(self) -> None:
        """Log in with the newest certificate."""
        self._change(self.certificates[-1].commit)

    def renew(self) -> None:
        """Ask for the next certificate with the newest one."""
        key = factories.ec_key()
        leaf = self.certificates[-1].leaf
        self._change(lambda: self._take(self.registering.product.enroll(leaf, key), key))

    def operate(self, operation: str, **parameters: Any) -> None:
        """Make an operator's call."""
        answer: list[Any] = []
        self._change(lambda: answer.append(self.registering.product.operate(operation, **parameters)))
        assert "result" in answer[0], answer

    def _take(self, answer: Any, key: factories.PrivateKey) -> None:
        assert answer.status == 201, answer.body
        product = self.registering.product
        leaf = product.certificate(answer)
        self.certificates.append(Identity(product, key, leaf))
        stored = {"key": certificate_key(DeviceId(self.name), f"{leaf.serial_number:x}")}
        event = {"eventTime": "2026-11-27T12:00:00.000Z", "s3": {"object": stored}}
        self.waiting.append(json.dumps({"Records": [event]}))

    def _change(self, change: Callable[[], None]) -> None:
        old = self.registering.row(self.name)
        change()
        new = self.registering.row(self.name)
        if new and new != old:
            images = {"NewImage": new} | ({"OldImage": old} if old else {})
            self.registering.product.lambdas.changes({"Records": [{"dynamodb": images}]}, CONTEXT)

    def _update(self, expression: str, values: dict[str, Any]) -> None:
        clients.dynamodb().update_item(
            TableName=self.registering.product.table,
            Key={"pk": {"S": f"DEV#{self.name}"}},
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
        )

    # What workers do.

    def order(self) -> None:
        """Let an order arrive twice."""
        self.waiting.append(json.dumps({"deviceId": self.name}))

    def drain(self) -> None:
        """Carry out the orders that wait, and those that follow."""
        for _ in range(_MOST):
            if not self.waiting:
                return
            body = self.waiting.pop(0)
            assert self._work(body) == {"batchItemFailures": []}, body
        raise AssertionError(self.waiting)

    def work_until(self, body: str, number: int, meanwhile: Callable[[], None], mode: str) -> bool:
        """Carry out an order; `meanwhile` happens just before its call of this number.

        If `mode` is "dies", the worker dies instead of this call, if it is "lost", after it. Return whether
        there was such a call.
        """
        calls = self.registering.calls
        reached = False

        def before(index: int) -> None:
            nonlocal reached
            if index != number or reached:
                return
            reached, calls.watching = True, False
            try:
                meanwhile()
            except Exception as error:  # the handler would take it for the worker's own
                raise Broken from error
            calls.watching = True
            if mode == "dies":
                raise Died

        def after(index: int) -> None:
            if index == number and mode == "lost":
                raise Died

        calls.before, calls.after = before, after
        try:
            with calls.watch():
                assert self._work(body) == {"batchItemFailures": []}
        except Died:
            self.waiting.append(body)
        finally:
            calls.before = calls.after = None
        return reached

    def _work(self, body: str) -> Any:
        message = {"messageId": "m", "body": body, "attributes": {"SentTimestamp": "1764000000000"}}
        return self.registering.product.lambdas.work({"Records": [message]}, CONTEXT)

    # What must hold.

    def check(self) -> None:
        """Assert that AWS IoT has what the record says, and nothing else."""
        rules = self.registering.calls.rules
        while rules and not rules.is_settled:
            clients.iot().list_policies()
        device = self.registering.product.records.device(DeviceId(self.name))
        if device is None:
            self._assert_nothing_left()
        elif device.status is Status.REVOKED:
            self._assert_no_rights(device)
        else:
            assert device.status is Status.ENROLLED
            self._assert_rights(device)

    def _assert_nothing_left(self) -> None:
        assert [self._status(each.leaf) for each in self.certificates] == [None] * len(self.certificates)
        with pytest.raises(clients.iot().exceptions.ResourceNotFoundException):
            clients.iot().describe_thing(thingName=self.name)
        assert self.registering.desired(self.name) is None

    def _assert_no_rights(self, device: Device) -> None:
        assert device.registered == device.activating == frozenset()
        for each in self.certificates:
            assert self._status(each.leaf) in (None, "REVOKED")
            assert self._policies(each.leaf) == set()

    def _assert_rights(self, device: Device) -> None:
        grants = set() if device.attributes.get("quarantined") else {GRANT}
        serials = {each.serial for each in (device.active, device.pending) if each}
        asking = {device.superseded.serial} if device.superseded else set()
        active, noted = set(), {"mqtt"} if grants else set()
        for each in self.certificates:
            serial, status = f"{each.leaf.serial_number:x}", self._status(each.leaf)
            if serial in serials:
                assert (status, self._policies(each.leaf)) == ("ACTIVE", {SERVICE, *grants})
            elif status == "ACTIVE":
                assert serial in asking
                assert self._policies(each.leaf) == {SUPERSEDED}
                noted.add(f"superseded:{chain.fingerprint(each.leaf)}")
            if status == "ACTIVE":
                active.add(each.leaf)
        assert device.registered == {chain.fingerprint(leaf) for leaf in active}
        assert (device.activating, device.attached) == (frozenset(), frozenset(noted))
        iot = clients.iot()
        attached = iot.list_thing_principals(thingName=self.name)["principals"]
        assert {arn(leaf) for leaf in active} == set(attached)
        groups = iot.list_thing_groups_for_thing(thingName=self.name)["thingGroups"]
        assert [each["groupName"] for each in groups] == [f"Firstboot-{device.group}"]

    def _status(self, leaf: x509.Certificate) -> str | None:
        return self.registering.status(leaf)

    def _policies(self, leaf: x509.Certificate) -> set[str]:
        return self.registering.policies(leaf) if self._status(leaf) else set()
