"""The table of routes of the HTTPS hosts.

The gateway's routes, each Lambda function's dispatcher, the answers 404 and 405, and docs/openapi.json are
made from this table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from firstboot.domain import hubs

Service = Literal["exchange", "vend"]


@dataclass(frozen=True)
class Route:
    """A route: a method, a path in API Gateway's notation, and the Lambda function that answers.

    `proof` is what the caller must prove: nothing, possession of a bootstrap or operational certificate, or
    possession of an operational certificate. `needs` is the member of `Fleet.offers` without which a
    deployment does not have the route; None for a route of every deployment.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    service: Service
    proof: Literal["none", "certificate", "operational"]
    summary: str
    needs: str | None = None

    @property
    def key(self) -> str:
        """Return API Gateway's key of the route."""
        return f"{self.method} {self.path}"

    def match(self, path: str) -> dict[str, str] | None:
        """Return the path parameters of `path`; None if the route has another path."""
        wanted, given = self.path.split("/"), path.split("/")
        if len(wanted) != len(given):
            return None
        parameters = {}
        for template, part in zip(wanted, given, strict=True):
            if template.startswith("{") and part:
                parameters[template[1:-1]] = part
            elif template != part:
                return None
        return parameters


CERTIFICATES = Route("POST", "/v1/certificates", "exchange", "certificate", "Enroll, or renew a certificate")
COMMIT = Route("POST", "/v1/certificates/commit", "exchange", "operational", "Log in with a new certificate")
NONCE = Route("GET", "/v1/nonce", "exchange", "none", "Get a nonce for a signed proof")
HEALTH = Route("GET", "/healthz", "exchange", "none", "Check that the service answers")
DEVICE = Route("GET", "/v1/device", "vend", "operational", "Read the device's own record")
CREDENTIALS = Route(
    "GET", "/role-aliases/{alias}/credentials", "vend", "operational", "Get short-lived AWS credentials"
)
SAS = Route(
    "GET",
    "/v1/sas/{hub}",
    "vend",
    "operational",
    "Get a shared access signature for an Azure IoT hub",
    needs=hubs.KIND,
)
SESSIONS = Route(
    "POST",
    "/sessions",
    "vend",
    "operational",
    "Get short-lived AWS credentials as from IAM Roles Anywhere",
    needs="roles-anywhere",
)

ROUTES = (CERTIFICATES, COMMIT, NONCE, HEALTH, DEVICE, CREDENTIALS, SAS, SESSIONS)
"""All routes. The gateway sends every other request to `exchange`, which answers 404 or 405."""


def served(offers: Collection[str]) -> tuple[Route, ...]:
    """Return the routes of a deployment whose fleet has `offers`."""
    return tuple(route for route in ROUTES if route.needs is None or route.needs in offers)
