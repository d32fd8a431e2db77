"""The declarations of the keys of a group in `fleet.toml`; see keys.py."""

from __future__ import annotations

import re
from typing import get_args

from firstboot.compiler.kinds import Boolean, Choice, Document, Fraction, Integer, LastDay
from firstboot.compiler.lists import Choices, Names, Strings
from firstboot.compiler.table import REQUIRED, Key, Record
from firstboot.compiler.texts import Pattern, Space, Text
from firstboot.domain.fleet import Eku, Freshness, Group, Jitr, MqttLogin, Naming, Reenroll
from firstboot.domain.plans import Budget, CertificatePlan
from firstboot.domain.ways import DEFAULT, WAYS

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
"""Names of groups, grants and issuers. Cedar, session tags, policy names and table keys accept them."""

_SHARED: Naming = "request.deviceId"
_MANY = 1_000_000_000
_TEN_YEARS = 3_650
_AFFIX = 200
"""Characters of a stripped text: a value has 256 at most, and an id has 64."""

CONFIGURATION = Document(levels=5, size=1_024)
"""The configuration that a group's devices start with.

AWS IoT accepts six levels of nesting in a shadow update (developer guide, "Device Shadow error messages"),
and `state` may count as one. The size is bounded by the answer of 4,096 bytes, a common buffer of small
devices, which must hold the configuration beside the longest certificate or URL. A shadow could hold 8,192
bytes (same guide, "Diagnosing problems with shadows")."""


CERTIFICATE = Record(
    CertificatePlan,
    (
        Key(
            "days",
            Integer(1, _TEN_YEARS),
            "The lifetime of an operational certificate.",
            unit="days",
            default=365,
        ),
        Key(
            "renew_at",
            Fraction(),
            "The part of the lifetime after which a device may renew its certificate.",
            unit="fraction of the lifetime",
            default=0.66,
        ),
        Key(
            "grace_days",
            Integer(0, _TEN_YEARS),
            "How long a certificate can still be renewed after it expired or was superseded.",
            unit="days",
            default=90,
        ),
    ),
)

BUDGET = Record(
    Budget,
    (
        Key(
            "total",
            Integer(1, _MANY),
            "How many devices the group may enroll in all.",
            unit="devices",
        ),
        Key(
            "per_minute",
            Integer(1, _MANY),
            "How many devices the group may enroll in one minute.",
            unit="devices a minute",
        ),
        Key(
            "until",
            LastDay(),
            "The last day, in UTC, on which the group may enroll devices.",
        ),
        # An attacker with a claim certificate can try any device id. So a shared group must have a limit at
        # which an operator is alerted.
        Key(
            "freeze_per_hour",
            Integer(1, _MANY),
            "More enrollments than this in one hour freeze the group: an alarm goes off, and the group "
            "enrolls no device until an operator thaws it.",
            unit="devices an hour",
            default=None,
            shared=REQUIRED,
        ),
    ),
)

GROUP = Record(
    Group,
    (
        Key(
            "trust",
            Strings(),
            "The files with the CA certificates under which the group's bootstrap certificates were issued, "
            'as in `["trust/acme-factory.pem"]`.',
        ),
        Key(
            "device_id",
            Choice(get_args(Naming)),
            "Where the device id is read from: a field of the device's own bootstrap certificate, which must "
            "have exactly one value; the SHA-256 (hex) of its key; or, where the devices share one bootstrap "
            f"certificate, the request (`{_SHARED}`). A DNS name is read in lower case.",
            default="subject.CN",
        ),
        Key(
            "strip_prefix",
            Text(_AFFIX),
            "A text with which the value at `device_id` must begin. It is not part of the id.",
            default="",
        ),
        Key(
            "strip_suffix",
            Text(_AFFIX),
            "A text with which the value at `device_id` must end. It is not part of the id.",
            default="",
        ),
        Key(
            "pattern",
            Pattern(),
            "A regular expression that must match the whole value at `device_id`. What its group matches is "
            "the id.",
            default=None,
        ),
        Key(
            "ids",
            Space(),
            "The ids that the group's devices may have. Once one group has `ids`, no two groups may have ids "
            "in common unless `shares_ids_with` says so.",
            default="*",
        ),
        Key(
            "shares_ids_with",
            Names(NAME, most=20),
            "Groups that may have the same ids as this one. The first device to enroll with an id keeps it.",
            default=[],
        ),
        # The default of a shared group is to refuse: an attacker with its claim certificate could otherwise
        # replace the certificate of any device in it.
        Key(
            "reenroll",
            Choice(get_args(Reenroll)),
            "What happens when an enrolled device enrolls once more with another key: the request is "
            "refused, or the new certificate replaces the old one.",
            default="replace",
            shared="refuse",
        ),
        # Each enrollment costs a signature of the CA and an object in S3, so one device's number is bounded.
        Key(
            "reenroll_per_day",
            Integer(1, _MANY),
            "How often one device may enroll in one day if `reenroll` is `replace`. Above it the device may "
            "enroll once more after each pause of its share of the day, which is six hours at most.",
            unit="enrollments a day",
            default=10,
        ),
        Key(
            "pin_bootstrap",
            Boolean(),
            "Whether a device's name is bound to the key of the bootstrap certificate that it first enrolled "
            "with, so that no certificate with another key enrolls under its name. Choose `false` where "
            "these keys change, for example with the firmware. Devices that share one bootstrap certificate "
            "are never bound to its key.",
            default=True,
        ),
        Key(
            "certificate",
            CERTIFICATE,
            "The operational certificates of the group's devices.",
            default={},
        ),
        Key(
            "mqtt",
            Choice(get_args(MqttLogin)),
            "How a device connects to AWS IoT's broker: with its operational certificate, which is "
            "registered there, or with a token, which the custom authorizer checks.",
            default="registry",
        ),
        Key(
            "eku",
            Choice(get_args(Eku)),
            "Whether a bootstrap certificate must have the extension extendedKeyUsage. If it has it, it must "
            "allow clientAuth or any use in either case; without it, any use is allowed (RFC 5280 section "
            "4.2.1.12). Require it where the factory CA also issues certificates for other purposes.",
            default="optional",
        ),
        Key(
            "jitr",
            Choice(get_args(Jitr)),
            "What Firstboot does with a bootstrap certificate that AWS IoT registers at its first "
            "connection. `off`: nothing, and the factory CA is not registered in AWS IoT. `shared`: activate "
            "one that can enroll and leave the others, since the maker may have JITR under the same CA. "
            "`exclusive`: also revoke those that can never enroll.",
            default="shared",
        ),
        Key(
            "proof",
            Choice(get_args(Freshness)),
            "How a device shows on the public host that its signed proof is fresh. `time`: by its clock or "
            "by the server's nonce. `nonce`: by the nonce only. An attacker that could use a device's key "
            "for an hour can sign proofs for any later time, but none with a nonce that does not exist yet. "
            "Choose `nonce` where the key itself can't be stolen: in a secure element or a TPM.",
            default="time",
        ),
        Key(
            "ways",
            Choices(WAYS),
            "The only ways in which the group's devices may ask for certificates and credentials. "
            "Firstboot's own calls are `mtls`, with a TLS client certificate, `proof`, with a signed proof, "
            "and `mqtt`. The others are protocols of other services, which a deployment turns on. How a "
            "device connects to AWS IoT's broker is the choice of the key `mqtt`.",
            default=list(DEFAULT),
        ),
        Key(
            "budget",
            BUDGET,
            "How many devices the group may enroll, and until when; there is no limit without it.",
            default=None,
            shared=REQUIRED,
        ),
        Key(
            "configuration",
            CONFIGURATION,
            "What a new device starts with: the desired state of its shadow, and a member of the answer to "
            "a device that asks for it.",
            default={},
        ),
        # Records of devices, and the counters of a budget, have the name that the group had at the time.
        Key(
            "formerly",
            Names(NAME, most=20),
            "The earlier names of the group, oldest first. Devices that enrolled under one of them stay in "
            "the group, and their enrollments stay counted.",
            default=[],
        ),
    ),
    shared_if=("device_id", _SHARED),
)
