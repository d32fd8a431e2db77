"""Every route of the HTTPS hosts, and the Lambda behind it. The API is built from this table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Route:
    """A method and a path in API Gateway's notation."""

    method: Literal["GET", "POST"]
    path: str
    function: Literal["exchange", "vend"]

    @property
    def key(self) -> str:
        """API Gateway's name for it."""
        return f"{self.method} {self.path}"


ROUTES = (
    Route("POST", "/v1/certificates", "exchange"),
    Route("POST", "/v1/certificates/commit", "exchange"),
    Route("GET", "/v1/nonce", "exchange"),
    Route("GET", "/healthz", "exchange"),
    Route("GET", "/v1/device", "vend"),
    Route("GET", "/role-aliases/{alias}/credentials", "vend"),
)
"""What matches none of these goes to `exchange`, which answers 404 or 405."""


def allowed(path: str) -> list[str]:
    """The methods that `path` answers; none if there is nothing."""
    parts = path.split("/")
    return [route.method for route in ROUTES if _matches(route.path.split("/"), parts)]


def _matches(template: list[str], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        part == wanted or (wanted.startswith("{") and part)
        for wanted, part in zip(template, parts, strict=True)
    )
