"""Checks that an answer of AWS is whole. botocore takes some answers that were cut off for a success.

Its parsers read a JSON body that ends too early, or a page of HTML, as an answer without members. An answer
without the member `Item` would say that a device has no record.
"""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserFactory
from botocore.response import StreamingBody

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "AssumeRole": ("Credentials",),
    "CreatePolicy": ("policyName",),
    "CreatePolicyVersion": ("policyVersionId",),
    "CreateThing": ("thingName",),
    "CreateThingGroup": ("thingGroupName",),
    "CreateThingType": ("thingTypeName",),
    "DescribeCertificate": ("certificateDescription",),
    "DescribeEndpoint": ("endpointAddress",),
    "DescribeKey": ("KeyMetadata",),
    "DescribeThing": ("thingName",),
    "GetKeyPolicy": ("Policy",),
    "GetObject": ("ETag",),
    "GetPolicy": ("policyDocument",),
    "GetPublicKey": ("PublicKey",),
    "GetQueueAttributes": ("Attributes",),
    "GetRecords": ("Records",),
    "GetSecretValue": ("VersionId",),
    "GetShardIterator": ("ShardIterator",),
    "ListAttachedPolicies": ("policies",),
    "ListGrants": ("Grants",),
    # `IsTruncated` is the one member of a listing without entries.
    "ListObjectVersions": ("IsTruncated",),
    "ListObjectsV2": ("IsTruncated",),
    "ListPolicies": ("policies",),
    "ListPolicyVersions": ("policyVersions",),
    "ListPrincipalThings": ("things",),
    "ListTargetsForPolicy": ("targets",),
    "ListThingGroupsForThing": ("thingGroups",),
    "ListThingPrincipals": ("principals",),
    "PutObject": ("ETag",),
    "RegisterCertificateWithoutCA": ("certificateId",),
    "Scan": ("Items",),
    "SendMessage": ("MessageId",),
    "Sign": ("Signature",),
}
"""The members that a success of an operation has always, by which it is told from another server's page.

An operation is missing here if its success may have no member.
"""

_JSON = frozenset({"json", "rest-json"})


class UnreadableAnswer(BotoCoreError):
    """AWS's answer to a call was cut off, or is not AWS's. The call may have taken effect."""

    fmt = "the answer to {operation} {reason}"


class WholeAnswers(ResponseParserFactory):
    """Makes botocore's parsers so that they raise UnreadableAnswer for what is no whole answer."""

    def create_parser(self, protocol_name: str) -> Any:  # noqa: ANN401 - botocore's parsers have no common type
        """Return a parser of a protocol's answers."""
        return _Parser(super().create_parser(protocol_name), is_json=protocol_name in _JSON)


class _Parser:
    def __init__(self, parser: Any, *, is_json: bool) -> None:  # noqa: ANN401 - see above
        self._parser = parser
        self._is_json = is_json

    def parse(self, response: dict[str, Any], shape: Any) -> dict[str, Any]:  # noqa: ANN401 - a model of botocore
        """Return the members of an answer, or of an error. Raises UnreadableAnswer."""
        operation = response["context"]["operation_name"]
        body = response["body"]
        if not isinstance(body, bytes):
            # Connections has read it already.
            body = body.read()
            response = response | {"body": StreamingBody(BytesIO(body), len(body))}
        if reason := self._damage(response, body, shape):
            raise UnreadableAnswer(operation=operation, reason=reason)
        try:
            parsed: dict[str, Any] = self._parser.parse(response, shape)
        # botocore's parsers raise what they meet: ResponseParserError, KeyError, ValueError and others.
        except Exception as error:
            raise UnreadableAnswer(operation=operation, reason=f"has no such form: {error!r}") from error
        if response["status_code"] < _REDIRECT:
            missing = [name for name in REQUIRED.get(operation, ()) if parsed.get(name) is None]
            if missing:
                raise UnreadableAnswer(operation=operation, reason=f"has no {missing[0]}")
        return parsed

    def _damage(self, response: dict[str, Any], body: bytes, shape: Any) -> str | None:  # noqa: ANN401 - a model
        """Return what is wrong with an answer's body, or None."""
        status = response["status_code"]
        # A failed service or a load balancer may answer with anything. The status says enough.
        if status >= _FAILED:
            return None
        checksum = response["headers"].get("x-amz-crc32")
        if checksum is not None and checksum != str(crc32(body)):
            return "has another checksum than its header says"
        if status < _REDIRECT and bool(body) < _has_body(shape) and not _is_stream(shape):
            return "is empty"
        if self._is_json:
            return "is no JSON object" if body and not _is_object(body) else None
        return "has a body" if status < _REDIRECT and bool(body) > _has_body(shape) else None


_REDIRECT, _FAILED = 300, 500


def _has_body(shape: Any) -> bool:  # noqa: ANN401 - a model of botocore
    """Return whether an answer has members that stand in its body."""
    members = shape.members.values() if shape else ()
    return any("location" not in member.serialization for member in members)


def _is_stream(shape: Any) -> bool:  # noqa: ANN401 - a model of botocore
    """Return whether the body is the content of an object. It may be empty, and its length was checked."""
    payload = shape.serialization.get("payload")
    return bool(payload and shape.members[payload].serialization.get("streaming"))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False
