"""Test which requests, answers and messages are read as typed structs, and which are refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.errors import RequestError
from firstboot.exchange.messages import CertificateRequest, read, said
from firstboot.runtime.errors import BodyTooLarge, MalformedJson, MalformedRequest
from firstboot.runtime.http import MAX_BODY
from firstboot.runtime.messages import NoMembers, QueueMessage, convert, parse_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Example(QueueMessage, frozen=True, kw_only=True):
    """A queue message with an optional member."""

    device_id: str
    slot: int | None = None


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nul", "[" * 100_000, '"\\ud800"', '{"a": NaN}', '"\ud800"', "1" * 5_000),
        *(b"\xff", b'"\xff"', b"\xed\xa0\x80"),
    ],
)
def test_invalid_json_is_malformed(text: bytes | str) -> None:
    """Lone surrogates, invalid UTF-8, overlong numbers and deep nesting are malformed JSON."""
    with pytest.raises(MalformedJson):
        parse_json(text)


@given(st.binary() | st.text())
def test_any_text_is_read_or_malformed(text: bytes | str) -> None:
    """The JSON reader raises no exception but MalformedJson."""
    with suppress(MalformedJson):
        parse_json(text)


@pytest.mark.parametrize("unknown", ["delivr", "csr ", "\N{SNOWMAN}", "x" * 5_000, "\x1b[31m"])
def test_an_unknown_member_is_refused_by_name(unknown: str) -> None:
    """The refusal of an unknown member names it, in short printable ASCII."""
    with pytest.raises(MalformedRequest, match="unknown field") as refused:
        convert(CertificateRequest, {"csr": "x", unknown: 1})
    assert refused.value.detail.isascii()
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) <= 200


@pytest.mark.parametrize(
    "members",
    [
        *([], None, "csr", {}, {"csr": 1}, {"csr": None}, {"csr": "x", "deviceId": 7}),
        *({"csr": "x", "deliver": "mail"}, {"csr": "x", "configuration": "yes"}, {"csr": "x", "claims": []}),
        *({"csr": "x", "claims": {"": 1}}, {"csr": "x", "claims": {"a": 1.5}}, {"csr": "x", "claims": None}),
        *({"csr": "x", "claims": {"a": None}}, {"csr": "x", "claims": {"a": 2**53}}),
        *({"csr": "x", "claims": {"a": "b" * 256}}, {"csr": "x", "claims": {"a" * 257: 1}}),
        {"csr": "x", "claims": {str(n): n for n in range(17)}},
    ],
)
def test_a_wrong_member_is_refused(members: object) -> None:
    """A wrong, missing or oversized member makes a request malformed, and not the server faulty."""
    with pytest.raises(MalformedRequest):
        convert(CertificateRequest, members)


@pytest.mark.parametrize(
    "claims", [{}, {"a": "b" * 255}, {"a": -(2**53) + 1, "b": True}, {str(n): n for n in range(16)}]
)
def test_claims_within_the_limits_are_accepted(claims: dict[str, Any]) -> None:
    """Claims exactly at the limits are accepted."""
    assert convert(CertificateRequest, {"csr": "x", "claims": claims}).claims == claims


@given(JSON)
def test_any_value_is_read_or_refused(value: object) -> None:
    """The reader of a request raises no exception but MalformedRequest."""
    with suppress(MalformedRequest):
        convert(CertificateRequest, value)


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/pkcs10", "", "text/plain"]))
def test_any_body_is_read_or_refused(body: bytes, content_type: str) -> None:
    """Any request body is read or refused with an error that is the caller's."""
    with suppress(RequestError):
        read(body, content_type, {})


def test_a_body_has_a_limit() -> None:
    """A body above the limit is refused before it is parsed."""
    with pytest.raises(BodyTooLarge):
        read(b"[" * (MAX_BODY + 1), "application/json", {})
    with pytest.raises(MalformedJson):
        read(b"[" * MAX_BODY, "application/json", {})


def test_a_request_that_has_no_members_accepts_none() -> None:
    """A request that has no members is refused with one, because nothing would read it."""
    assert convert(NoMembers, {}) == NoMembers()
    with pytest.raises(MalformedRequest):
        convert(NoMembers, {"deviceId": "gw-1"})


def test_a_queue_message_may_gain_members() -> None:
    """A queue message of a later version is read, and its unknown members are ignored."""
    message = convert(Example, parse_json(json.dumps({"deviceId": "gw-1", "slot": 7, "later": {"a": 1}})))
    assert message == Example(device_id="gw-1", slot=7)
    assert convert(Example, {"deviceId": "gw-1"}) == Example(device_id="gw-1")


@pytest.mark.parametrize(
    ("body", "content_type", "query", "found"),
    [
        (b'{"deviceId": "sn-1", "csr": 1}', "application/json; charset=utf-8", {}, "sn-1"),
        (b'{"deviceId": "sn-1"}', "", {"deviceId": "sn-2"}, "sn-1"),
        (b"not JSON", "application/pkcs10", {"deviceId": "sn-2"}, "sn-2"),
        (b'{"deviceId": "sn-1"}', "application/pkcs10", {}, None),
        (b'{"csr": ""}', "application/json", {}, None),
        (b'{"deviceId": 1}', "application/json", {}, None),
        (b'["sn-1"]', "application/json", {}, None),
        (b"\xff", "application/json", {}, None),
        (b"", "application/json", {}, None),
        (b'{"a": ' + b"[" * 16_000, "application/json", {}, None),
        (b'{"deviceId": "sn-1"}' + b" " * 16_384, "application/json", {}, None),
    ],
)
def test_the_id_in_a_request_is_found_alone(
    body: bytes, content_type: str, query: dict[str, str], found: str | None
) -> None:
    """The id is found where the whole request has it, without the other members. No body is an error."""
    assert said(body, content_type, query) == found
