"""Small fleets for tests, made without AWS."""

from __future__ import annotations

from typing import Any

from firstboot.domain.clock import from_epoch
from firstboot.domain.fleet import Fleet, Group, RoleAlias
from firstboot.domain.plans import Budget, CertificatePlan
from tests import factories
from tests.factories import Authority

RULES = """
@id("every-device") permit (principal, action == Action::"hold", resource == Grant::"telemetry")
unless { principal.quarantined };
"""
SCHEMA = """
entity Group;
entity Grant;
entity Device in [Group] {
  deviceId: String,
  quarantined: Bool,
  site?: String,
  claims: { model?: String },
};
action hold appliesTo {
  principal: Device, resource: Grant, context: { roleAlias: String, sourceIp?: ipaddr }
};
"""
TELEMETRY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": "arn:{partition}:s3:::data-{account}/{deviceId}/*",
        }
    ],
}


def group(name: str, factory: Authority, **changes: Any) -> Group:
    """Return a per-device group that trusts `factory`."""
    values: dict[str, Any] = {
        "name": name,
        "trust": (factories.pem(factory.certificate),),
        "device_id": "subject.CN",
        "reenroll": "replace",
        "reenroll_per_day": 10,
        "certificate": CertificatePlan(days=365, renew_at=0.66, grace_days=90),
        "mqtt": "registry",
        "budget": Budget(total=1000, per_minute=1000, until=from_epoch(4_102_444_800)),  # the end of a day
    }
    return Group(**values | changes)


def fleet(*groups: Group) -> Fleet:
    """Return a small fleet with one grant, one role alias and one rule."""
    return Fleet(
        groups={g.name: g for g in groups},
        role_aliases={"telemetry": RoleAlias("telemetry", 3600)},
        grants={"telemetry": TELEMETRY},
        rules=RULES,
        schema=SCHEMA,
    )
