"""AWS IoT's custom authorizer, to the letter: AWS's own events in, AWS's answer out."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.assign import authorizer
from firstboot.assign.connect import Authorized, ConnectionRequest
from firstboot.assign.errors import TokenMissing
from firstboot.domain.errors import FirstbootError
from firstboot.domain.names import DeviceId
from firstboot.pki.errors import TokenMalformed
from firstboot.runtime.errors import MalformedRequest

# AWS IoT Core developer guide, "Defining your Lambda function" (custom-auth-lambda.html): the event
# with all of its possible fields; its two placeholders, Boolean and UUID, are filled in.
ALL_FIELDS: dict[str, Any] = {
    "token": "aToken",
    "signatureVerified": True,
    "protocols": ["tls", "http", "mqtt"],
    "protocolData": {
        "tls": {"serverName": "serverName"},
        "http": {"headers": {"#{name}": "#{value}"}, "queryString": "?#{name}=#{value}"},
        "mqtt": {"username": "myUserName", "password": "myPassword", "clientId": "myClientId"},
    },
    "connectionMetadata": {"id": "f9a8d1c2-7a40-4b8e-9d8b-0c9f4d6a1e11"},
}
# The same guide, "Custom authentication with X.509 client certificates" (custom-auth-509cert.html).
X509: dict[str, Any] = {
    "token": "token",
    "signatureVerified": True,
    "protocols": ["tls", "mqtt"],
    "protocolData": {
        "tls": {
            "serverName": "serverName",
            "x509CertificatePem": "x509CertificatePem",
            "principalId": "principalId",
        },
        "mqtt": {"clientId": "myClientId", "username": "myUserName", "password": "myPassword"},
    },
    "connectionMetadata": {"id": "UUID"},
}
# The first, as the guide says that it comes from an HTTP publish: "Any fields that aren't relevant
# to the connection request aren't included".
HTTP = ALL_FIELDS | {
    "protocols": ["tls", "http"],
    "protocolData": {name: ALL_FIELDS["protocolData"][name] for name in ("tls", "http")},
}
DEVICE_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}[A-Za-z0-9]", fullmatch=True)


def mqtt(**members: Any) -> dict[str, Any]:
    """An MQTT connection whose credentials are in user name and password alone."""
    return {
        "signatureVerified": False,
        "protocols": ["tls", "mqtt"],
        "protocolData": {"tls": {"serverName": "serverName"}, "mqtt": members},
        "connectionMetadata": {"id": "UUID"},
    }


@pytest.mark.parametrize("event", [ALL_FIELDS, X509])
def test_awss_events_are_read(event: dict[str, Any]) -> None:
    """The token as AWS IoT took it from the connection, and MQTT's client id."""
    request = authorizer.request(event)
    assert (request.token, request.client_id) == (event["token"], "myClientId")
    assert authorizer.connection_id(event) == event["connectionMetadata"]["id"]


def test_the_password_is_a_token() -> None:
    """AWS IoT sends it in base64; the user name is of no matter."""
    password = base64.b64encode(b"a.b.c").decode()
    for event in (
        mqtt(username="u", password=password, clientId="gw-1"),
        mqtt(password=password, clientId="gw-1"),
    ):
        assert authorizer.request(event) == ConnectionRequest("a.b.c", "gw-1")


@pytest.mark.parametrize(
    "event", [HTTP, mqtt(password="YQ=="), mqtt(password="YQ==", clientId=""), {}, None, []]
)
def test_without_a_client_id_there_is_no_request(event: Any) -> None:
    """An HTTP publish has none, and a client that sends none gets one from the broker."""
    with pytest.raises(MalformedRequest):
        authorizer.request(event)


@pytest.mark.parametrize(
    "members", [{"token": 7}, {"protocolData": {"mqtt": {"clientId": "x", "password": 7}}}]
)
def test_what_is_no_text_is_refused(members: dict[str, Any]) -> None:
    """AWS sends strings."""
    with pytest.raises(MalformedRequest):
        authorizer.request(mqtt(clientId="gw-1", password="YQ==") | members)


def test_without_credentials_there_is_no_token() -> None:
    """A user name is none."""
    with pytest.raises(TokenMissing):
        authorizer.request(mqtt(username="u", clientId="gw-1"))


@pytest.mark.parametrize(
    "password", ["myPassword", "YQ", "Y Q=", "Y.Q==", "_w==", base64.b64encode(b"\xff").decode()]
)
def test_a_password_that_is_no_token_is_refused(password: str) -> None:
    """AWS's own sample has no base64 for its password."""
    with pytest.raises(TokenMalformed, match="base64"):
        authorizer.request(mqtt(password=password, clientId="gw-1"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["token", "protocolData", "mqtt", "clientId", "password", "id", "connectionMetadata"]
            ),
            inner,
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_any_event_is_judged(event: Any) -> None:
    """Whatever comes is a request or a refusal."""
    assert isinstance(authorizer.connection_id(event), str)
    try:
        authorizer.request(event)
    except FirstbootError:
        return


def test_the_answer_is_awss() -> None:
    """Its members, as the guide has them, and nothing else."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}
    assert authorizer.answer(Authorized(DeviceId("gw-1"), "acme", [document], 3600, 900)) == {
        "isAuthenticated": True,
        "principalId": "TM53S2MI",
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 900,
        "policyDocuments": [document],
    }
    assert authorizer.REFUSED == {"isAuthenticated": False}


@given(DEVICE_IDS)
def test_a_principal_leads_back_to_its_device(device_id: str) -> None:
    """In AWS's alphabet and length, one for each device, and never in the shape of a certificate's id,
    which is what topic rules know other devices by.
    """
    principal = authorizer.principal_id(DeviceId(device_id))
    assert re.fullmatch(r"[a-zA-Z0-9]{1,128}", principal, re.ASCII)
    assert not re.fullmatch(r"[0-9a-f]{64}", principal)
    encoded = principal[1:]
    assert base64.b32decode(encoded + "=" * (-len(encoded) % 8)).decode() == device_id


def test_a_request_is_not_printed() -> None:
    """A token that reached a log would be anyone's."""
    assert "a.b.c" not in repr(ConnectionRequest("a.b.c", "gw-1"))
