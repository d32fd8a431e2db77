"""Test AWS IoT's custom authorizer with AWS's own sample events, and the form of its answer."""

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
from firstboot.domain.names import ANY_FLEET, DeviceId
from firstboot.pki.errors import TokenMalformed
from firstboot.runtime.errors import MalformedRequest

# AWS IoT Core developer guide, "Defining your Lambda function" (custom-auth-lambda.html): the event with all
# of its possible fields; its two placeholders, Boolean and UUID, are filled in.
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
# The first event as it comes from an HTTP publish. The guide: "Any fields that aren't relevant to the
# connection request aren't included".
HTTP = ALL_FIELDS | {
    "protocols": ["tls", "http"],
    "protocolData": {name: ALL_FIELDS["protocolData"][name] for name in ("tls", "http")},
}
DEVICE_IDS = st.from_regex(ANY_FLEET.pattern, fullmatch=True)


def mqtt(**members: Any) -> dict[str, Any]:
    """Return the event of an MQTT connection whose credentials are only in user name and password."""
    return {
        "signatureVerified": False,
        "protocols": ["tls", "mqtt"],
        "protocolData": {"tls": {"serverName": "serverName"}, "mqtt": members},
        "connectionMetadata": {"id": "UUID"},
    }


@pytest.mark.parametrize("event", [ALL_FIELDS, X509])
def test_sample_events_of_aws_are_read(event: dict[str, Any]) -> None:
    """The token and MQTT's client id are read from AWS's sample events."""
    request = authorizer.request(event)
    assert (request.token, request.client_id) == (event["token"], "myClientId")
    assert authorizer.connection_id(event) == event["connectionMetadata"]["id"]


def test_the_password_is_a_token() -> None:
    """The password, which AWS IoT sends in base64, is the token, and the user name is ignored."""
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
    """A connection without a client id is refused, such as an HTTP publish."""
    with pytest.raises(MalformedRequest):
        authorizer.request(event)


@pytest.mark.parametrize(
    "members", [{"token": 7}, {"protocolData": {"mqtt": {"clientId": "x", "password": 7}}}]
)
def test_credentials_that_are_no_text_are_refused(members: dict[str, Any]) -> None:
    """A token or password that is no string is refused."""
    with pytest.raises(MalformedRequest):
        authorizer.request(mqtt(clientId="gw-1", password="YQ==") | members)


def test_without_credentials_there_is_no_token() -> None:
    """A user name without a password is no token."""
    with pytest.raises(TokenMissing):
        authorizer.request(mqtt(username="u", clientId="gw-1"))


@pytest.mark.parametrize(
    "password", ["myPassword", "YQ", "Y Q=", "Y.Q==", "_w==", base64.b64encode(b"\xff").decode()]
)
def test_a_password_that_is_no_token_is_refused(password: str) -> None:
    """A password that is not base64 of a text is refused; AWS's own sample has such a password."""
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
    """Any event gives a request or a refusal, and no other exception."""
    assert isinstance(authorizer.connection_id(event), str)
    try:
        authorizer.request(event)
    except FirstbootError:
        return


def test_the_answer_has_the_form_of_aws() -> None:
    """The answer has exactly the members that AWS's guide names."""
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
    """A principal id encodes its device id reversibly, in the alphabet and length that AWS allows.

    It never has the form of a certificate id, by which topic rules recognize other devices.
    """
    principal = authorizer.principal_id(DeviceId(device_id))
    assert re.fullmatch(r"[a-zA-Z0-9]{1,128}", principal, re.ASCII)
    assert not re.fullmatch(r"[0-9a-f]{64}", principal)
    encoded = principal[1:]
    assert base64.b32decode(encoded + "=" * (-len(encoded) % 8)).decode() == device_id


def test_a_request_is_not_printed() -> None:
    """The repr of a request does not contain its token, so that the token cannot reach a log."""
    assert "a.b.c" not in repr(ConnectionRequest("a.b.c", "gw-1"))
