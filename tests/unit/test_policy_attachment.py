"""Which grants' policies AWS IoT is to have on a device's certificates."""

from __future__ import annotations

from dataclasses import replace

from firstboot.lifecycle import Status
from firstboot.policy.attachment import grants_to_attach
from firstboot.policy.rules import Rules
from tests.unit.fleet_folders import device, fleet, grant, statement

_CONNECT = statement(
    Action="iot:Connect", Resource="arn:{partition}:iot:{region}:{account}:client/{deviceId}"
)
RULES = Rules(
    fleet(
        grants={"telemetry": grant(), "mqtt": grant(_CONNECT), "both": grant(_CONNECT, statement())},
        rules='@id("all") permit (principal, action, resource) unless { principal.quarantined };',
    )
)


def test_only_what_is_about_aws_iot_and_held() -> None:
    """A grant about S3 alone is no business of AWS IoT's."""
    assert grants_to_attach(RULES, device()) == {"mqtt", "both"}
    assert grants_to_attach(RULES, device(attributes={"quarantined": True})) == frozenset()


def test_only_for_enrolled_devices_of_groups_in_the_registry() -> None:
    """A revoked device holds nothing, whatever the rules say; nor does one that comes with tokens."""
    for status in set(Status) - {Status.ENROLLED}:
        assert grants_to_attach(RULES, replace(device(), status=status)) == frozenset()
    assert grants_to_attach(RULES, device(group="gone")) == frozenset()
    group = RULES.fleet.groups["gateways"]
    tokens = replace(RULES.fleet, groups={"gateways": replace(group, mqtt="token")})
    assert grants_to_attach(Rules(tokens), device()) == frozenset()
