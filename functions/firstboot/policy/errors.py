"""Errors of deciding and rendering what a device may do."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthorizationError, OperatorError, TokenError, VendingError


class NoGrant(AuthorizationError):
    code = "no-grant"
    action = Action.WAIT
    title = "No rule gives this device anything here"


class AnswerTooLarge(VendingError):
    code = "answer-too-large"
    status = 500
    title = "The credentials don't fit an answer"


class PoliciesTooLarge(TokenError):
    code = "policies-too-large"
    status = 500
    title = "The device's grants don't fit AWS IoT's limits"


class AttributesInvalid(OperatorError):
    code = "attributes-invalid"
    title = "The attributes don't fit the fleet's schema"
