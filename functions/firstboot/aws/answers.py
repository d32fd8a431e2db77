"""Checks that an answer of AWS is whole. botocore takes some answers that were cut off for a success.

Its parsers read a JSON body that ends too early, or a page of HTML, as an answer without members. An answer
without the member `Item` would say that a device has no record.
"""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import crc32
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from typing import Any

from botocore.exceptions import HTTPClientError
from botocore.parsers import JSONParser, QueryParser, RestJSONParser, RestXMLParser
from botocore.response import StreamingBody
from botocore.utils import parse_timestamp

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


class UnreadableAnswer(HTTPClientError):
    """AWS's answer to a call was cut off, or is not AWS's. The call may have taken effect."""

    fmt = "the answer to {operation} {reason}"


def _timestamp(value: Any) -> datetime:  # noqa: ANN401 - a text or a number
    """Return a time of an answer. botocore's own way takes a hundred times the CPU for a text."""
    if isinstance(value, str) and value[10:11] == "T":
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    made: datetime = parse_timestamp(value)
    return made


class _PresentMembers:
    """Reads the members that a structure has. botocore asks for each one that it may have.

    A value of DynamoDB has one of ten members.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - botocore's own signature
        super().__init__(*arguments, **options)
        # For each structure, by the names in an answer: the member, its form, and what reads it. Without
        # that it is as it is.
        self._known: dict[Any, dict[str, tuple[str, Any, Any]]] = {}

    def _handle_structure(self, shape: Any, value: Any) -> Any:  # noqa: ANN401 - botocore's own signature
        if value is None or shape.is_document_type or shape.is_tagged_union:
            return super()._handle_structure(shape, value)  # type: ignore[misc]
        known = self._known.get(shape)
        if known is None:
            known = self._known[shape] = {
                each.serialization.get("name", name): (name, each, self._reads(each))
                for name, each in shape.members.items()
            }
        parsed = {}
        for name, each in value.items():
            if each is not None and name in known:
                member, form, reads = known[name]
                parsed[member] = reads(form, each) if reads else each
        return parsed

    def _reads(self, shape: Any) -> Any:  # noqa: ANN401 - a method of botocore
        return getattr(self, f"_handle_{shape.type_name}", None)


class _Json(_PresentMembers, JSONParser):
    pass


class _RestJson(_PresentMembers, RestJSONParser):
    pass


_PARSERS: Mapping[str, Any] = {
    "json": _Json,
    "rest-json": _RestJson,
    "query": QueryParser,
    "rest-xml": RestXMLParser,
}


class WholeAnswers:
    """Parses the answers of a protocol as botocore does, and refuses what is no whole answer."""

    def __init__(self, protocol: str) -> None:
        self._parser = _PARSERS[protocol](timestamp_parser=_timestamp)
        self._is_json = protocol in _JSON

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
        # Amazon S3 user guide, "Checking object integrity". One with a hyphen is of an upload in parts.
        checksum = response["headers"].get("x-amz-checksum-crc32", "-")
        is_object = response["context"]["operation_name"] == "GetObject"
        if is_object and "-" not in checksum and checksum != crc32_text(body):
            return "has another checksum than its object"
        if status < _REDIRECT and bool(body) < _has_body(shape) and not _is_stream(shape):
            return "is empty"
        if self._is_json:
            return "is no JSON object" if body and not _is_object(body) else None
        return "has a body" if status < _REDIRECT and bool(body) > _has_body(shape) else None


_REDIRECT, _FAILED = 300, 500


def crc32_text(body: bytes) -> str:
    """Return the CRC-32 of an object as S3 writes it in headers."""
    return b64encode(crc32(body).to_bytes(4, "big")).decode()


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
