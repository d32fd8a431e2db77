"""The doctor's judgements of quotas, the CA and the truststore."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console import diagnosis
from console.diagnosis import Level, Need
from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from firstboot.pki.certificate import Certificate, parse_text
from tests import factories
from tests.field.encode import own

CA = factories.authority("our CA").certificate


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """The example fleet, with certificates of two years at most and two trust anchors."""
    return load(Path("fleet"))


@pytest.fixture(scope="module")
def anchors(fleet: Fleet) -> list[Certificate]:
    """The trust anchors of the example fleet."""
    return [parse_text(pem) for group in fleet.groups.values() for pem in group.trust]


def template(rate: str = "7") -> dict[str, Any]:
    """Return the parts of a template that concern quotas."""
    routes = {"POST /v1/certificates": 200, "GET /v1/device": 50}
    settings = {name: {"ThrottlingRateLimit": each} for name, each in routes.items()}
    variables = {"FIRSTBOOT_IOT_RATE": rate}
    return {
        "Resources": {
            "Other": {"Type": "AWS::Lambda::Function", "Properties": {"Environment": {"Variables": {}}}},
            "Bare": {"Type": "AWS::SNS::Topic"},
            "Work": {
                "Type": "AWS::Lambda::Function",
                "Properties": {"Environment": {"Variables": variables}},
            },
            "OtherStage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"StageName": "theirs"}},
            "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"RouteSettings": settings}},
        }
    }


def test_needs_are_the_deployments_own() -> None:
    """The needs follow from the deployed rate for AWS IoT and from the gateway's throttles."""
    found = {(need.service, need.quota): need.wanted for need in diagnosis.needs(template("9.5"))}
    assert found == {
        ("iotcore", "RegisterCertificateWithoutCA API TPS"): 9.5,
        ("iotcore", "UpdateCertificate API TPS"): 9.5,
        ("iotcore", "AttachPolicy API TPS"): 19,
        ("kms", "Cryptographic operations (ECC) request rate"): 200,
        ("lambda", "Concurrent executions"): 250,
        ("apigateway", "Throttle rate"): 250,
    }


def test_requests_that_are_refused_need_no_quota() -> None:
    """Requests for certificates above the logins with new ones use no signature and hardly an execution."""
    storm = template()
    rates = {"POST /v1/certificates": 600, "POST /v1/certificates/commit": 200, "GET /v1/nonce": 600}
    settings = {name: {"ThrottlingRateLimit": rate} for name, rate in rates.items()}
    storm["Resources"]["Stage"]["Properties"]["RouteSettings"] = settings
    found = {need.service: need.wanted for need in diagnosis.needs(storm)}
    assert (found["kms"], found["lambda"], found["apigateway"]) == (200, 600, 1_400)


def test_a_concurrency_of_its_own_is_needed_and_judged() -> None:
    """Concurrency that is reserved for MQTT is needed too, and a stack that reserves none has a warning."""
    plain, reserving = template(), template()
    for handler in ("exchange.mqtt", "exchange.presence", "vend.mqtt"):
        properties = {"Handler": handler, "ReservedConcurrentExecutions": 50}
        reserving["Resources"][handler] = {"Type": "AWS::Lambda::Function", "Properties": properties}
    wanted = {need.quota: need.wanted for need in diagnosis.needs(reserving)}
    assert wanted["Concurrent executions"] == 400
    assert diagnosis.mqtt_concurrency(plain).level is Level.WARN
    line = diagnosis.mqtt_concurrency(reserving)
    assert (line.level, line.detail) == (Level.OK, "150 in all for 3 functions")


@pytest.mark.parametrize(("value", "level"), [(9.9, Level.FAIL), (10, Level.OK), (11, Level.OK)])
def test_a_quota_must_be_as_much_as_is_used(value: float, level: Level) -> None:
    """A quota that equals the need is enough, and a lower one fails."""
    need = Need("iotcore", "L-1", "AttachPolicy API TPS", 10, Level.FAIL)
    assert diagnosis.quota(need, {need.quota: value}).level is level


def test_a_quota_that_aws_does_not_list_is_unknown() -> None:
    """A quota that Service Quotas does not list, perhaps because it was renamed, is not taken for enough."""
    assert diagnosis.quota(Need("kms", "L-1", "x", 1, Level.WARN), {"y": 100}).level is Level.UNKNOWN


def test_a_quota_is_found_by_its_code_or_its_name() -> None:
    """A quota with another name is found by its code, and one with another code by its name."""
    need = Need("kms", "L-1", "x", 10, Level.WARN)
    assert diagnosis.quota(need, {"L-1": 9, "renamed": 9}).level is Level.WARN
    assert diagnosis.quota(need, {"L-2": 9, "x": 9}).level is Level.WARN
    assert diagnosis.quota(need, {"L-1": 10, "x": 9}).level is Level.OK


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("denied", "not known here: denied"),
        ("calling X: ", "not known here: calling X"),
        ("", "not known here"),
    ],
)
def test_an_unknown_line_names_the_reason(reason: str, detail: str) -> None:
    """An unknown line says "not known here" and gives the reason where there is one."""
    assert diagnosis.unknown("quotas", reason) == diagnosis.Line(Level.UNKNOWN, "quotas", detail)


@pytest.mark.parametrize(
    ("state", "ours", "level"),
    [
        ("Enabled", True, Level.OK),
        ("Enabled", False, Level.FAIL),
        ("Disabled", True, Level.FAIL),
        ("PendingDeletion", True, Level.FAIL),
    ],
)
def test_the_key_must_be_able_to_sign(state: str, level: Level, *, ours: bool) -> None:
    """A key that is not enabled, or that the CA certificate is not for, is a failure."""
    assert diagnosis.ca_key(state, is_ours=ours).level is level


@pytest.mark.parametrize(
    ("days", "level"), [(-1, Level.FAIL), (0, Level.WARN), (819, Level.WARN), (820, Level.OK)]
)
def test_the_ca_must_outlast_what_it_issues(fleet: Fleet, days: int, level: Level) -> None:
    """A CA that ends less than 90 days after the longest certificate (730 days here) is a warning."""
    now = CA.not_valid_after_utc - timedelta(days=days)
    assert diagnosis.ca_days(CA, fleet, now).level is level


def test_the_truststore_is_the_fleets(fleet: Fleet, anchors: list[Certificate]) -> None:
    """A truststore must have all trust anchors and the issuing CA, in any order, and no other certificate."""
    assert diagnosis.truststore([own(CA), *anchors], fleet, CA).level is Level.OK
    missing = diagnosis.truststore([own(CA), anchors[0]], fleet, CA)
    assert (missing.level, missing.detail) == (
        Level.FAIL,
        f"{anchors[1].subject.text()} is missing",
    )
    assert diagnosis.truststore(anchors, fleet, CA).detail == "CN=our CA is missing"
    stranger = own(factories.authority("stranger").certificate)
    found = diagnosis.truststore([*anchors, own(CA), stranger], fleet, CA)
    assert (found.level, found.detail) == (Level.FAIL, "CN=stranger does not belong there")


def test_the_host_uses_the_newest_truststore() -> None:
    """An older version in use, or a warning of API Gateway, is a failure."""
    assert diagnosis.truststore_in_use("v2", "v2", []).level is Level.OK
    assert diagnosis.truststore_in_use("v2", "v1", []).level is Level.FAIL
    assert diagnosis.truststore_in_use("v2", "v2", ["expired"]).detail == "expired"


def test_anchors_are_tried(fleet: Fleet) -> None:
    """The doctor is content with anchors that admit devices, and warns about each other one."""
    now = datetime.now(UTC)
    (line,) = diagnosis.anchors(fleet, now)
    assert (line.level, line.what) == (Level.OK, "trust anchors")
    late = diagnosis.anchors(fleet, now + timedelta(days=40_000))
    assert [line.level for line in late] == [Level.WARN, Level.WARN]
    assert late[0].detail.startswith("groups.gateways: no certificate under ")
