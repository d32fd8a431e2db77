"""AWS IoT is reconciled with the device records, by the whole deployed stack."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from firstboot.pki import chain
from tests.flows.conftest import Cloud, until
from tests.flows.devices import Device, client, fresh_name, output, revoke

SERVICE, GRANT = "Firstboot-device", "Firstboot-grant-mqtt"
SUPERSEDED = "Firstboot-superseded"


class Registered:
    """A device that has booted, and what AWS IoT and its record have of it."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.device = Device(cloud, fresh_name(), folder)
        self.device.boot()
        self.iot = client(cloud, "iot")

    def row(self) -> dict[str, Any]:
        """Return the device's row of the table."""
        key = {"pk": {"S": f"DEV#{self.device.name}"}}
        table = output(self.cloud, "Table")
        found: dict[str, Any] = client(self.cloud, "dynamodb").get_item(TableName=table, Key=key)["Item"]
        return found

    def noted(self, name: str) -> set[str]:
        """Return a set in the device's row."""
        return set(self.row().get(name, {"SS": []})["SS"])

    def status(self, leaf: x509.Certificate) -> str:
        """Return a certificate's status in AWS IoT."""
        found = self.iot.describe_certificate(certificateId=chain.fingerprint(leaf))
        return str(found["certificateDescription"]["status"])

    def policies(self, leaf: x509.Certificate) -> set[str]:
        """Return the names of a certificate's policies."""
        account, region = (self.cloud.endpoints["aws"][name] for name in ("account", "region"))
        target = f"arn:aws:iot:{region}:{account}:cert/{chain.fingerprint(leaf)}"
        return {each["policyName"] for each in self.iot.list_attached_policies(target=target)["policies"]}

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until AWS IoT has followed the record."""
        until(condition)


@pytest.fixture
def registered(cloud: Cloud, tmp_path: Path) -> Registered:
    """A device that has booted over HTTPS and was reconciled."""
    made = Registered(cloud, tmp_path)
    made.wait(lambda: made.noted("registered") == {chain.fingerprint(made.device.leaf)})
    return made


def test_a_first_boot_gives_a_device_its_thing(registered: Registered) -> None:
    """After a first boot AWS IoT has the device's thing, group, certificate and policies."""
    name, leaf = registered.device.name, registered.device.leaf
    assert registered.iot.describe_thing(thingName=name)["thingTypeName"] == "Firstboot"
    groups = registered.iot.list_thing_groups_for_thing(thingName=name)["thingGroups"]
    assert [group["groupName"] for group in groups] == ["Firstboot-gateways"]
    assert (registered.status(leaf), registered.policies(leaf)) == ("ACTIVE", {SERVICE, GRANT})
    assert registered.noted("attached") == {"mqtt"}


def test_an_attribute_that_moves_a_grant_is_followed(registered: Registered) -> None:
    """A device that is quarantined loses the policy of its grant, and gets it back afterwards."""
    leaf = registered.device.leaf
    _set(registered, quarantined=True)
    registered.wait(lambda: registered.noted("attached") == set())
    assert registered.policies(leaf) == {SERVICE}
    thing = registered.iot.describe_thing(thingName=registered.device.name)
    assert thing["attributes"] == {"quarantined": "true"}
    _set(registered, quarantined=None)
    registered.wait(lambda: registered.noted("attached") == {"mqtt"})
    assert registered.policies(leaf) == {SERVICE, GRANT}


def test_a_revoked_device_is_out(registered: Registered) -> None:
    """The certificate of a revoked device is REVOKED and has no policy of ours."""
    leaf = registered.device.leaf
    revoke(registered.cloud, registered.device.name)
    registered.wait(lambda: registered.status(leaf) == "REVOKED")
    registered.wait(lambda: registered.noted("registered") == set())
    assert registered.policies(leaf) == set()


def test_after_a_renewal_the_old_certificate_may_only_ask(registered: Registered) -> None:
    """After a renewal both certificates are ACTIVE, and the old one may only ask for its successor."""
    old = registered.device.leaf
    _make_due(registered)
    done = registered.device.run("renew", "--state", str(registered.device.state))
    assert done.returncode == 0, done.stderr
    new = registered.device.leaf
    assert new != old
    both = {chain.fingerprint(old), chain.fingerprint(new)}
    registered.wait(lambda: registered.policies(old) == {SUPERSEDED})
    registered.wait(lambda: registered.noted("registered") == both)
    assert (registered.status(old), registered.status(new)) == ("ACTIVE", "ACTIVE")
    assert registered.policies(new) == {SERVICE, GRANT}


def test_a_deleted_device_leaves_nothing(registered: Registered) -> None:
    """The record of a deleted device goes after its thing and its certificate in AWS IoT."""
    iot, leaf = registered.iot, registered.device.leaf
    _update(registered, "SET #status = :deleted", {":deleted": {"S": "deleted"}}, {"#status": "status"})
    registered.wait(lambda: not _is_there(registered))
    for call, members in (
        (iot.describe_thing, {"thingName": registered.device.name}),
        (iot.describe_certificate, {"certificateId": chain.fingerprint(leaf)}),
    ):
        with pytest.raises(iot.exceptions.ResourceNotFoundException):
            call(**members)


def test_no_message_became_a_dead_letter(cloud: Cloud) -> None:
    """The tests of this module leave no message in the dead-letter queue."""
    url = output(cloud, "DeadQueue")
    assert "Messages" not in client(cloud, "sqs").receive_message(QueueUrl=url)


def _set(registered: Registered, **attributes: Any) -> None:
    event = {
        "operation": "devices.set",
        "parameters": {"deviceId": registered.device.name, "attributes": attributes},
    }
    function = output(registered.cloud, "OperateFunction")
    answer = client(registered.cloud, "lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    assert "result" in json.load(answer["Payload"])


def _make_due(registered: Registered) -> None:
    """Change the record so that its certificate is due for renewal."""
    _update(registered, "SET active.renewAfter = :past", {":past": {"N": "1"}}, {})


def _update(registered: Registered, expression: str, values: dict[str, Any], names: dict[str, str]) -> None:
    client(registered.cloud, "dynamodb").update_item(
        TableName=output(registered.cloud, "Table"),
        Key={"pk": {"S": f"DEV#{registered.device.name}"}},
        UpdateExpression=expression,
        ExpressionAttributeValues=values,
        **({"ExpressionAttributeNames": names} if names else {}),
    )


def _is_there(registered: Registered) -> bool:
    key = {"pk": {"S": f"DEV#{registered.device.name}"}}
    table = output(registered.cloud, "Table")
    return "Item" in client(registered.cloud, "dynamodb").get_item(TableName=table, Key=key)
