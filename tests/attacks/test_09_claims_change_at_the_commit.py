"""A renewal changes a device's claims, by mistake or on purpose, without a login with the new certificate.

The fleet forbids a grant to devices with a broken model, by claim. Firmware that renews without `claims`, or
an attacker that holds a device's key and asks for a certificate that it never uses, must not lift the rule.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.aws.product import Answer
from tests.aws.registering import GRANT, MQTT, RULES, SERVICE, Identity, Registering

FORBID = """
@id("broken") forbid (principal, action == Action::"hold", resource == Grant::"mqtt")
when { principal.claims has model && principal.claims.model == "broken" };
"""
BROKEN = {"model": "broken"}


@pytest.fixture
def broken(registering: Registering) -> Identity:
    """Return a device that says that its model is broken, and has no grant for it."""
    groups = {"gateways": registering.product.fleet.groups["gateways"]}
    grants = registering.product.fleet.grants | {"mqtt": MQTT, "site": MQTT}
    registering.product.publish(grants=grants, rules=RULES + FORBID, groups=groups)
    device = _identity(registering, _enroll(registering, claims=BROKEN))
    registering.work("gw-1")
    device.commit()
    assert _held(registering, device) == (["telemetry"], {SERVICE})
    return device


def _enroll(registering: Registering, device: Identity | None = None, **members: Any) -> Answer:
    leaf = device.leaf if device else registering.product.bootstrap("gw-1")
    answer = registering.product.enroll(leaf, factories.ec_key(), **members)
    assert answer.status == 201, answer.body
    return answer


def _identity(registering: Registering, answer: Answer) -> Identity:
    return Identity(registering.product, factories.ec_key(), registering.product.certificate(answer))


def _held(registering: Registering, device: Identity) -> tuple[list[str], set[str]]:
    """Return the grants that a device holds, and the policies that its certificate has."""
    answer = registering.product.call("GET", "/v1/device", device.leaf)
    return answer.body["grants"], registering.policies(device.leaf)


@pytest.mark.parametrize("enrolls", [False, True], ids=["renewal", "enrollment"])
def test_a_request_that_says_nothing_of_claims_lifts_no_rule(
    registering: Registering, broken: Identity, *, enrolls: bool
) -> None:
    """A device that asks without claims stays forbidden, before and after its commit."""
    answer = _enroll(registering, None if enrolls else broken)
    registering.work("gw-1")
    assert _held(registering, broken) == (["telemetry"], {SERVICE})
    renewed = _identity(registering, answer)
    renewed.commit()
    registering.work("gw-1")
    assert _held(registering, renewed) == (["telemetry"], {SERVICE})


@pytest.mark.parametrize("enrolls", [False, True], ids=["renewal", "enrollment"])
@pytest.mark.parametrize("claims", [{}, {"model": "good"}], ids=["none", "others"])
def test_a_certificate_that_never_logs_in_changes_no_rights(
    registering: Registering, broken: Identity, claims: dict[str, Any], *, enrolls: bool
) -> None:
    """Claims of a certificate that is never used change nothing, in AWS IoT, in answers and for the rules."""
    _enroll(registering, None if enrolls else broken, claims=claims)
    registering.work("gw-1")
    assert _held(registering, broken) == (["telemetry"], {SERVICE})
    shown = registering.product.operate("devices.show", deviceId="gw-1")["result"]
    assert (shown["claims"], shown["pendingClaims"]) == (BROKEN, claims)


def test_claims_change_with_the_login(registering: Registering, broken: Identity) -> None:
    """At its first login with the new certificate the device gets the rights of its new claims."""
    mended = _identity(registering, _enroll(registering, broken, claims={"model": "good"}))
    registering.work("gw-1")
    assert registering.policies(mended.leaf) == {SERVICE}
    mended.commit()
    registering.work("gw-1")
    assert _held(registering, mended) == (["mqtt", "telemetry"], {SERVICE, GRANT})
