"""The throttles of the hosts, which follow from the quotas that the account has in the stack's region."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from aws_cdk import Stack, Token

from firstboot.runtime import routes
from firstboot.runtime.routes import Route
from infra.configuration import Configuration

# API Gateway developer guide, "Amazon API Gateway quotas": requests a second of all APIs of an account in a
# region. AWS sets the burst itself, and it is half of the rate in both.
_LARGE, _SMALL = 10_000, 2_500
_SMALL_REGIONS = frozenset(
    {
        *("af-south-1", "ap-south-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5"),
        *("ap-southeast-7", "ca-west-1", "eu-central-2", "eu-south-1", "eu-south-2", "il-central-1"),
        *("me-central-1", "mx-central-1"),
    }
)
_BEFORE = 4
"""How many requests for certificates the gateway lets in for each that KMS signs, if its quota has room. The
gateway's 429 names no time. The service's own refusals do, so the service must be asked first."""
_SHARE = 0.8
"""The part of API Gateway's quota that the hosts may use. Other APIs of the account need some of it."""


@dataclass(frozen=True)
class Throttle:
    """A route's limit in requests a second (`rate`), and the size of its token bucket (`burst`)."""

    rate: int
    burst: int

    @property
    def settings(self) -> dict[str, int]:
        """The limits under CloudFormation's names."""
        return {"ThrottlingRateLimit": self.rate, "ThrottlingBurstLimit": self.burst}

    def halved(self) -> Throttle:
        """Return half of the limits."""
        return Throttle(self.rate // 2, self.burst // 2)


def region(stack: Stack) -> str | None:
    """Return the region of a stack, or None if the synth does not know it.

    A stack without a region of its own goes where the CDK CLI's credentials point, which the CLI says in
    CDK_DEFAULT_REGION.
    """
    if not Token.is_unresolved(stack.region):
        return stack.region
    return os.environ.get("CDK_DEFAULT_REGION")


def api_rate(configuration: Configuration, where: str | None) -> int:
    """Return API Gateway's quota in the region `where`, in requests a second.

    If neither the setting nor the region is known, it is the lower default, which holds in every region.
    """
    if configuration.api_rate:
        return configuration.api_rate
    return _SMALL if where is None or where in _SMALL_REGIONS else _LARGE


def throttles(
    configuration: Configuration, where: str | None, served: Collection[Route]
) -> dict[str, Throttle]:
    """Return the throttles of the mTLS host by route key; `$default` is for requests that match no route.

    `served` are the routes of the deployment. A route of another protocol has the limit of Firstboot's own
    route for the same purpose.

    Those of the public host beside it are half as high. All routes of both hosts together must leave API
    Gateway's quota to other APIs. Commits are as many as KMS's signatures, or as the other routes leave.
    Requests for certificates, and the nonces for them, get what is left then: in a storm most of them are
    refused, and the service tells each device when to come again.
    Raises ValueError if API Gateway's quota is too low for the other routes.
    """
    quota = api_rate(configuration, where)
    total = quota * _SHARE
    fixed = {
        routes.DEVICE.key: 200,
        routes.CREDENTIALS.key: _mtls_part(configuration.sts_rate),
        routes.HEALTH.key: 20,
        "$default": 50,
    }
    others = [route for route in served if route.needs]
    fixed |= {route.key: fixed[routes.CREDENTIALS.key] for route in others if route.service == "vend"}
    left = _mtls_part(total) - sum(fixed.values())
    enrollments = min(_mtls_part(configuration.kms_rate), left // 3)
    if enrollments < 1:
        raise ValueError(
            f"the throttles let in {sum(fixed.values()) * 3 // 2} requests a second before any enrollment,"
            f" more than {_SHARE:.0%} of API Gateway's quota of {quota}: lower stsRate, or raise the quota"
            " and apiRate"
        )
    asked = [routes.CERTIFICATES, routes.NONCE, *(each for each in others if each.service == "exchange")]
    asking = min(_BEFORE * enrollments, (left - enrollments) // len(asked))
    enrolling = {routes.COMMIT: enrollments} | dict.fromkeys(asked, asking)
    rates = fixed | {route.key: rate for route, rate in enrolling.items()}
    bucket = min(2.0, total / 2 / (sum(rates.values()) * 1.5))
    return {key: Throttle(rate, int(rate * bucket)) for key, rate in rates.items()}


def _mtls_part(quota: float) -> int:
    """Return the mTLS host's part of a quota. The public host beside it has half as much."""
    return int(quota * 2 / 3)
