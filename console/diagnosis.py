"""What the doctor makes of what it found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.profile import CA_NOTICE_DAYS

Json = dict[str, Any]

_CERTIFICATES = "POST /v1/certificates"


class Level(StrEnum):
    """How bad it is. `warn` is also what could not be found out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Line:
    """A thing that was looked at, and what is with it."""

    level: Level
    what: str
    detail: str


@dataclass(frozen=True)
class Need:
    """How much of a quota the stack can use, in the quota's own unit (calls a second, or executions).
    `short` is how bad it is to have less.
    """

    service: str
    quota: str
    wanted: float
    short: Level


def needs(template: Json) -> list[Need]:
    """Return what a deployed stack can use of the account's quotas.

    AWS IoT is used at the deployment's `iotRate`: reconciling a new device takes one
    RegisterCertificateWithoutCA, one UpdateCertificate and, with one grant, two AttachPolicy. Everything
    else is used at the gateway's throttles: one signature for each enrollment, one execution of about a
    second for each call.
    """
    rate = _iot_rate(template)
    routes = _throttles(template)
    calls = sum(routes.values())
    return [
        Need("iotcore", "RegisterCertificateWithoutCA API TPS", rate, Level.FAIL),
        Need("iotcore", "UpdateCertificate API TPS", rate, Level.FAIL),
        Need("iotcore", "AttachPolicy API TPS", 2 * rate, Level.FAIL),
        Need("kms", "Cryptographic operations (ECC) request rate", routes[_CERTIFICATES], Level.WARN),
        Need("lambda", "Concurrent executions", calls, Level.WARN),
        Need("apigateway", "Throttle rate", calls, Level.WARN),
    ]


def _iot_rate(template: Json) -> float:
    for resource in template["Resources"].values():
        variables = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
        if "FIRSTBOOT_IOT_RATE" in variables:
            return float(variables["FIRSTBOOT_IOT_RATE"])
    return 0.0


def _throttles(template: Json) -> dict[str, float]:
    """Calls a second that the gateway lets in, by route. The stack may have other APIs than ours."""
    stages = (each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage")
    settings: list[Json] = [stage["Properties"].get("RouteSettings", {}) for stage in stages]
    (ours,) = (routes for routes in settings if _CERTIFICATES in routes)
    return {route: float(each["ThrottlingRateLimit"]) for route, each in ours.items()}


def quota(need: Need, quotas: Mapping[str, float]) -> Line:
    """Whether a quota is enough; `quotas` are the service's, by name."""
    what = f"{need.service}: {need.quota}"
    value = quotas.get(need.quota)
    if value is None:
        return Line(Level.WARN, what, f"Service Quotas doesn't name it; {need.wanted:g} can be used")
    detail = f"{value:g}, of which {need.wanted:g} can be used"
    return Line(need.short if value < need.wanted else Level.OK, what, detail)


def ca_key(state: str, *, is_ours: bool) -> Line:
    """Whether the CA's key can sign: its KMS state, and whether the CA certificate is for it."""
    if state != "Enabled":
        return Line(Level.FAIL, "CA key", f"{state}: nothing can be issued")
    if not is_ours:
        return Line(Level.FAIL, "CA key", "the CA certificate is for another key")
    return Line(Level.OK, "CA key", "enabled, and the CA certificate's")


def ca_days(ca: x509.Certificate, fleet: Fleet, now: datetime) -> Line:
    """Whether the CA outlasts the certificates it issues: a leaf ends before its CA."""
    left = (ca.not_valid_after_utc - now).days
    longest = max(group.certificate.days for group in fleet.groups.values())
    detail = f"{left:,} days left; certificates last up to {longest:,}"
    if left < 0:
        return Line(Level.FAIL, "CA certificate", detail)
    return Line(Level.WARN if left < longest + CA_NOTICE_DAYS else Level.OK, "CA certificate", detail)


def truststore(found: Iterable[Certificate], fleet: Fleet, ca: x509.Certificate) -> Line:
    """Whether the truststore has the deployed fleet's anchors and our CA, and nothing else."""
    anchors = (certificate.anchor(pem) for group in fleet.groups.values() for pem in group.trust)
    own = certificate.parse(ca.public_bytes(Encoding.DER))
    wanted = {each.fingerprint: each for each in (*anchors, own)}
    there = {each.fingerprint: each for each in found}
    problems = [f"{wanted[each].subject.text()} is missing" for each in wanted.keys() - there.keys()]
    problems += [
        f"{there[each].subject.text()} does not belong there" for each in there.keys() - wanted.keys()
    ]
    if problems:
        return Line(Level.FAIL, "truststore", "; ".join(sorted(problems)))
    return Line(Level.OK, "truststore", f"{len(there)} certificates: the fleet's anchors, and our CA")


def truststore_in_use(version: str, used: str, warnings: list[str]) -> Line:
    """Whether the mTLS host uses the truststore's newest version; `warnings` are API Gateway's."""
    what = "mTLS host's truststore"
    if version != used:
        return Line(Level.FAIL, what, "API Gateway has an older version of it: deploy again")
    if warnings:
        return Line(Level.FAIL, what, "; ".join(warnings))
    return Line(Level.OK, what, "the newest version")
