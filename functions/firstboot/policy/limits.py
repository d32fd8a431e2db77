"""AWS's limits on what we send and answer. Checked here because no emulator checks them, and
because a refusal of ours is counted and explained where AWS's would be a puzzle.

Sources: STS API reference, AssumeRole and Tag; IAM and STS quotas; AWS IoT Core quotas, and its
developer guide, "Defining your Lambda function" (of a custom authorizer).
"""

from __future__ import annotations

import json
import re

from firstboot.domain import names
from firstboot.domain.device import Attribute
from firstboot.domain.errors import DurationTooLong, RoleNotAssumable, SessionPolicyTooLarge
from firstboot.domain.session import SessionRequest
from firstboot.policy.errors import AnswerTooLarge, AttributesInvalid, PoliciesTooLarge

SESSION_POLICY = 2_048
"""Characters of an inline session policy. STS also packs policy and tags into a size it does not
tell beforehand; that limit can only be met, not checked."""

IOT_POLICY = 2_048
"""Characters of an AWS IoT policy, white space not counted."""

IOT_POLICIES = 10
"""Policy documents in a custom authorizer's answer."""

ROLE_POLICY = 10_240
"""Characters of all inline policies of a role, white space not counted."""

ANSWER = 2_048
"""Bytes of a credential provider's answer: AWS's own device client (awscrt) aborts above it."""

ATTRIBUTES = 2_048
"""Characters of a device's attributes as JSON: `GET /v1/device` has them all, in 4,096 bytes."""

THING_ATTRIBUTES = 50
"""A thing's attributes, if it has a type. More need another quota (AWS IoT Core quotas)."""

SECONDS = range(900, 3_601)
"""A session's duration. vend holds a role itself, and role chaining ends after one hour."""

_TAGS = 50
# AWS IoT API reference, AttributePayload. An empty value would remove the attribute.
_THING_ATTRIBUTE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}", re.ASCII)
_THING_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}", re.ASCII)
# AssumeRole takes \u0009 \u000A \u000D \u0020-\u00FF; what we render is ASCII on one line.
_POLICY = re.compile(r"[\x20-\x7e]+", re.ASCII)
# STS takes any letter, digit and separator of Unicode; ours need no more than these.
_TAG_KEY = re.compile(r"(?!aws:)[A-Za-z0-9 _.:/=+@-]{1,128}", re.ASCII | re.IGNORECASE)
_TAG_VALUE = re.compile(r"[A-Za-z0-9 _.:/=+@-]{0,256}", re.ASCII)


def check_session(request: SessionRequest) -> None:
    """Check an AssumeRole request against every limit that can be known beforehand.

    Raises SessionPolicyTooLarge, DurationTooLong, DeviceIdInvalid, RoleNotAssumable.
    """
    names.device_id(request.device_id)
    if len(request.policy) > SESSION_POLICY:
        raise SessionPolicyTooLarge(log=f"session policy of {len(request.policy)} characters")
    if not _POLICY.fullmatch(request.policy):
        raise RoleNotAssumable(log="session policy empty or not printable ASCII")
    if request.seconds >= SECONDS.stop:
        raise DurationTooLong(log=f"session of {request.seconds} s")
    if request.seconds < SECONDS.start:
        raise RoleNotAssumable(log=f"session of {request.seconds} s")
    _check_tags(request.tags)


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > _TAGS:
        raise RoleNotAssumable(log=f"{len(tags)} session tags")
    for key, value in tags.items():
        if not (_TAG_KEY.fullmatch(key) and _TAG_VALUE.fullmatch(value)):
            raise RoleNotAssumable(log=f"session tag {key[:128]!r} or its value")


def check_documents(sizes: list[int]) -> None:
    """Check the documents of a custom authorizer's answer, by their characters.

    Raises PoliciesTooLarge.
    """
    if len(sizes) > IOT_POLICIES or max(sizes, default=0) > IOT_POLICY:
        raise PoliciesTooLarge(log=f"{len(sizes)} documents, the longest of {max(sizes)} characters")


def check_attributes(attributes: dict[str, Attribute]) -> None:
    """Check the size of all attributes of a device.

    Raises AttributesInvalid.
    """
    size = len(json.dumps(attributes))
    if size > ATTRIBUTES:
        raise AttributesInvalid(f"A device's attributes have {ATTRIBUTES} characters at most, these {size}")


def check_answer(body: str) -> None:
    """Check the size of a credential provider's answer.

    Raises AnswerTooLarge.
    """
    size = len(body.encode())
    if size > ANSWER:
        raise AnswerTooLarge(log=f"answer of {size} bytes")


def thing_attributes(attributes: dict[str, Attribute]) -> dict[str, str]:
    """What of a device's attributes AWS IoT takes for its thing's, by name and value; the first ones in
    the order of the alphabet. Rules read the record, so none of them misses the others.
    """
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in attributes.items()
    }
    fitting = [
        name
        for name, text in sorted(texts.items())
        if _THING_ATTRIBUTE.fullmatch(name) and _THING_VALUE.fullmatch(text)
    ]
    return {name: texts[name] for name in fitting[:THING_ATTRIBUTES]}
