"""Errors of asking for credentials."""

from __future__ import annotations

from firstboot.domain.errors import AuthorizationError


class ThingNameMismatch(AuthorizationError):
    code = "thing-name-mismatch"
    title = "The thing name is not the id of the certificate's device"
