"""AWS IoT's custom authorizer: its event to a request, a connection to its answer.

https://docs.aws.amazon.com/iot/latest/developerguide/custom-auth-lambda.html
An event has the parts that apply to the connection, and may get new ones: only what is read is
checked.
"""

from __future__ import annotations

import base64
from typing import Any

from firstboot.assign.connect import Authorized, ConnectionRequest
from firstboot.assign.errors import TokenMissing
from firstboot.domain.names import DeviceId
from firstboot.pki.errors import TokenMalformed
from firstboot.runtime.errors import MalformedRequest

REFUSED: dict[str, Any] = {"isAuthenticated": False}
"""The answer to a client that may not connect. AWS IoT tells it nothing more."""


def request(event: object) -> ConnectionRequest:
    """The request in an authorizer's event: the token as AWS IoT took it from the connection, or
    else the MQTT password. `signatureVerified` is of no matter, since a token is signed in itself.

    Raises MalformedRequest, TokenMissing, TokenMalformed.
    """
    match event:
        case {"protocolData": {"mqtt": {"clientId": str(client_id), **mqtt}}, **rest} if client_id:
            return ConnectionRequest(_token(rest.get("token"), mqtt.get("password")), client_id)
        case _:  # HTTP, which has no client id, included
            raise MalformedRequest("An MQTT connection with a client id is needed")


def _token(token: object, password: object) -> str:
    if token is None and password is None:
        raise TokenMissing
    match token, password:
        case str(), _:
            return token
        case None, str():
            return _decoded(password)
        case _:
            raise MalformedRequest("Token and password must be strings")


def _decoded(password: str) -> str:
    try:
        return base64.b64decode(password, validate=True).decode("ascii")
    except ValueError as error:
        raise TokenMalformed(log=f"the password is no base64 of ASCII: {type(error).__name__}") from error


def connection_id(event: object) -> str:
    """AWS IoT's id of the connection, for the log; "" if there is none."""
    match event:
        case {"connectionMetadata": {"id": str(identifier)}}:
            return identifier[:128]
        case _:
            return ""


def answer(connection: Authorized) -> dict[str, Any]:
    """The answer that lets a device connect."""
    return {
        "isAuthenticated": True,
        "principalId": principal_id(connection.device_id),
        "policyDocuments": connection.policies,
        "disconnectAfterInSeconds": connection.seconds,
        "refreshAfterInSeconds": connection.refresh,
    }


def principal_id(device_id: DeviceId) -> str:
    """The device id in the alphabet of a principal id, `[a-zA-Z0-9]{1,128}`: `T` and its base32
    (RFC 4648 section 6), so that AWS IoT's log leads back to the device.

    In topic rules it stands where a certificate's id does (`principal()`). The letter keeps them
    apart: a certificate's id is lower-case hex, and a device may be *named* like one.
    """
    return "T" + base64.b32encode(device_id.encode()).decode().rstrip("=")
