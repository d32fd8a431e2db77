"""AWS's limits on requests to it and on answers to its clients.

They are checked here for two reasons: no emulator checks them, and Firstboot can count and explain its own
refusal, while AWS's refusals do not say what was too large.

Sources: STS API reference, AssumeRole and Tag; IAM and STS quotas; AWS IoT Core quotas, and its
developer guide, "Defining your Lambda function" (of a custom authorizer). The size of a session token can't
be checked before the call: STS compresses the session policy and the tags into it, and only STS knows how.
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
"""Characters of an inline session policy (STS API reference, AssumeRole, `Policy`)."""

IOT_POLICY = 2_048
"""Characters of an AWS IoT policy. White space does not count."""

IOT_POLICIES = 10
"""Policy documents in a custom authorizer's answer (developer guide, "Defining your Lambda function"), and
policies of a certificate (AWS IoT Core endpoints and quotas, "Security")."""

THING_GROUPS = 10
"""Thing groups of a thing (AWS IoT Core endpoints and quotas, "Thing groups")."""

ROLE_POLICY = 10_240
"""Characters of all inline policies of a role together. White space does not count."""

SESSION_TOKEN = 4_096
"""Bytes of STS's longest session token (https://aws.amazon.com/about-aws/whats-new/2026/09/aws-sts/)."""

AWSCRT_ANSWER = 2_048
"""Bytes of an answer with credentials that awscrt reads; it drops a longer one. The limit is the client's and
not AWS's (X509_RESPONSE_SIZE_LIMIT in aws-c-auth; tests/clients/test_answer_sizes.py shows it)."""

ANSWERS = range(512, 8_193)
"""Bytes that a fleet may give as the longest answer with credentials. An answer has 169 bytes beside its
session token, so the longest has half of the upper end."""

ATTRIBUTES = 2_048
"""Characters of a device's attributes as JSON. `GET /v1/device` answers with all of them in 4,096 bytes."""

THING_ATTRIBUTES = 50
"""Attributes of a thing that has a type (AWS IoT Core quotas)."""

SECONDS = range(900, 3_601)
"""Seconds of a session. `vend` itself runs with a role, and a session by role chaining lasts one hour at
most."""

_TAGS = 50
# AWS IoT API reference, AttributePayload. AWS IoT removes an attribute whose value is empty, so none is sent.
_THING_ATTRIBUTE = re.compile(r"[a-zA-Z0-9_.,@/:#-]{1,128}", re.ASCII)
_THING_VALUE = re.compile(r"[a-zA-Z0-9_.,@/:#=\[\]-]{1,800}", re.ASCII)
# AssumeRole accepts \u0009 \u000A \u000D \u0020-\u00FF. Rendered policies are narrower: ASCII on one line.
_POLICY = re.compile(r"[\x20-\x7e]+", re.ASCII)
# STS accepts any letter, digit and separator of Unicode. Firstboot's tags need no others than these.
_TAG_KEY = re.compile(r"(?!aws:)[A-Za-z0-9 _.:/=+@-]{1,128}", re.ASCII | re.IGNORECASE)
_TAG_VALUE = re.compile(r"[A-Za-z0-9 _.:/=+@-]{0,256}", re.ASCII)


def check_session(request: SessionRequest) -> None:
    """Refuse an AssumeRole request that exceeds a limit which is known beforehand.

    Raises SessionPolicyTooLarge, DurationTooLong, DeviceIdInvalid, RoleNotAssumable.
    """
    names.device_id(request.device_id)
    check_session_policy(request.policy)
    if not _POLICY.fullmatch(request.policy):
        raise RoleNotAssumable(log="the session policy is empty or not printable ASCII")
    if request.seconds >= SECONDS.stop:
        raise DurationTooLong(log=f"session of {request.seconds} s")
    if request.seconds < SECONDS.start:
        raise RoleNotAssumable(log=f"session of {request.seconds} s")
    _check_tags(request.tags)


def check_session_policy(policy: str) -> None:
    """Refuse a session policy that is too long.

    Raises SessionPolicyTooLarge.
    """
    if len(policy) > SESSION_POLICY:
        raise SessionPolicyTooLarge(log=f"session policy of {len(policy)} characters")


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > _TAGS:
        raise RoleNotAssumable(log=f"{len(tags)} session tags")
    for key, value in tags.items():
        if not (_TAG_KEY.fullmatch(key) and _TAG_VALUE.fullmatch(value)):
            raise RoleNotAssumable(log=f"session tag {key[:128]!r} or its value")


def check_documents(sizes: list[int]) -> None:
    """Refuse policy documents that do not fit a custom authorizer's answer. `sizes` are their characters.

    Raises PoliciesTooLarge.
    """
    if len(sizes) > IOT_POLICIES or max(sizes, default=0) > IOT_POLICY:
        raise PoliciesTooLarge(log=f"{len(sizes)} documents, the longest of {max(sizes)} characters")


def check_attributes(attributes: dict[str, Attribute]) -> None:
    """Refuse attributes of a device that are too large together.

    Raises AttributesInvalid.
    """
    size = len(json.dumps(attributes))
    if size > ATTRIBUTES:
        raise AttributesInvalid(
            f"A device's attributes must have at most {ATTRIBUTES} characters as JSON; these have {size}"
        )


def check_answer(size: int, limit: int) -> None:
    """Refuse an answer with credentials of `size` bytes if the client reads `limit` bytes only.

    Raises AnswerTooLarge.
    """
    if size > limit:
        raise AnswerTooLarge(
            f"The answer with the credentials has {size:,} bytes, and the client takes {limit:,}: give the "
            "device fewer or smaller grants under this role alias"
        )


def thing_attributes(attributes: dict[str, Attribute]) -> dict[str, str]:
    """Return the attributes of a device that its thing can have: the first 50 by name that AWS IoT accepts.

    The rules read the device record, so a missing attribute of the thing changes no decision.
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
