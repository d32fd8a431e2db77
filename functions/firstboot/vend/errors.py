"""Errors of asking for credentials and signatures."""

from __future__ import annotations

from firstboot.domain.errors import AuthorizationError, VendingError


class ThingNameMismatch(AuthorizationError):
    code = "thing-name-mismatch"
    title = "The thing name is not the id of the certificate's device"


class HubNotFound(VendingError):
    code = "hub-not-found"
    status = 404
    title = "No grant of the fleet is for this IoT hub"
