"""Names that several parts must agree on, and the checks that make them safe to use."""

from __future__ import annotations

import re
from typing import NewType

from firstboot.domain.errors import DeviceIdInvalid

DeviceId = NewType("DeviceId", str)
"""A checked device id: thing name, MQTT client id, certificate CN and STS session name at once."""

# Fits an X.509 CN (64), a thing name, and STS RoleSessionName and SourceIdentity (2-64 of
# [\w+=,.@-]) as it is. Without `*`, `?`, `/`, `$`, `{` it can't act in an IAM or IoT policy.
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}[A-Za-z0-9]", re.ASCII)

RESERVED_PREFIX = "boot-"
"""Begins the MQTT client id of a device that holds a claim certificate, and no thing's name."""

TOPIC_ROOT = "firstboot"
"""The first segment of our MQTT topics. No device may have the name: with a grant of the topics
`{deviceId}/*`, which is a common one, it would hear all devices' answers, credentials among them."""

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}", re.ASCII)
"""AWS IoT CreateThing, parameter thingName: a dot, which a device id may have, is none of these."""

CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
"""What AWS IoT knows a certificate by: the SHA-256 of its DER, lower-case hex."""

ROLE_ALIAS = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
"""AWS IoT CreateRoleAlias, parameter roleAlias."""

CERTIFICATES_PREFIX = "certificates/"
PUBLISHED_FLEET_KEY = "fleet/published.json"
AUTHORITY_KEY = "authority/ca.pem"
TRUSTSTORE_KEY = "truststore/truststore.pem"

RATE_LIMITER_KEY = "PACE#iot"
"""The primary key of the rate limiter's row in the table. The row keeps its old spelling."""

SWEEP_KEY = "SWEEP"
"""The primary key of the row that says how far the last sweep got."""

METRICS = "Firstboot"
"""The CloudWatch namespace of our metrics; their one dimension, `service`, is the Lambda's file."""


def device_id(text: str) -> DeviceId:
    """Check a device id.

    Raises DeviceIdInvalid.
    """
    if not _DEVICE_ID.fullmatch(text) or text.startswith(RESERVED_PREFIX) or text == TOPIC_ROOT:
        raise DeviceIdInvalid(log=f"device id {text[:80]!r}")
    return DeviceId(text)


def is_thing_name(device: DeviceId) -> bool:
    """Whether AWS IoT takes the device id for a thing's name."""
    return _THING_NAME.fullmatch(device) is not None


def certificate_key(device: DeviceId, serial: str) -> str:
    """The S3 key of a certificate; `serial` is lower-case hex."""
    return f"{certificates_prefix(device)}{serial}.pem"


def certificates_prefix(device: DeviceId) -> str:
    """What the S3 keys of all the device's certificates begin with."""
    return f"{CERTIFICATES_PREFIX}{device}/"


def certificate_owner(key: str) -> DeviceId:
    """The device whose certificate is under an S3 key.

    Raises DeviceIdInvalid.
    """
    return device_id(key.removeprefix(CERTIFICATES_PREFIX).partition("/")[0])
