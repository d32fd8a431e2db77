"""Test the operator's calls to the Lambda function over moto."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.fleet import Fleet, RoleAlias
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from tests import factories
from tests.aws.product import CONTEXT, Product, http_event
from tests.fleets import TELEMETRY, group


def problem(answer: dict[str, Any]) -> dict[str, Any]:
    """Check that an answer has only a problem, and return it."""
    assert set(answer) == {"problem"}, answer
    found: dict[str, Any] = answer["problem"]
    return found


def published(product: Product) -> Fleet | None:
    """Return the published fleet, or None if there is none."""
    try:
        answer = boto3.client("s3").get_object(Bucket=product.bucket, Key=PUBLISHED_FLEET_KEY)
    except ClientError:
        return None
    return Fleet.from_json(answer["Body"].read())


def successor(product: Product, **changes: Any) -> dict[str, Any]:
    """Return a fleet that builds on the deployed one, as JSON values."""
    fleet = replace(product.fleet, base=product.fleet.hash, **changes)
    values: dict[str, Any] = json.loads(fleet.to_json())
    return values


def test_every_device_is_listed_once(product: Product) -> None:
    """Pages of any size list every device once, and no other row of the table."""
    names = {f"gw-{n}" for n in range(5)}
    for name in names:
        product.identity(name)
    found, after = [], None
    while True:
        page = product.operate("devices.list", limit=2, after=after)["result"]
        assert len(page["devices"]) <= 2
        found += [device["deviceId"] for device in page["devices"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(found) == sorted(names)


def test_a_record_is_shown_whole(product: Product) -> None:
    """A shown record has a pending certificate before the first login, and an active one after it."""
    leaf = product.identity("gw-1")
    before = product.operate("devices.show", deviceId="gw-1")["result"]
    assert (before["status"], before["active"]) == ("enrolled", None)
    assert before["pending"]["serial"] == f"{leaf.serial_number:x}"
    product.call("POST", "/v1/certificates/commit", leaf)
    after = product.operate("devices.show", deviceId="gw-1")["result"]
    assert after["pending"] is None
    assert after["active"]["serial"] == f"{leaf.serial_number:x}"
    assert after["active"]["notAfter"].endswith("Z")


def test_a_problem_has_every_member(product: Product) -> None:
    """A refusal has the same members of problem+json as over HTTPS."""
    found = problem(product.operate("devices.show", deviceId="absent"))
    assert set(found) == {"type", "title", "status", "detail", "code", "requestId", "action", "time"}
    assert (found["code"], found["status"], found["action"]) == ("device-not-found", 404, "stop")


@pytest.mark.parametrize("path", ["/v1/device", "/role-aliases/telemetry/credentials"])
def test_a_revoked_device_is_refused_from_the_next_call_on(product: Product, path: str) -> None:
    """A revoked device is refused with its operational and with its bootstrap certificate."""
    leaf = product.identity("gw-1")
    assert product.call("GET", path, leaf).status == 200
    assert product.operate("devices.revoke", deviceId="gw-1")["result"]["status"] == "revoked"
    assert product.call("GET", path, leaf).status == 403
    again = product.enroll(product.bootstrap("gw-1"))
    assert (again.status, again.body["code"]) == (403, "device-revoked")


def test_revoking_again_changes_nothing(product: Product) -> None:
    """A repeated revocation is no error, and the device stays revoked."""
    product.identity("gw-1")
    product.operate("devices.revoke", deviceId="gw-1")
    assert product.operate("devices.revoke", deviceId="gw-1")["result"]["status"] == "revoked"


@pytest.mark.parametrize("path", ["/v1/device", "/role-aliases/telemetry/credentials"])
def test_a_deleted_device_starts_over_when_its_record_is_gone(product: Product, path: str) -> None:
    """A deleted device is refused at once, and can enroll again after its record is gone.

    The new enrollment may use the old key.
    """
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    assert product.call("GET", path, leaf).status == 200
    for _ in range(2):
        assert product.operate("devices.delete", deviceId="gw-1")["result"]["status"] == "deleted"
    assert product.call("GET", path, leaf).status == 403
    renewed = product.enroll(leaf, key)
    assert (renewed.body["code"], renewed.body["action"]) == ("certificate-not-current", "reenroll")
    waiting = product.enroll(product.bootstrap("gw-1"), key)
    assert (waiting.status, waiting.body["code"], waiting.body["action"]) == (
        409,
        "enrollment-in-progress",
        "wait",
    )
    assert waiting.body["detail"] == "The device is being deleted"
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-1"}})
    again = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    assert product.call("GET", path, again).status == 200
    assert product.call("GET", path, leaf).status == 403


def test_a_deleted_device_holds_nothing(product: Product) -> None:
    """The explanation of a deleted device has no grants, like its credentials call."""
    product.identity("gw-1")
    product.operate("devices.delete", deviceId="gw-1")
    explained = product.operate("devices.explain", deviceId="gw-1")["result"]
    for context in explained["moments"]:
        assert (context["refusal"]["code"], context["grants"]) == ("certificate-not-current", [])


@pytest.mark.parametrize(
    "operation", ["devices.revoke", "devices.delete", "devices.rebind", "devices.set", "devices.explain"]
)
def test_an_unknown_device_is_not_made_by_asking(product: Product, operation: str) -> None:
    """No operation writes a row for a device that never enrolled."""
    more: dict[str, Any] = {"attributes": {"site": "berlin"}} if operation == "devices.set" else {}
    if operation == "devices.rebind":
        more = {"key": "a" * 64, "until": "2999-12-31"}
    assert problem(product.operate(operation, deviceId="absent", **more))["code"] == "device-not-found"
    assert product.rows() == []


def test_attributes_are_set_and_removed(product: Product) -> None:
    """A value sets an attribute, null removes one, and other attributes stay."""
    product.identity("gw-1")
    product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin", "quarantined": True})
    device = product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": None})["result"]
    assert device["attributes"] == {"site": "berlin"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"sight": "berlin"},
        {"site": 7},
        {"quarantined": "true"},
        {"deviceId": "gw-2"},
        {"claims": "x"},
        {"site": "x" * 2_048},
    ],
)
def test_attributes_that_do_not_fit_the_schema_are_not_written(
    product: Product, attributes: dict[str, Any]
) -> None:
    """If one attribute does not fit the schema, none is written."""
    product.identity("gw-1")
    before = product.rows()
    answer = product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True} | attributes)
    assert problem(answer)["code"] == "attributes-invalid"
    assert product.rows() == before


def test_an_explanation_names_the_rule_and_the_policy_that_sts_gets(product: Product) -> None:
    """The explanation for a role alias has the rule, and the policy that vending sends to STS."""
    leaf = product.identity("gw-1")
    sent: list[str] = []
    clients.sts().meta.events.register(
        "provide-client-params.sts.AssumeRole", lambda params, **_: sent.append(params["Policy"])
    )
    assert product.call("GET", "/role-aliases/telemetry/credentials", leaf).status == 200
    explained = product.operate("devices.explain", deviceId="gw-1", context={"roleAlias": "telemetry"})
    (context,) = explained["result"]["moments"]
    assert context["grants"] == [{"grant": "telemetry", "rules": ["every-device"]}]
    assert [context["sessionPolicy"]] == [json.loads(policy) for policy in sent]


def test_an_explanation_covers_every_role_alias_and_mqtt(product: Product) -> None:
    """An explanation without a context has each role alias, and MQTT without a session policy."""
    product.identity("gw-1")
    contexts = product.operate("devices.explain", deviceId="gw-1")["result"]["moments"]
    assert [context["roleAlias"] for context in contexts] == ["telemetry", None]
    assert [bool(context["sessionPolicy"]) for context in contexts] == [True, False]
    assert all(context["grants"] for context in contexts)


def test_an_explanation_names_the_rule_that_withholds(product: Product) -> None:
    """An explanation without a grant has the refusal and the `forbid` rule that caused it."""
    deploy(product, rules=f'{product.fleet.rules} @id("stop") forbid (principal, action, resource);')
    product.identity("gw-1")
    context = product.operate("devices.explain", deviceId="gw-1")["result"]["moments"][0]
    assert (context["grants"], context["sessionPolicy"]) == ([], None)
    assert context["withheld"] == [{"grant": "telemetry", "rules": ["stop"]}]
    assert context["refusal"]["code"] == "no-grant"


@pytest.mark.parametrize(
    ("revoked", "alias", "code"),
    [(True, "telemetry", "device-revoked"), (False, "x", "role-alias-not-found")],
)
def test_an_explanation_refuses_as_vending_does(
    product: Product, alias: str, code: str, *, revoked: bool
) -> None:
    """An explanation of a revoked device or an unknown role alias has vending's refusal."""
    product.identity("gw-1")
    if revoked:
        product.operate("devices.revoke", deviceId="gw-1")
    answer = product.operate("devices.explain", deviceId="gw-1", context={"roleAlias": alias})
    (context,) = answer["result"]["moments"]
    assert (context["grants"], context["sessionPolicy"], context["refusal"]["code"]) == ([], None, code)


def test_an_explanation_considers_the_address(product: Product) -> None:
    """An explanation passes the context's `sourceIp` to the rules."""
    deploy(
        product,
        rules='@id("here") permit (principal, action, resource)'
        ' when { context has sourceIp && context.sourceIp.isInRange(ip("192.0.2.0/24")) };',
    )
    product.identity("gw-1")
    for address, grants in {"192.0.2.1": 1, "198.51.100.1": 0}.items():
        context = {"roleAlias": "telemetry", "sourceIp": address}
        answer = product.operate("devices.explain", deviceId="gw-1", context=context)
        assert len(answer["result"]["moments"][0]["grants"]) == grants


def deploy(product: Product, **changes: Any) -> None:
    """Publish the fleet with `changes`, so that it is in force."""
    assert "result" in product.operate("fleet.apply", fleet=successor(product, **changes))


def test_a_published_fleet_is_in_force(product: Product) -> None:
    """`fleet.show` has the deployed fleet and the one in force, and the published rules decide."""
    rules = product.fleet.rules.replace("every-device", "each-device")
    answer = product.operate("fleet.apply", fleet=successor(product, rules=rules))
    shown = product.operate("fleet.show")["result"]
    assert shown["deployed"] == {"hash": product.fleet.hash, "fleet": json.loads(product.fleet.to_json())}
    assert shown["inForce"]["hash"] == answer["result"]["hash"]
    assert shown["inForce"]["fleet"]["rules"] == rules
    product.identity("gw-1")
    contexts = product.operate("devices.explain", deviceId="gw-1")["result"]["moments"]
    assert contexts[0]["grants"][0]["rules"] == ["each-device"]


def test_a_fleet_for_another_deployment_is_refused(product: Product) -> None:
    """A fleet that builds on another deployment, or on none, is not published."""
    for base in ("0" * 64, None):
        fleet = successor(product) | {"base": base}
        assert problem(product.operate("fleet.apply", fleet=fleet))["code"] == "fleet-outdated"
    assert published(product) is None


def test_a_longest_answer_is_published(product: Product) -> None:
    """A role alias's `max_answer` is published without a deployment, and a wrong one is refused."""
    for size, accepted in ((511, False), ("2048", False), (True, False), (2_048, True)):
        alias = RoleAlias("telemetry", 3_600, size)  # type: ignore[arg-type]
        answer = product.operate("fleet.apply", fleet=successor(product, role_aliases={"telemetry": alias}))
        assert ("result" in answer) is accepted, (size, answer)
    assert product.operate("fleet.show")["result"]["inForce"]["fleet"]["role_aliases"] == {
        "telemetry": {"name": "telemetry", "seconds": 3_600, "max_answer": 2_048}
    }


def test_a_change_that_needs_a_deployment_is_refused(product: Product) -> None:
    """A changed role alias or anchor is not published, because its role or truststore needs a deployment."""
    other = group("gateways", factories.authority())
    cases: list[dict[str, Any]] = [
        {"role_aliases": {"telemetry": RoleAlias("telemetry", 900)}},
        {"role_aliases": {**product.fleet.role_aliases, "more": RoleAlias("more", 900)}},
        {"groups": {"gateways": other}},
    ]
    for changes in cases:
        answer = product.operate("fleet.apply", fleet=successor(product, **changes))
        assert problem(answer)["code"] == "fleet-needs-deployment"
    assert published(product) is None


def test_a_fleet_is_compiled_again_before_it_is_published(product: Product) -> None:
    """A fleet is compiled again before it is published, because the caller may not have compiled it."""
    wide = {**TELEMETRY, "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    prefix = json.loads(json.dumps(TELEMETRY).replace("{deviceId}/*", "{deviceId}*"))
    cases: list[dict[str, Any]] = [
        {"rules": "permit (principal, action, resource) when { principal.nonsense };"},
        {"schema": "entity Device;"},
        {"grants": {"telemetry": prefix}},
        {"grants": {"telemetry": wide | {"Version": "2008-10-17"}}},
        {"grants": {"telemetry": []}},
        {"rules": 7},
    ]
    for changes in cases:
        answer = product.operate("fleet.apply", fleet=successor(product, **changes))
        assert problem(answer)["code"] == "fleet-invalid", changes
    assert published(product) is None


@pytest.mark.parametrize("fleet", [None, [], "x", {}, {"groups": []}, {"groups": {"a": {"name": "a"}}}])
def test_a_value_that_is_no_fleet_is_refused(product: Product, fleet: object) -> None:
    """A value that is no fleet is a malformed request, and nothing is published."""
    assert problem(product.operate("fleet.apply", fleet=fleet))["code"] == "malformed-request"
    assert published(product) is None


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("devices.list", {"limit": 0}),
        ("devices.list", {"limit": 501}),
        ("devices.list", {"limit": True}),
        ("devices.list", {"limit": "10"}),
        ("devices.list", {"after": ""}),
        ("devices.list", {"after": 3}),
        ("devices.list", {"group": "gateways"}),
        ("devices.show", {}),
        ("devices.show", {"deviceId": 1}),
        ("devices.revoke", {"deviceId": "gw-1", "reason": "stolen"}),
        ("devices.rebind", {"deviceId": "gw-1", "key": "a" * 63, "until": "2999-12-31"}),
        ("devices.rebind", {"deviceId": "gw-1", "key": "a" * 64, "until": "2999-02-30"}),
        ("devices.rebind", {"deviceId": "gw-1", "key": "a" * 64}),
        ("devices.token", {"group": "gateways"}),
        ("devices.token", {"deviceId": "gw-1", "days": 2}),
        ("devices.set", {"deviceId": "gw-1"}),
        ("devices.set", {"deviceId": "gw-1", "attributes": {}}),
        ("devices.set", {"deviceId": "gw-1", "attributes": {"site": 1.5}}),
        ("devices.set", {"deviceId": "gw-1", "attributes": {"site": ["x"]}}),
        ("devices.explain", {"deviceId": "gw-1", "context": "telemetry"}),
        ("devices.explain", {"deviceId": "gw-1", "context": {"roleAlias": 1}}),
        ("devices.explain", {"deviceId": "gw-1", "context": {"site": "berlin"}}),
        ("devices.explain", {"deviceId": "gw-1", "context": {"sourceIp": "here"}}),
        ("fleet.show", {"deviceId": "gw-1"}),
        ("fleet.apply", {}),
    ],
)
def test_malformed_parameters_are_refused(
    product: Product, operation: str, parameters: dict[str, Any]
) -> None:
    """A parameter that is missing, unknown or of another type is refused, and nothing is written."""
    product.identity("gw-1")
    before = product.rows()
    assert problem(product.operate(operation, **parameters))["code"] == "malformed-request"
    assert (product.rows(), published(product)) == (before, None)


def test_an_unknown_operation_is_refused(product: Product) -> None:
    """The refusal of an unknown operation names the known ones."""
    found = problem(product.operate("devices.forget", deviceId="gw-1"))
    assert found["code"] == "operation-unknown"
    assert "devices.revoke" in found["detail"]


def test_a_malformed_device_id_is_refused(product: Product) -> None:
    """A malformed device id is refused before the table is read."""
    assert problem(product.operate("devices.show", deviceId="../gw-1"))["code"] == "device-id-invalid"


def test_an_api_event_is_no_operation(product: Product) -> None:
    """An event of API Gateway is no operator's call, even if a device imitates one in it."""
    product.identity("gw-1")
    call = {"operation": "devices.revoke", "parameters": {"deviceId": "gw-1"}}
    body = json.dumps(call)
    event = http_event("POST", "/v1/certificates", None, body, {}, {"operation": "devices.revoke"})
    for disguised in (event, event | call, [call], body, None):
        assert problem(product.lambdas.invoke(disguised, CONTEXT))["code"] == "malformed-request"
    assert product.operate("devices.show", deviceId="gw-1")["result"]["status"] == "enrolled"


def test_a_change_leaves_an_audit_line_without_its_values(product: Product, logs: io.StringIO) -> None:
    """The log has each change and its device, without values of attributes, which may be personal data."""
    product.identity("gw-1")
    product.operate("devices.set", deviceId="gw-1", attributes={"site": "secret street 5"})
    product.operate("devices.revoke", deviceId="gw-1")
    deploy(product)
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    audit = [line for line in lines if line.get("message") == "audit"]
    assert [line["change"] for line in audit] == ["AttributesSet", "DeviceRevoked", "FleetPublished"]
    assert (audit[0]["deviceId"], audit[0]["attributes"]) == ("gw-1", ["site"])
    assert "secret street" not in logs.getvalue()


def test_an_unforeseen_error_is_only_logged(
    product: Product, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error is a problem without detail, and its reason is only in the log."""
    monkeypatch.setattr(DynamoDevices, "device", lambda *_: 1 / 0)
    found = problem(product.operate("devices.show", deviceId="gw-1"))
    assert (found["code"], found["status"]) == ("internal-error", 500)
    assert "ZeroDivisionError" not in json.dumps(found)
    assert "ZeroDivisionError" in logs.getvalue()


def test_an_outage_of_aws_is_unavailable(product: Product, logs: io.StringIO) -> None:
    """A table that does not answer is `unavailable`, with the action to retry; its error is only logged."""
    boto3.client("dynamodb").delete_table(TableName=product.table)
    found = problem(product.operate("devices.show", deviceId="gw-1"))
    assert (found["code"], found["action"]) == ("unavailable", "retry")
    assert "ResourceNotFoundException" in logs.getvalue()
