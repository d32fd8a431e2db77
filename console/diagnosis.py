"""The doctor's judgements: make a line of each thing that was read. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from console.listeners import reach
from firstboot.compiler import outlook, public_host
from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.profile import CA_NOTICE_DAYS
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy, grant_policy_name

Json = dict[str, Any]

IN_USE = "mTLS host's truststore"
"""The name of the check whether API Gateway uses the newest truststore."""

MQTT_CONCURRENCY = "concurrency for MQTT"
"""The name of the check whether requests over MQTT have a concurrency of their own."""

PUBLIC_CONCURRENCY = "concurrency of the public host"
"""The name of the check whether the public host has a concurrency of its own beside an mTLS host."""

_RESERVED = "ReservedConcurrentExecutions"

POLICIES = "AWS IoT policies"
"""The name of the check whether other policies reach the topics of devices."""

_CERTIFICATES, _COMMIT = "POST /v1/certificates", "POST /v1/certificates/commit"
_ASKING = (_CERTIFICATES, "GET /v1/nonce")


class Level(StrEnum):
    """The result of a check. `unknown`: AWS did not tell what the check needs."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Line:
    """A thing that was checked, the result, and the detail for the reader."""

    level: Level
    what: str
    detail: str


@dataclass(frozen=True)
class Need:
    """A quota, and how much of it the stack can use in its unit (calls a second, or executions).

    `code` is Service Quotas' id of it, and `quota` its name. AWS may change either. `short` is the level of a
    line that says that the quota is lower.
    """

    service: str
    code: str
    quota: str
    wanted: float
    short: Level


def needs(template: Json) -> list[Need]:
    """Return what a deployed stack can use of the account's quotas.

    AWS IoT is used at the deployment's `iotRate`: reconciling a new device takes one
    RegisterCertificateWithoutCA, one UpdateCertificate and, with one grant, two AttachPolicy. Everything
    else is used at the gateway's throttles: one signature for each login with a new certificate, one
    execution of about a second for each call. More requests for certificates than such logins are refused,
    in milliseconds. Functions with a reserved concurrency use no more than that.
    """
    rate = _iot_rate(template)
    hosts = _throttles(template)
    calls = [sum(routes.values()) for routes in hosts]
    behind_rules, behind_public = _reserved(template, ".mqtt", ".presence"), _reserved(template, ".http")
    # Beside an mTLS host the public host has the lower limits.
    working = [sum(_worked_on(routes).values()) for routes in hosts]
    unreserved = max(working) if behind_public else sum(working)
    return [
        Need("iotcore", "L-4671C7C8", "RegisterCertificateWithoutCA API TPS", rate, Level.FAIL),
        Need("iotcore", "L-77B523DC", "UpdateCertificate API TPS", rate, Level.FAIL),
        Need("iotcore", "L-CA7D4E3E", "AttachPolicy API TPS", 2 * rate, Level.FAIL),
        Need(
            *("kms", "L-DC14942D", "Cryptographic operations (ECC) request rate"),
            sum(_worked_on(routes)[_CERTIFICATES] for routes in hosts),
            Level.WARN,
        ),
        Need(
            *("lambda", "L-B99A9384", "Concurrent executions"),
            unreserved + sum(behind_rules) + sum(behind_public),
            Level.WARN,
        ),
        Need("apigateway", "L-8A5B8E43", "Throttle rate", sum(calls), Level.WARN),
    ]


def _worked_on(routes: dict[str, float]) -> dict[str, float]:
    """Return the calls of a host that are not refused in a storm, by route key."""
    most = routes.get(_COMMIT, math.inf)
    return {key: min(rate, most) if key in _ASKING else rate for key, rate in routes.items()}


def _iot_rate(template: Json) -> float:
    for resource in template["Resources"].values():
        variables = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
        if "FIRSTBOOT_IOT_RATE" in variables:
            return float(variables["FIRSTBOOT_IOT_RATE"])
    return 0.0


def _throttles(template: Json) -> list[dict[str, float]]:
    """Return the calls a second that each host lets in, by route key. The stack may have other APIs too."""
    stages = (each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage")
    settings: list[Json] = [stage["Properties"].get("RouteSettings", {}) for stage in stages]
    return [
        {route: float(each["ThrottlingRateLimit"]) for route, each in routes.items()}
        for routes in settings
        if _CERTIFICATES in routes
    ]


def _reserved(template: Json, *handlers: str) -> list[int]:
    """Return the reserved concurrency of each function that has some and whose handler ends like this."""
    found = (each.get("Properties", {}) for each in template["Resources"].values())
    return [
        int(each[_RESERVED])
        for each in found
        if _RESERVED in each and each.get("Handler", "").endswith(handlers)
    ]


def reserved(template: Json) -> tuple[int, int | None]:
    """Return the reserved concurrency of each function behind topic rules, and of each of the public host's.

    The second is None if the public host has no functions of its own.
    """
    mqtt, public = _reserved(template, ".mqtt", ".presence"), _reserved(template, ".http")
    beside = len(_throttles(template)) > 1
    return max(mqtt, default=0), max(public, default=0) if beside else None


def mqtt_concurrency(template: Json) -> Line:
    """Judge whether the functions behind topic rules have a concurrency of their own."""
    reserved = _reserved(template, ".mqtt", ".presence")
    if not reserved:
        detail = "none is reserved: a device that publishes much can use up the account's concurrency"
        return Line(Level.WARN, MQTT_CONCURRENCY, detail)
    return Line(Level.OK, MQTT_CONCURRENCY, f"{sum(reserved)} in all for {len(reserved)} functions")


def public_concurrency(template: Json) -> list[Line]:
    """Judge whether a flood on the public host leaves the mTLS host its concurrency. One host has no line."""
    if len(_throttles(template)) == 1:
        return []
    if not (reserved := _reserved(template, ".http")):
        detail = "none is reserved: a flood can use up the account's concurrency, and close the mTLS host"
        return [Line(Level.WARN, PUBLIC_CONCURRENCY, detail)]
    return [Line(Level.OK, PUBLIC_CONCURRENCY, f"{sum(reserved)} in all for {len(reserved)} functions")]


def no_public_host(fleet: Fleet) -> list[Line]:
    """Judge whether the fleet in force needs the public host of a stack that has none."""
    what = "public host"
    # A published fleet can be older than the deployment that removed the host.
    lines = [Line(Level.WARN, what, reason) for reason in public_host.needs(fleet)]
    return lines or [Line(Level.OK, what, "there is none, and the fleet in force needs none")]


def quota(need: Need, quotas: Mapping[str, float]) -> Line:
    """Judge whether a quota is enough; `quotas` are the service's, each by its code and by its name."""
    what = f"{need.service}: {need.quota}"
    value = quotas.get(need.code, quotas.get(need.quota))
    if value is None:
        return Line(Level.UNKNOWN, what, f"Service Quotas doesn't list it; the stack can use {need.wanted:g}")
    detail = f"{value:g}; the stack can use {need.wanted:g}"
    return Line(need.short if value < need.wanted else Level.OK, what, detail)


def ca_key(state: str, *, is_ours: bool) -> Line:
    """Judge whether the CA's key can sign: `state` is its KMS key state, and `is_ours` whether the CA
    certificate has its public key.
    """
    if state != "Enabled":
        return Line(Level.FAIL, "CA key", f"{state}: no certificate can be issued")
    if not is_ours:
        return Line(Level.FAIL, "CA key", "the CA certificate is for another key")
    return Line(Level.OK, "CA key", "enabled, and the CA certificate is for it")


def ca_days(ca: x509.Certificate, fleet: Fleet, now: datetime) -> Line:
    """Judge whether the CA certificate outlasts the certificates that it issues, since a leaf must end
    before its CA.
    """
    left = (ca.not_valid_after_utc - now).days
    longest = max(group.certificate.days for group in fleet.groups.values())
    detail = f"{left:,} days left; certificates last up to {longest:,}"
    if left < 0:
        return Line(Level.FAIL, "CA certificate", detail)
    return Line(Level.WARN if left < longest + CA_NOTICE_DAYS else Level.OK, "CA certificate", detail)


def anchors(fleet: Fleet, now: datetime) -> list[Line]:
    """Judge the trust anchors of the deployed fleet: whether they admit devices now, and will go on to."""
    warnings = outlook.warnings(fleet, now)
    if not warnings:
        return [Line(Level.OK, "trust anchors", "each admits devices, and none ends soon")]
    return [Line(Level.WARN, "trust anchors", line) for line in warnings]


def truststore(found: Iterable[Certificate], fleet: Fleet, ca: x509.Certificate) -> Line:
    """Judge whether the truststore has exactly the deployed fleet's trust anchors and the issuing CA."""
    anchors = (certificate.anchor(pem) for group in fleet.groups.values() for pem in group.trust)
    own = certificate.parse(ca.public_bytes(Encoding.DER))
    wanted = {each.fingerprint: each for each in (*anchors, own)}
    there = {each.fingerprint: each for each in found}
    missing, surplus = wanted.keys() - there.keys(), there.keys() - wanted.keys()
    problems = [f"{wanted[each].subject.text()} is missing" for each in missing]
    problems += [f"{there[each].subject.text()} does not belong there" for each in surplus]
    if problems:
        return Line(Level.FAIL, "truststore", "; ".join(sorted(problems)))
    return Line(
        Level.OK, "truststore", f"{len(there)} certificates: the fleet's trust anchors and the issuing CA"
    )


def truststore_in_use(version: str, used: str, warnings: list[str]) -> Line:
    """Judge whether the mTLS host uses the truststore's newest version; `warnings` are API Gateway's."""
    if version != used:
        return Line(Level.FAIL, IN_USE, "API Gateway uses an older version: deploy again")
    if warnings:
        return Line(Level.FAIL, IN_USE, "; ".join(warnings))
    return Line(Level.OK, IN_USE, "the newest version")


def is_own_policy(name: str, stack: str) -> bool:
    """Return whether an AWS IoT policy is the stack's, by its name."""
    own = {policy.policy_name(stack) for policy in ServicePolicy}
    return name in own or name.startswith(grant_policy_name(stack, ""))


def listeners(policies: Mapping[str, Json], unread: int, place: Place) -> list[Line]:
    """Judge whether policies of others reach the topics of the stack's devices.

    `policies` has their documents by name, `unread` is how many more there are.
    """
    found = {name: sorted(reach(document, place)) for name, document in policies.items()}
    lines = [
        Line(Level.WARN, f"{POLICIES}: {name}", f"its clients may {' and '.join(reaches)}")
        for name, reaches in found.items()
        if reaches
    ]
    if unread:
        lines.append(Line(Level.UNKNOWN, POLICIES, f"{unread:,} more policies were not read"))
    return lines or [Line(Level.OK, POLICIES, f"{len(policies):,} of others, none reaches devices' topics")]


def unknown(what: str, reason: object) -> Line:
    """Return the line of a check that AWS did not answer; `reason` is its refusal.

    It is the same for a permission that the caller lacks, a service that an emulator lacks and a call
    that got no answer.
    """
    return Line(Level.UNKNOWN, what, f"not known here: {reason}".rstrip(": "))
