"""Errors of deciding grants and of rendering them as policies."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthorizationError, OperatorError, TokenError, VendingError


class NoGrant(AuthorizationError):
    code = "no-grant"
    action = Action.WAIT
    title = "No rule gives the device a grant for this request"


class AnswerTooLarge(VendingError):
    code = "answer-too-large"
    title = "The answer with the credentials is too large"


class PoliciesTooLarge(TokenError):
    code = "policies-too-large"
    status = 500
    title = "The device's grants exceed AWS IoT's limits"


class AttributesInvalid(OperatorError):
    code = "attributes-invalid"
    title = "The attributes do not fit the fleet's schema"
