"""The wire format of AWS IoT's custom authorizer: its event and its answer.

https://docs.aws.amazon.com/iot/latest/developerguide/custom-auth-lambda.html

An event has the parts that apply to its connection, and AWS IoT may add others. Only the parts that are read
are checked.
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
"""The answer to a client that may not connect. AWS IoT passes no reason on to the client."""


def request(event: object) -> ConnectionRequest:
    """Return the request in an authorizer's event.

    The token is the one that AWS IoT took from the connection, otherwise the MQTT password. Raises
    MalformedRequest, TokenMissing, TokenMalformed.
    """
    match event:
        # `signatureVerified` is not read, because the authorizer's token signing is off. It would sign what
        # the issuer has signed, with an RSA key that no issuer's key set can change, and would exclude ES256.
        case {"protocolData": {"mqtt": {"clientId": str(client_id), **mqtt}}, **rest} if client_id:
            return ConnectionRequest(_token(rest.get("token"), mqtt.get("password")), client_id)
        case _:  # also an HTTP request, which has no client id
            raise MalformedRequest("The event is not about an MQTT connection with a client id")


def _token(token: object, password: object) -> str:
    if token is None and password is None:
        raise TokenMissing
    match token, password:
        case str(), _:
            return token
        case None, str():
            return _decoded(password)
        case _:
            raise MalformedRequest("The token or the password is not a string")


def _decoded(password: str) -> str:
    try:
        return base64.b64decode(password, validate=True).decode("ascii")
    except ValueError as error:
        raise TokenMalformed(
            log=f"the password is not base64 of ASCII text: {type(error).__name__}"
        ) from error


def connection_id(event: object) -> str:
    """Return AWS IoT's id of the connection for the log, or "" if the event has none."""
    match event:
        case {"connectionMetadata": {"id": str(identifier)}}:
            # The event is not authenticated, so the log takes a bounded part of it.
            return identifier[:128]
        case _:
            return ""


def answer(connection: Authorized) -> dict[str, Any]:
    """Return the answer that lets a device connect."""
    return {
        "isAuthenticated": True,
        "principalId": principal_id(connection.device_id),
        "policyDocuments": connection.policies,
        "disconnectAfterInSeconds": connection.seconds,
        "refreshAfterInSeconds": connection.refresh,
    }


def principal_id(device_id: DeviceId) -> str:
    """Return the device id in the alphabet of a principal id, `[a-zA-Z0-9]{1,128}`.

    It is `T` and the id's base32 (RFC 4648 section 6), so that AWS IoT's log leads back to the device. In
    topic rules, `principal()` returns it where a certificate's id would be. The letter keeps the two apart: a
    certificate's id is lower-case hex, and a device's name may look like one.
    """
    return "T" + base64.b32encode(device_id.encode()).decode().rstrip("=")
