"""A device whose id has a colon, or one character, or ends oddly, does all that other devices do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus, unquote, urlsplit

import boto3
import botocore.client
import pytest
from cryptography import x509

from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from tests.aws.invoked import Run
from tests.aws.mqtt import Client
from tests.aws.product import Product, make_policies
from tests.aws.registering import GRANT, MQTT, RULES, SERVICE, Identity, Registering
from tests.aws.test_import import in_aws_iot
from tests.aws.test_operate import problem, successor

IDS = ["a:b", "00:1B:44:11:3A:B7", "x", "_", "7", "gw-", "a:", "DEVICE:gw-1"]
ODD = pytest.mark.parametrize("name", IDS)
CERTIFICATES, _, CREDENTIALS = topics.CALLS
DATA = "arn:aws:s3:::data-123456789012"


@pytest.fixture
def allowing(product: Product) -> Product:
    """Return a product whose fleet allows colons in device ids."""
    product.publish(colon_ids=True)
    return product


def _committed(product: Product, name: str) -> Identity:
    key = factories.ec_key()
    answer = product.enroll(product.bootstrap(name), key)
    assert answer.status == 201, answer.body
    identity = Identity(product, key, product.certificate(answer))
    identity.commit()
    return identity


@ODD
def test_the_certificate_has_the_id_and_its_url_the_object(allowing: Product, name: str) -> None:
    """The certificate's subject is the id, and the path of its URL is the key of its object."""
    answer = allowing.enroll(allowing.bootstrap(name))
    leaf = allowing.certificate(answer)
    assert (answer.body["deviceId"], chain.common_name(leaf)) == (name, name)
    assert answer.body["mqtt"]["clientId"] == name
    url = urlsplit(answer.body["certificateUrl"])
    assert ":" not in url.path
    key = f"certificates/{name}/{answer.body['serial']}.pem"
    assert unquote(url.path).endswith(f"/{key}")
    assert allowing.objects() == [key]


@ODD
def test_https_from_enrollment_to_deletion(allowing: Product, name: str) -> None:
    """A device enrolls, logs in, renews and is shown, and an operator changes, revokes and deletes it."""
    device = _committed(allowing, name)
    _committed(allowing, "gw-2")
    record = allowing.call("GET", "/v1/device", device.leaf).body
    assert (record["deviceId"], record["grants"]) == (name, ["telemetry"])
    renewed = device.renew()
    renewed.commit()
    assert (
        allowing.operate("devices.set", deviceId=name, attributes={"site": "x"})["result"]["generation"] == 2
    )
    assert allowing.operate("devices.explain", deviceId=name)["result"]
    assert [each["deviceId"] for each in allowing.operate("devices.list")["result"]["devices"]].count(
        name
    ) == 1
    assert allowing.operate("devices.revoke", deviceId=name)["result"]["status"] == "revoked"
    assert allowing.call("GET", "/v1/device", renewed.leaf).body["code"] == "device-revoked"
    assert allowing.operate("devices.delete", deviceId=name)["result"]
    assert allowing.operate("devices.show", deviceId=name)["result"]["status"] == "deleted"
    assert allowing.operate("devices.show", deviceId="gw-2")["result"]["status"] == "enrolled"


@pytest.mark.parametrize(
    ("name", "spelled"), [("a:b", "a=b"), ("x", "x+"), ("gw-1", "gw-1"), ("a:", "a="), ("d" * 64, "d" * 64)]
)
def test_a_session_has_the_spelling_of_sts(
    allowing: Product, monkeypatch: pytest.MonkeyPatch, name: str, spelled: str
) -> None:
    """AssumeRole gets names that STS accepts, a tag with the id itself, and a policy with the literal id."""
    device, asked = _committed(allowing, name), []
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        asked.extend([parameters] if operation == "AssumeRole" else [])
        return make(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    path = "/role-aliases/telemetry/credentials"
    answer = allowing.call("GET", path, device.leaf, headers={"x-amzn-iot-thingname": name})
    assert answer.status == 200, answer.body
    (request,) = asked
    assert (request["RoleSessionName"], request["SourceIdentity"]) == (spelled, spelled)
    assert {"Key": "deviceId", "Value": name} in request["Tags"]
    assert json.loads(request["Policy"])["Statement"][0]["Resource"] == f"{DATA}/{name}/*"


@ODD
def test_aws_iot_has_thing_shadow_and_policies(registering: Registering, name: str) -> None:
    """`register` makes the thing, the shadow and the policies of such a device, and takes them back."""
    product = registering.product
    known = replace(product.fleet.groups["gateways"], configuration={"interval": 60})
    grants = product.fleet.grants | {"mqtt": MQTT, "site": MQTT}
    changes: dict[str, Any] = {"grants": grants, "rules": RULES, "groups": {"gateways": known}}
    product.publish(colon_ids=True, **changes)
    make_policies(replace(product.fleet, **changes))
    device = registering.enroll(name)
    stored = {"key": quote_plus(f"certificates/{name}/{device.leaf.serial_number:x}.pem", safe="/")}
    event = {"Records": [{"eventTime": "2026-11-27T11:17:24.123Z", "s3": {"object": stored}}]}
    assert registering.records(json.dumps(event)) == {"batchItemFailures": []}
    assert registering.status(device.leaf) == "ACTIVE"
    assert registering.policies(device.leaf) == {SERVICE, GRANT}
    assert registering.desired(name) == {"interval": 60}
    assert name in [each["thingName"] for each in boto3.client("iot").list_things()["things"]]
    product.operate("devices.revoke", deviceId=name)
    registering.until_quiet(json.dumps({"deviceId": name, "priority": "revocation"}))
    assert registering.status(device.leaf) == "REVOKED"
    assert registering.calls.disconnected == [name]


@ODD
def test_mqtt(allowing: Product, name: str) -> None:
    """First boot, renewal and credentials work over MQTT, on topics with the id in them."""
    unenrolled = Client(allowing, name, allowing.bootstrap(name))
    answer = unenrolled.ask(CERTIFICATES, csr=unenrolled.csr(), bootstrap=factories.pem(unenrolled.leaf))
    stored = boto3.client("s3").get_object(Bucket=allowing.bucket, Key=allowing.objects()[0])["Body"].read()
    device = Client(allowing, name, x509.load_pem_x509_certificates(stored)[0], unenrolled.key)
    assert answer["deviceId"] == name
    assert "credentials" in device.ask(CREDENTIALS, roleAlias="telemetry")
    fresh = replace(device, key=factories.ec_key())
    assert fresh.ask(CERTIFICATES, csr=fresh.csr())["certificateId"] != device.principal


@ODD
def test_a_claim_certificate_may_ask_for_it(shared: Product, name: str) -> None:
    """A device with a claim certificate gets the id that it asks for, if the fleet allows it."""
    leaf = shared.factory.issue("claim", factories.ec_key())
    if ":" in name:
        refused = shared.enroll(leaf, deviceId=name)
        assert (refused.status, refused.body["code"]) == (400, "device-id-invalid")
        assert "A-Z a-z 0-9 _ . -," in refused.body["detail"]
    shared.publish(colon_ids=True)
    shared.operate("groups.expect", group="gateways", devices={name: {}})
    assert shared.enroll(leaf, deviceId=name).body["deviceId"] == name


@pytest.fixture
def shared(product: Product) -> Product:
    """Return a product whose one group shares a claim certificate."""
    groups = {"gateways": replace(product.fleet.groups["gateways"], device_id="request.deviceId")}
    product.publish(groups=groups)
    publish = product.publish
    product.publish = lambda **changes: publish(groups=groups, **changes)  # type: ignore[method-assign]
    return product


def test_things_of_aws_iot_are_imported(allowing: Product, run: Run, tmp_path: Any) -> None:
    """Things with colons, with one character and with a `-` at the end are imported."""
    names = ["a:b", "x", "gw-", "_"]
    for name in names:
        in_aws_iot(name, "ACTIVE", key=factories.ec_key())
    file = tmp_path / "fleet.csv"
    file.write_text("deviceId\n" + "".join(f"{name}\n" for name in names))
    done = run("devices", "import", "gateways", str(file), "--json")
    assert json.loads(done.stdout)["imported"] == len(names), done.output


def test_every_thing_name_that_can_not_be_imported_is_named_first(
    product: Product, run: Run, tmp_path: Any
) -> None:
    """All names that no device may have are named with line and column, and no device is imported."""
    in_aws_iot("gw-1", "ACTIVE", key=factories.ec_key())
    wrong = ["x" * 65, "-a", "boot-1", "firstboot", ":a", "aws:b"]
    file = tmp_path / "fleet.csv"
    file.write_text("deviceId\ngw-1\n" + "".join(f"{name}\n" for name in wrong))
    done = run("devices", "import", "gateways", str(file), "--json")
    assert done.exit_code == 1
    problems = json.loads(done.stderr)["problems"]
    starts = [f"line {n}: column deviceId: {name!r} is no device id" for n, name in enumerate(wrong, 3)]
    assert [each.partition(": A device id has")[0] for each in problems] == starts
    file.write_text("deviceId\ngw-1\na:b\nc:d\n")
    done = run("devices", "import", "gateways", str(file), "--json")
    starts = [f"line {n}: column deviceId: {name!r} is no device id" for n, name in ((3, "a:b"), (4, "c:d"))]
    problems = json.loads(done.stderr)["problems"]
    assert [each.partition(": A device id has")[0] for each in problems] == starts
    assert product.rows() == []


def test_colons_are_allowed_once_published_and_stay(product: Product) -> None:
    """`fleet apply` allows colons in ids, and does not take that back, since devices may have them."""
    refused = product.enroll(product.bootstrap("a:b"))
    assert (refused.status, refused.body["code"]) == (400, "device-id-invalid")
    assert "result" in product.operate("fleet.apply", fleet=successor(product, colon_ids=True))
    product.lambdas.restart_readers()
    device = _committed(product, "a:b")
    answer = product.operate("fleet.apply", fleet=successor(product))
    assert problem(answer)["code"] == "fleet-needs-deployment"
    product.publish()  # as a deployment does
    assert product.call("GET", "/v1/device", device.leaf).body["grants"] == []
    vended = product.call("GET", "/role-aliases/telemetry/credentials", device.leaf)
    assert vended.status == 403
    assert product.operate("devices.revoke", deviceId="a:b")["result"]["status"] == "revoked"
