"""The names that several parts of Firstboot must agree on, and the checks that make them safe to use."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType

from firstboot.domain.errors import DeviceIdInvalid

DeviceId = NewType("DeviceId", str)
"""A device id that `device_id` has checked. It is also the thing name, the MQTT client id and the common name
of the certificate. Its spelling at STS is another one; see `session_name`."""

_FIRST = "A-Za-z0-9_"
_LENGTH = 64
"""The characters with which a device id may begin, and how many it may have, which is as many as an X.509
common name (RFC 5280 appendix A.1). `IdRule` has the further characters. No character of an id has a meaning
in a policy of IAM or AWS IoT, in a topic or in a path: `*`, `?`, `/`, `+`, `#`, `$` and `{` are excluded."""

WORD = re.compile(rf"[{_FIRST}.:-]{{1,{_LENGTH}}}", re.ASCII)
"""Words that could be device ids."""

RESERVED_PREFIX = "boot-"
"""Prefix of the MQTT client id of a device that connects with a claim certificate. No thing's name has it."""

_AWS_PREFIX = "aws:"
"""Prefix that STS keeps for AWS in source identities and in tags, in upper and lower case (STS API reference,
AssumeRole; IAM user guide, "Rules for tagging")."""

TOPIC_ROOT = "firstboot"
"""The first segment of Firstboot's MQTT topics. No device may have this name: the common grant of the topics
`{deviceId}/*` would let it receive the answers to all devices, credentials included."""

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}", re.ASCII)
"""Thing names (AWS IoT API reference, CreateThing, thingName). They have no dot, unlike some device ids."""

CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
"""AWS IoT's id of a certificate: the SHA-256 of its DER in lower-case hex."""

ROLE_ALIAS = re.compile(r"[\w=,@-]{1,128}", re.ASCII)
"""Role aliases (AWS IoT API reference, CreateRoleAlias, roleAlias)."""

FLEET_ROLE_PATH = "/firstboot/"
"""The IAM path of the fleet roles."""

# Keys of the bucket. `infra/` gives each Lambda function rights on the keys that it needs, by these names.
CERTIFICATES_PREFIX = "certificates/"
PUBLISHED_FLEET_KEY = "fleet/published.json"
AUTHORITY_KEY = "authority/ca.pem"
TRUSTSTORE_KEY = "truststore/truststore.pem"

RATE_LIMITER_KEY = "PACE#iot"
"""The primary key of the rate limiter's row, in an old spelling that deployed stacks have stored."""

DEVICE_PREFIX = "DEV#"
"""How the primary key of a device's record begins. The device's id follows."""

GONE_PREFIX = "GONE#"
"""How the primary key of the row that notes a device's deletion begins. The device's id follows."""

JITR_PREFIX = "JITR#"
"""The primary key of a certificate's row at JITR begins with it. The certificate's id follows."""

RETRY_PREFIX = "RETRY#"
"""How the primary key of a lane's row begins. The lane's rate and name follow."""

SWEEP_KEY = "SWEEP"
"""The primary key of the row with the progress of the last sweep."""

NONCE_KEY = "SECRET#nonces"
"""The primary key of the row with the key of all nonces. A deployment makes the row."""

PASSWORD_KEY = "SECRET#passwords"  # noqa: S105 - a row, and no password
"""The primary key of the row with the key of all one-time passwords. A deployment makes the row."""

METRICS = "Firstboot"
"""The CloudWatch namespace of all metrics. Their only dimension, `service`, is the Lambda file's name."""


@dataclass(frozen=True)
class IdRule:
    """The rule by which a text may be a device id.

    `reserved` are words that are no id. `colons` says whether an id may have a `:`. The rule of a fleet is
    `Fleet.ids`.
    """

    reserved: tuple[str, ...] = ()
    colons: bool = True

    @property
    def character(self) -> str:
        """Return a regular expression for a character of an id."""
        return f"[{_FIRST}.:-]" if self.colons else f"[{_FIRST}.-]"

    @property
    def pattern(self) -> str:
        """Return a regular expression for a text that has the characters and the length of an id."""
        return f"[{_FIRST}]{self.character}{{0,{_LENGTH - 1}}}"

    @property
    def words(self) -> str:
        """Return a sentence that says which texts may be ids."""
        colon = " :" if self.colons else ""
        return (
            f"A device id has 1 to {_LENGTH} characters of A-Z a-z 0-9 _ . -{colon}, begins with none of"
            f" . -{colon}, does not begin with {RESERVED_PREFIX} or {_AWS_PREFIX}, and is not {TOPIC_ROOT}"
        )

    def allows(self, text: str) -> bool:
        """Return whether `text` may be a device id."""
        return self._is_shaped(text) and text not in self.reserved

    def check(self, text: str) -> DeviceId:
        """Return `text` as a device id.

        Raises DeviceIdInvalid.
        """
        if not self._is_shaped(text):
            raise DeviceIdInvalid(self.words, log=f"device id {text[:80]!r}: {self.words}")
        if text in self.reserved:
            raise DeviceIdInvalid(f"The fleet reserves {text!r}; no device may have it as its id")
        return DeviceId(text)

    def _is_shaped(self, text: str) -> bool:
        is_taken = text.startswith(RESERVED_PREFIX) or text == TOPIC_ROOT
        is_taken = is_taken or text.lower().startswith(_AWS_PREFIX)
        return not is_taken and re.fullmatch(self.pattern, text, re.ASCII) is not None


ANY_FLEET = IdRule()
"""The rule that every device id of any fleet meets."""


def device_id(text: str, rule: IdRule = ANY_FLEET) -> DeviceId:
    """Return `text` as a checked device id.

    A caller that finds a device by its id needs no `rule`. A caller that lets a device have the id gives the
    rule of the fleet in force.
    Raises DeviceIdInvalid.
    """
    return rule.check(text)


def session_name(device: DeviceId) -> str:
    r"""Return the device's RoleSessionName and SourceIdentity at STS. No two devices have the same one.

    STS allows 2 to 64 characters of `[\w+=,.@-]` (STS API reference, AssumeRole). So `=` stands for `:`,
    and a `+` follows an id of one character. Neither is a character of device ids.
    """
    name = device.replace(":", "=")
    return name if len(name) > 1 else f"{name}+"


def fleet_role(region: str, alias: str) -> str:
    r"""Return the name of the role behind a role alias. No two aliases have the same one.

    IAM allows 64 characters of `[\w+=,.@-]`, and two names that differ only in case are one (IAM user guide,
    "IAM and AWS STS quotas"). The digest tells aliases apart that begin alike or differ only in case.
    `region` may have 16 characters; the longest of today have 14. At synth it may be a token.
    """
    digest = hashlib.sha256(alias.encode()).hexdigest()[:16]
    return f"{TOPIC_ROOT}-{region}-{alias[:20]}-{digest}"


def first_name(name: str, formerly: Sequence[str]) -> str:
    """Return the first name of a group that is called `name` now and was called `formerly`, oldest first."""
    return formerly[0] if formerly else name


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
