"""The names that several parts of Firstboot must agree on, and the checks that make them safe to use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NewType

from firstboot.domain.errors import DeviceIdInvalid

DeviceId = NewType("DeviceId", str)
"""A device id that `device_id` has checked. It is also the thing name, the MQTT client id, the certificate's
common name and the STS session name."""

# Every id fits an X.509 common name (64 characters) and STS's RoleSessionName and SourceIdentity (2 to 64 of
# [\w+=,.@-]) unchanged. It cannot change the meaning of an IAM or AWS IoT policy, since `*`, `?`, `/`, `$`
# and `{` are excluded.
ID_CHARACTERS = "[A-Za-z0-9_.-]"
"""A regular expression for a character of a device id: the one source of its alphabet."""

_DEVICE_ID = re.compile(rf"[A-Za-z0-9]{ID_CHARACTERS}{{0,62}}[A-Za-z0-9]", re.ASCII)

WORD = re.compile(rf"{ID_CHARACTERS}{{1,64}}", re.ASCII)
"""Words that could be device ids."""

RESERVED_PREFIX = "boot-"
"""Prefix of the MQTT client id of a device that connects with a claim certificate. No thing's name has it."""

TOPIC_ROOT = "firstboot"
"""The first segment of Firstboot's MQTT topics. No device may have this name: the common grant of the topics
`{deviceId}/*` would let it receive the answers to all devices, credentials included."""

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}", re.ASCII)
"""Thing names (AWS IoT API reference, CreateThing, thingName). They have no dot, unlike some device ids."""

CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
"""AWS IoT's id of a certificate: the SHA-256 of its DER in lower-case hex."""

ROLE_ALIAS = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
"""Role aliases (AWS IoT API reference, CreateRoleAlias, roleAlias)."""

# Keys of the bucket. `infra/` gives each Lambda function rights on the keys that it needs, by these names.
CERTIFICATES_PREFIX = "certificates/"
PUBLISHED_FLEET_KEY = "fleet/published.json"
AUTHORITY_KEY = "authority/ca.pem"
TRUSTSTORE_KEY = "truststore/truststore.pem"

RATE_LIMITER_KEY = "PACE#iot"
"""The primary key of the rate limiter's row, in an old spelling that deployed stacks have stored."""

GONE_PREFIX = "GONE#"
"""How the primary key of the row that notes a device's deletion begins. The device's id follows."""

JITR_PREFIX = "JITR#"
"""The primary key of a certificate's row at JITR begins with it. The certificate's id follows."""

SWEEP_KEY = "SWEEP"
"""The primary key of the row with the progress of the last sweep."""

NONCE_KEY = "SECRET#nonces"
"""The primary key of the row with the key of all nonces. A deployment makes the row."""

METRICS = "Firstboot"
"""The CloudWatch namespace of all metrics. Their only dimension, `service`, is the Lambda file's name."""


def device_id(text: str, reserved: Iterable[str] = ()) -> DeviceId:
    """Return `text` as a checked device id. `reserved` are words that the fleet does not allow as an id.

    Raises DeviceIdInvalid.
    """
    if not _DEVICE_ID.fullmatch(text) or text.startswith(RESERVED_PREFIX) or text == TOPIC_ROOT:
        raise DeviceIdInvalid(log=f"device id {text[:80]!r}")
    if text in reserved:
        raise DeviceIdInvalid(f"The fleet reserves {text!r}; no device may have it as its id")
    return DeviceId(text)


def first_name(name: str, formerly: Sequence[str]) -> str:
    """Return the first name of a group that is called `name` now and was called `formerly`, oldest first."""
    return formerly[0] if formerly else name


def is_device_id(text: str) -> bool:
    """Return whether `text` is a device id in a fleet that reserves no words."""
    return _DEVICE_ID.fullmatch(text) is not None


def is_thing_name(device: DeviceId) -> bool:
    """Return whether the device id is a valid thing name.

    A device id with a dot is not. A changed name would no longer be the MQTT client id, so such a device has
    no thing and uses HTTPS only.
    """
    return _THING_NAME.fullmatch(device) is not None


def certificate_key(device: DeviceId, serial: str) -> str:
    """Return the S3 key of a certificate; `serial` is lower-case hex."""
    return f"{certificates_prefix(device)}{serial}.pem"


def certificates_prefix(device: DeviceId) -> str:
    """Return the prefix of the S3 keys of all certificates of the device."""
    return f"{CERTIFICATES_PREFIX}{device}/"


def certificate_owner(key: str) -> DeviceId:
    """Return the id of the device whose certificate has the S3 key `key`.

    Raises DeviceIdInvalid.
    """
    return device_id(key.removeprefix(CERTIFICATES_PREFIX).partition("/")[0])
