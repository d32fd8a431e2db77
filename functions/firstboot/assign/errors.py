"""Errors of connecting with a token. The log has the reason, and the device gets none."""

from __future__ import annotations

from firstboot.domain.errors import TokenError


class TokenMissing(TokenError):
    code = "token-missing"
    title = "The connection request has no token"


class TokenEndsTooSoon(TokenError):
    code = "token-ends-too-soon"
    title = "The token ends before the shortest connection that AWS IoT allows"


class TokenSubjectMismatch(TokenError):
    code = "token-subject-mismatch"
    title = "The token's subject is not the MQTT client id"


class TokenDeviceUnknown(TokenError):
    code = "token-device-unknown"
    status = 403
    title = "The token's subject is not a device of the fleet"


class TokenGroupRefused(TokenError):
    code = "token-group-refused"
    status = 403
    title = "The token's issuer is not accepted for the device's group"
