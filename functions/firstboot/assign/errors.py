"""Errors of connecting with a token. The log has the reason; the device is told nothing."""

from __future__ import annotations

from firstboot.domain.errors import TokenError


class TokenMissing(TokenError):
    code = "token-missing"
    title = "The connection brings no token"


class TokenEndsTooSoon(TokenError):
    code = "token-ends-too-soon"
    title = "The token ends before the shortest connection AWS IoT makes"


class TokenSubjectMismatch(TokenError):
    code = "token-subject-mismatch"
    title = "The token is another device's"


class TokenDeviceUnknown(TokenError):
    code = "token-device-unknown"
    status = 403
    title = "The token names no device of the fleet"


class TokenGroupRefused(TokenError):
    code = "token-group-refused"
    status = 403
    title = "The token's issuer does not speak for the device's group"
