"""Errors of asking for credentials and signatures."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthorizationError, ProofError, VendingError


class ThingNameMismatch(AuthorizationError):
    code = "thing-name-mismatch"
    title = "The thing name is not the id of the certificate's device"


class HubNotFound(VendingError):
    code = "hub-not-found"
    status = 404
    title = "No grant of the fleet is for this IoT hub"


class SignatureStale(ProofError):
    code = "signature-stale"
    action = Action.RETRY
    title = "The signed request's X-Amz-Date is more than 5 minutes from the server's time"
