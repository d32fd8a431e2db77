"""The example fleet compiles, and each of its rules decides as it reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from firstboot.compiler import fleet as compiler
from firstboot.compiler import source
from firstboot.domain.device import Attribute
from firstboot.domain.names import DeviceId
from firstboot.pki import chain
from firstboot.policy import render
from firstboot.policy.rules import RequestContext, Rules
from tests.unit.fleet_folders import device
from tests.unit.test_policy_rulebook import SAMPLE

FOLDER = Path(__file__).parents[2] / "fleet"
FLEET = compiler.load(FOLDER)
RULES = Rules(FLEET)
PLACE = render.Place("aws", "us-east-1", "123456789012")


def _held(group: str, alias: str | None, **attributes: Attribute) -> dict[str, tuple[str, ...]]:
    return RULES.decide(device(group, attributes), RequestContext(alias)).rules


def test_it_has_the_documented_groups_and_grants() -> None:
    """The example has two groups, three grants and the role alias `telemetry` first, for new devices."""
    assert list(FLEET.groups) == ["gateways", "sensors"]
    assert sorted(FLEET.grants) == ["firmware", "mqtt", "telemetry"]
    assert next(iter(FLEET.role_aliases.values())).name == "telemetry"
    assert FLEET.role_aliases["telemetry"].seconds == 3600


def test_a_new_gateway_may_send_telemetry() -> None:
    """A new gateway without attributes holds `telemetry`, and it holds nothing under another role alias."""
    assert _held("gateways", "telemetry") == {"telemetry": ("gateway-telemetry",)}
    assert _held("gateways", "updates") == {}


def test_a_sensor_needs_a_site() -> None:
    """A sensor holds `telemetry` only after the operator has set its site."""
    assert _held("sensors", "telemetry") == {}
    assert _held("sensors", "telemetry", site="berlin") == {"telemetry": ("sensor-telemetry",)}


def test_own_topics_are_for_mqtt() -> None:
    """A device holds its own topics when it connects without a role alias, and never under one."""
    for group in FLEET.groups:
        assert _held(group, None) == {"mqtt": ("own-topics",)}
        assert "mqtt" not in _held(group, "telemetry", site="x")


def test_firmware_is_for_the_stable_channel() -> None:
    """A device holds `firmware` only on the stable channel and under the role alias for updates."""
    assert _held("sensors", "updates", channel="stable") == {"firmware": ("stable-firmware",)}
    assert _held("sensors", "updates", channel="beta") == {}
    assert _held("sensors", "telemetry", channel="stable") == {}


@pytest.mark.parametrize("alias", [None, *FLEET.role_aliases])
def test_quarantine_takes_every_grant(alias: str | None) -> None:
    """A quarantined device holds nothing, with any attributes and under any role alias."""
    one = device("gateways", {"quarantined": True, "site": "x", "channel": "stable"})
    held = RULES.decide(one, RequestContext(alias))
    assert held.grants == ()
    assert all("quarantine" in rules for rules in held.withheld.values())


def test_a_claim_takes_a_grant_away() -> None:
    """A claim can take a grant away, as for the broken release, and never gives one."""
    for release, grants in (("1.4.2-rc1", ()), ("1.4.2", ("telemetry",))):
        one = device("gateways", claims={"firmware": release, "channel": "stable"})
        assert RULES.decide(one, RequestContext("telemetry")).grants == grants
        assert RULES.decide(one, RequestContext("updates")).grants == ()


def test_telemetry_writes_under_the_own_prefix() -> None:
    """The grant `telemetry` allows uploads under the device's own prefix in the demo's bucket only."""
    policy = json.loads(render.session_policy(FLEET, ["telemetry"], DeviceId("gw-1"), PLACE))
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::acme-telemetry-123456789012-us-east-1/gw-1/*",
        }
    ]


def test_mqtt_allows_the_own_topics() -> None:
    """The grant `mqtt` allows a device to connect as its thing and to use only its own topics."""
    policy = json.loads(render.iot_policy(FLEET, "mqtt", PLACE) or "")
    prefix, thing = "arn:aws:iot:us-east-1:123456789012", "${iot:Connection.Thing.ThingName}"
    assert [(each["Action"], each["Resource"]) for each in policy["Statement"]] == [
        ("iot:Connect", f"{prefix}:client/{thing}"),
        (["iot:Publish", "iot:Receive"], f"{prefix}:topic/{thing}/*"),
        ("iot:Subscribe", f"{prefix}:topicfilter/{thing}/*"),
    ]


def test_the_documented_rule_compiles() -> None:
    """The rule that the documentation shows compiles in the example fleet."""
    files = source.read(FOLDER).files
    text = files["rules.cedar"].decode().replace('@id("gateway-telemetry")', '@id("other")') + SAMPLE
    compiler.compile_fleet(source.Source({**files, "rules.cedar": text.encode()}))


def test_the_anchors_are_placeholders() -> None:
    """The trust anchors are long-lived placeholders, named as such, and no private key lies beside them."""
    for path in (FOLDER / "trust").iterdir():
        assert path.name == "README.md" or path.suffix == ".pem"
        assert "PRIVATE KEY-----" not in path.read_text()
    certificates = [chain.parse(pem) for group in FLEET.groups.values() for pem in group.trust]
    assert len(certificates) == 2
    for certificate in certificates:
        assert "(replace me)" in certificate.subject.rfc4514_string()
        assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3_650)
        certificate.verify_directly_issued_by(certificate)
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).critical
