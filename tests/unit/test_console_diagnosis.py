"""What the doctor makes of quotas, the CA and the truststore."""

from __future__ import annotations

from datetime import timedelta
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
    """The example fleet: certificates of two years at most, two anchors."""
    return load(Path("fleet"))


@pytest.fixture(scope="module")
def anchors(fleet: Fleet) -> list[Certificate]:
    """Its anchors."""
    return [parse_text(pem) for group in fleet.groups.values() for pem in group.trust]


def template(rate: str = "7") -> dict[str, Any]:
    """A template as far as quotas go."""
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
            "Someones": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"StageName": "theirs"}},
            "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"RouteSettings": settings}},
        }
    }


def test_needs_are_the_deployments_own() -> None:
    """A first reconciliation takes two attachments; everything else is what the gateway lets in."""
    found = {(need.service, need.quota): need.wanted for need in diagnosis.needs(template("9.5"))}
    assert found == {
        ("iotcore", "RegisterCertificateWithoutCA API TPS"): 9.5,
        ("iotcore", "UpdateCertificate API TPS"): 9.5,
        ("iotcore", "AttachPolicy API TPS"): 19,
        ("kms", "Cryptographic operations (ECC) request rate"): 200,
        ("lambda", "Concurrent executions"): 250,
        ("apigateway", "Throttle rate"): 250,
    }


@pytest.mark.parametrize(("value", "level"), [(9.9, Level.FAIL), (10, Level.OK), (11, Level.OK)])
def test_a_quota_must_be_as_much_as_is_used(value: float, level: Level) -> None:
    """Just enough is enough."""
    need = Need("iotcore", "AttachPolicy API TPS", 10, Level.FAIL)
    assert diagnosis.quota(need, {need.quota: value}).level is level


def test_a_quota_that_nobody_names_is_not_taken_for_enough() -> None:
    """AWS may rename it."""
    assert diagnosis.quota(Need("kms", "x", 1, Level.WARN), {"y": 100}).level is Level.WARN


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
    """And be the one that the CA certificate is for."""
    assert diagnosis.ca_key(state, is_ours=ours).level is level


@pytest.mark.parametrize(
    ("days", "level"), [(-1, Level.FAIL), (0, Level.WARN), (819, Level.WARN), (820, Level.OK)]
)
def test_the_ca_must_outlast_what_it_issues(fleet: Fleet, days: int, level: Level) -> None:
    """By the ninety days that a new CA takes; the example's certificates last 730."""
    now = CA.not_valid_after_utc - timedelta(days=days)
    assert diagnosis.ca_days(CA, fleet, now).level is level


def test_the_truststore_is_the_fleets(fleet: Fleet, anchors: list[Certificate]) -> None:
    """All anchors, our CA, in any order, and nothing else."""
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
    """API Gateway reads it once, when the domain changes; and it says what it does not like."""
    assert diagnosis.truststore_in_use("v2", "v2", []).level is Level.OK
    assert diagnosis.truststore_in_use("v2", "v1", []).level is Level.FAIL
    assert diagnosis.truststore_in_use("v2", "v2", ["expired"]).detail == "expired"
