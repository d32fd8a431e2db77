"""The life of a deployment in one account. The tests run in this order, and each needs those before it."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import time
import urllib.request
from pathlib import Path

import pytest

from firstboot.policy.service import ServicePolicy
from infra.only_stack import PARAMETER
from local import deployment
from local.cloud import ACCOUNT, REGION, STACK
from tests import factories
from tests.deploy import halfway, queues
from tests.deploy.conftest import Account
from tests.deploy.evidence import (
    IDENTIFIERS,
    Lasting,
    code,
    holders,
    identifiers,
    lasting,
    physical,
    resources,
    signers,
    status,
    template,
)
from tests.deploy.served import (
    REENROLL,
    STOP,
    WAIT,
    iot_status,
    misname,
    registered,
    still_served,
    vend,
)
from tests.flows.conftest import until
from tests.flows.devices import Device, operate, output, printed
from tests.flows.test_console import result
from tests.flows.test_jitr import CLOSED, outcome, settled
from tests.infra.test_stack import STATEFUL

NEW_RULE = """
@id("maintenance-in-berlin")
forbid (principal, action == Action::"hold", resource == Grant::"telemetry")
when   { principal has site && principal.site == "berlin" };
"""


@pytest.fixture(scope="session")
def empty(account: Account) -> set[str]:
    """Return the identifiers in the account after `cdk bootstrap`, before there is a stack."""
    # The CLI runs an app if its folder has one, and bootstrapping needs none.
    account.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=account.here.state.path("run"))
    return identifiers(account)


@pytest.fixture(scope="session")
def left(account: Account) -> Lasting:
    """Return the lasting facts of the time when the stack is destroyed."""
    return lasting(account)


@pytest.fixture(scope="session")
def kept(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Return a device that stays enrolled through all tests."""
    return Device(account.cloud, "gw-kept", tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="session")
def revoked(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Return a device that is revoked early on."""
    return Device(account.cloud, "gw-revoked", tmp_path_factory.mktemp("revoked"))


@pytest.fixture(scope="session")
def over_mqtt(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Return a device that boots over MQTT."""
    return Device(account.cloud, "gw-over-mqtt", tmp_path_factory.mktemp("over-mqtt"), "mqtt")


@pytest.fixture(scope="session")
def others(account: Account, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Device]:
    """Return the devices that the update meets, each under the name of its state at that time."""
    names = ["enrolling", "renewing", "superseded", "expected", "returning", "misnamed", "stored", "barred"]
    hosts = dict.fromkeys(names, "mtls") | dict.fromkeys(["admitted", "unknown"], "mqtt")
    folder = tmp_path_factory.mktemp("others")
    return {name: Device(account.cloud, f"gw-{name}", folder / name, host) for name, host in hosts.items()}


def test_an_empty_account_takes_the_app(account: Account, empty: set[str]) -> None:
    """The real CLI bootstraps an empty account and deploys into it with IAM enforced."""
    account.deploy()
    assert status(account) == "CREATE_COMPLETE"
    # The first devices would wait a minute or two for the schedule's first run.
    deployment.sweep()


def test_the_gateway_may_invoke(account: Account) -> None:
    """The deployed API's own host answers through its route, integration and permission."""
    host = f"{output(account.cloud, 'ApiId')}.execute-api.localhost"  # ministack's own gateway
    endpoint = account.cloud.endpoints["aws"]["s3_endpoint"]
    context = ssl.create_default_context(cafile=account.cloud.endpoints["api_ca"])
    request = urllib.request.Request(f"{endpoint}/healthz", headers={"Host": host})  # noqa: S310 - https
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310 - https
        assert (answer.status, set(json.load(answer))) == (200, {"status", "time"})


def test_a_second_stack_is_refused(account: Account) -> None:
    """A second stack in the account and region fails with that reason, and leaves nothing."""
    before = identifiers(account)
    other = ["Second", "--context", "stack=Second"]
    shown = account.cdk("deploy", *other, "--require-approval", "never", failing=True)
    assert "OneStackPerAccountAndRegion" in shown
    assert "CREATE_FAILED" in shown
    account.cdk("destroy", *other, "--force")
    assert identifiers(account) == before
    parameter = account.client("ssm").get_parameter(Name=PARAMETER)["Parameter"]
    assert parameter["Value"] == STACK


def test_a_device_boots_and_renews(account: Account, hosts: None, kept: Device) -> None:
    """A device boots, gets credentials and renews, and has another certificate then."""
    assert kept.boot()["status"] == "active"
    assert vend(account, kept)["SessionToken"]
    first = kept.leaf.serial_number
    printed(kept.run("renew", "--state", str(kept.state)))
    assert kept.leaf.serial_number != first
    assert kept.status()["status"] == "active"


def test_a_device_boots_over_mqtt(account: Account, over_mqtt: Device) -> None:
    """A device boots over MQTT, and AWS IoT has the policy for bootstrap certificates then."""
    assert over_mqtt.boot()["status"] == "active"
    assert holders(account, ServicePolicy.BOOTSTRAP)


def test_a_device_is_revoked(account: Account, hosts: None, revoked: Device) -> None:
    """A device that boots and is revoked gets no credentials and no certificate any more."""
    revoked.boot()
    result(account.cloud, "devices", "revoke", revoked.name, "--yes")
    vend(account, revoked, exits=STOP)
    assert revoked.run(*revoked.boot_arguments(revoked.folder / "again")).returncode == STOP


def test_devices_are_in_every_state(account: Account, hosts: None, others: dict[str, Device]) -> None:
    """Devices stop while they enroll, renew, or hold a superseded certificate; one is expected and one
    admitted.
    """
    for name in ("renewing", "superseded", "returning", "misnamed", "barred"):
        others[name].boot()
        until(lambda name=name: registered(account, others[name]))  # type: ignore[misc]
    files = account.cloud.bootstrap(others["admitted"].name, others["admitted"].folder)
    assert outcome(account.cloud, others["admitted"].name, files) == CLOSED
    assert settled(account.cloud, files) == "ACTIVE"
    operate(account.cloud, "groups.expect", group="gateways", devices={others["expected"].name: {}})
    halfway.enroll(others["enrolling"])
    halfway.renew(others["renewing"])
    halfway.lose_the_new_certificate(others["superseded"])


def test_work_waits_in_every_queue(account: Account, hosts: None, others: dict[str, Device]) -> None:
    """The queues hold our own orders, one with a slot in 45 seconds, S3's event and AWS IoT's event."""
    until(lambda: queues.left(account) == 0)
    queues.set_delivery(account, enabled=False)
    others["stored"].boot()
    queues.wait_for(account, queues.PACED, others["stored"].name)
    operate(account.cloud, "devices.revoke", deviceId=others["barred"].name)
    queues.wait_for(account, queues.URGENT, others["barred"].name)
    unknown = others["unknown"]
    files = account.cloud.bootstrap(unknown.name, unknown.folder)
    assert outcome(account.cloud, unknown.name, files) == CLOSED
    queues.wait_for(account, queues.REGISTERED, "PENDING_ACTIVATION")
    misname(account, others["misnamed"])
    since = int(time.time())
    late = {"deviceId": others["misnamed"].name, "since": since, "slot": (since + 45) * 1_000}
    queues.send(account, queues.PACED, late)


def test_a_second_deployment(account: Account) -> None:
    """A deployment with another fleet definition changes all Lambdas, no lasting fact, and replaces no
    resource.
    """
    before, old, resources_before = lasting(account), code(account), physical(account)
    with (account.fleet / "rules.cedar").open("a") as rules:
        rules.write(NEW_RULE)
    account.deploy()
    assert status(account) == "UPDATE_COMPLETE"
    assert lasting(account) == before
    assert physical(account) == resources_before
    new = code(account)
    assert {name for name in old if new[name] == old[name]} == {name for name in old if "Provider" in name}


def test_the_new_rule_is_in_force(account: Account, hosts: None, kept: Device) -> None:
    """The new rule decides at once, and the enrolled device keeps its identity."""
    result(account.cloud, "devices", "set", kept.name, "site=berlin")
    vend(account, kept, exits=WAIT)
    result(account.cloud, "devices", "set", kept.name, "site=bonn")
    assert vend(account, kept)["SessionToken"]


def test_the_work_that_waited_is_done(account: Account, hosts: None, others: dict[str, Device]) -> None:
    """The new version handles all waiting messages, and none ends among the dead letters."""
    iot, waited = account.client("iot"), queues.left(account)
    assert waited >= 4
    assert not registered(account, others["stored"])
    queues.set_delivery(account, enabled=True)
    until(lambda: registered(account, others["stored"]))
    until(lambda: iot_status(account, others["barred"]) == "REVOKED")
    unknown = others["unknown"]
    assert (
        settled(account.cloud, (unknown.folder / "bootstrap.pem", unknown.folder / "bootstrap.key"))
        == "ACTIVE"
    )
    until(lambda: not iot.describe_thing(thingName=others["misnamed"].name)["attributes"])
    until(lambda: queues.left(account) == 0)


def test_every_device_goes_on(account: Account, hosts: None, others: dict[str, Device]) -> None:
    """Each device goes on with the certificate it had or was about to get, and the revoked one is refused."""
    issued = lasting(account).devices
    for name, certificate in {"enrolling": "pending", "renewing": "pending", "superseded": "active"}.items():
        device = others[name]
        assert device.boot()["status"] == "active"
        _, _, serials = lasting(account).devices[device.name]
        assert serials["active"] == issued[device.name][2][certificate]
    shutil.rmtree(others["returning"].state)
    for name in ("expected", "returning", "admitted", "unknown"):
        assert others[name].boot()["status"] == "active"
    barred = others["barred"]
    assert barred.run(*barred.boot_arguments(barred.folder / "again")).returncode == STOP
    going = [device for device in others.values() if device is not barred]
    for device in going:
        assert vend(account, device)["SessionToken"]
        until(lambda device=device: registered(account, device))  # type: ignore[misc]


def test_nothing_is_left_to_deploy(account: Account) -> None:
    """`cdk diff` is empty."""
    assert "There were no differences" in account.cdk("diff", STACK, "--fail")


def test_a_broken_update_rolls_back(account: Account) -> None:
    """A release that fails during its deployment leaves no rules, trust anchors or code behind."""
    before = lasting(account), template(account), code(account), identifiers(account)
    sound = {file: file.read_text() for file in account.fleet.glob("trust/*.pem")}
    for file in sound:
        file.write_text(factories.pem(factories.authority(file.stem).certificate))
    shown = account.deploy("--app", "python tests/deploy/broken.py", failing=True)
    assert "Custom::FirstbootAuthority" in shown
    assert status(account) == "UPDATE_ROLLBACK_COMPLETE"
    for file, content in sound.items():
        file.write_text(content)
    assert (lasting(account), template(account), code(account), identifiers(account)) == before


def test_devices_are_served_after_the_rollback(
    account: Account, hosts: None, kept: Device, revoked: Device, tmp_path: Path
) -> None:
    """After the rollback all devices are served as before."""
    still_served(account, kept, revoked, Device(account.cloud, "gw-after-rollback", tmp_path))


def test_lost_device_records_are_restored(
    account: Account, hosts: None, kept: Device, revoked: Device
) -> None:
    """Device records come back from a backup into the stack's table, and a revoked device stays revoked."""
    table, client, before = output(account.cloud, "Table"), account.client("dynamodb"), lasting(account)
    backup = client.create_backup(TableName=table, BackupName="nightly")["BackupDetails"]["BackupArn"]
    for row in client.scan(TableName=table)["Items"]:
        client.delete_item(TableName=table, Key={"pk": row["pk"]})
    assert kept.run("status", "--state", str(kept.state)).returncode == REENROLL
    client.restore_table_from_backup(TargetTableName="Restored", BackupArn=backup)
    result(account.cloud, "registry", "restore", "Restored", "--yes")
    client.delete_table(TableName="Restored")
    assert lasting(account) == before
    assert kept.status()["deviceId"] == kept.name
    assert revoked.run("status", "--state", str(revoked.state)).returncode == STOP


def test_destroying_leaves_what_is_retained(account: Account, empty: set[str], left: Lasting) -> None:
    """Destroying the stack leaves the table, the bucket, the CA's key and the logs.

    Certificates keep their policies, which AWS IoT would not delete.
    """
    admitted = holders(account, ServicePolicy.BOOTSTRAP)
    retained = {each["PhysicalResourceId"] for each in resources(account) if each["ResourceType"] in STATEFUL}
    account.cdk("destroy", STACK, "--force")
    assert identifiers(account) - empty == retained
    assert admitted
    assert holders(account, ServicePolicy.BOOTSTRAP) == admitted


def test_a_new_stack_adopts_what_was_left(account: Account, left: Lasting) -> None:
    """`cdk import` takes back table, bucket and key, and a deployment adds all other resources."""
    mapping = {logical: {IDENTIFIERS[kind]: physical} for logical, (kind, physical) in left.resources.items()}
    adopt = ["--context", "adopt=true", "--resource-mapping-inline", json.dumps(mapping)]
    account.cdk("import", STACK, *adopt)
    assert status(account) == "IMPORT_COMPLETE"
    account.deploy()
    assert status(account) == "UPDATE_COMPLETE"
    assert lasting(account) == left
    assert signers(account) == {
        each["PhysicalResourceId"]
        for each in resources(account)
        if each["ResourceType"] == "AWS::IAM::Role"
        and re.match("(Exchange(Mqtt)?|AuthorityFunction)Role", each["LogicalResourceId"])
    }
    assert "There were no differences" in account.cdk("diff", STACK, "--fail")


def test_the_adopted_devices_live_on(
    account: Account, hosts: None, kept: Device, revoked: Device, tmp_path: Path
) -> None:
    """The new stack serves the enrolled devices under the same CA and refuses the revoked one.

    A device boots over MQTT with the policies that AWS IoT has already.
    """
    still_served(account, kept, revoked, Device(account.cloud, "gw-after-adoption", tmp_path))
    fresh = Device(account.cloud, "gw-mqtt-after-adoption", tmp_path / "mqtt", "mqtt")
    assert fresh.boot()["status"] == "active"
