"""The rights on the rows of the table: which role reads and writes which kind of row.

A row's key begins with its kind. IAM compares the key with `dynamodb:LeadingKeys`, and the names of the
attributes in a request with `dynamodb:Attributes` (DynamoDB developer guide, "Using IAM policy conditions for
fine-grained access control"). The names of conditions count as well, so a role that must compare an attribute
may also write it. A Scan has no leading keys, and returns every row to a role that has the right to scan.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.names import (
    DEVICE_PREFIX,
    GONE_PREFIX,
    JITR_PREFIX,
    NONCE_KEY,
    PASSWORD_KEY,
    RATE_LIMITER_KEY,
    RETRY_PREFIX,
    SWEEP_KEY,
)

_EXCHANGES = frozenset({"exchange", "exchangeMqtt"})
_CLAIMS = _EXCHANGES | {"provisioning"}
"""The functions that claim certificates. `provisioning` is there in a stack with fleet provisioning."""
_VENDS = frozenset({"vend", "vendMqtt"})
_COMMITS = _EXCHANGES | _VENDS | {"presence"}
_PROOFS = frozenset({"exchange", "vend"})
"""The functions that take signed proofs, which come over HTTPS alone."""
_OPERATES = frozenset({"operate", "read"})
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Kind:
    """The roles that may read (GetItem), update, only compare (ConditionCheckItem), put or delete a row."""

    read: frozenset[str] = _NONE
    written: frozenset[str] = _NONE
    checked: frozenset[str] = _NONE
    put: frozenset[str] = _NONE
    deleted: frozenset[str] = _NONE


KINDS: dict[str, Kind] = {
    f"{DEVICE_PREFIX}*": Kind(
        read=_COMMITS | _CLAIMS | _OPERATES | {"assign", "register", "jitr"},
        written=_COMMITS | _CLAIMS | {"register", "operate"},
        deleted=frozenset({"register"}),
    ),
    "CERT#*": Kind(read=_PROOFS, written=_COMMITS),
    f"{GONE_PREFIX}*": Kind(written=frozenset({"register"})),
    "KEY#*": Kind(read=_CLAIMS, written=_COMMITS | {"operate"}, checked=_CLAIMS),
    "KEYCLAIM#*": Kind(read=_CLAIMS, written=_CLAIMS, checked=frozenset({"operate"})),
    "BOOTSTRAP#*": Kind(read=_CLAIMS | {"jitr"}, written=frozenset({"operate"}), checked=_CLAIMS),
    "PROOF#*": Kind(written=_PROOFS),
    NONCE_KEY: Kind(read=_PROOFS, written=frozenset({"authority"})),
    PASSWORD_KEY: Kind(read=frozenset({"exchange", "operate"}), written=frozenset({"authority"})),
    "BUDGET#*": Kind(read=_CLAIMS | _OPERATES, written=_CLAIMS | {"operate"}),
    "HOUR#*": Kind(read=_CLAIMS, written=_CLAIMS),
    "MINUTE#*": Kind(read=_CLAIMS, written=_CLAIMS),
    "DAY#*": Kind(read=_CLAIMS, written=_CLAIMS),
    "GUESS#*": Kind(read=_CLAIMS, written=_CLAIMS, checked=_CLAIMS),
    f"{RETRY_PREFIX}*": Kind(written=_EXCHANGES | _VENDS),
    f"{JITR_PREFIX}*": Kind(read=frozenset({"jitr"}), written=frozenset({"jitr"})),
    RATE_LIMITER_KEY: Kind(
        read=_PROOFS | {"exchangeMqtt"} | _OPERATES, written=frozenset({"register", "jitr"})
    ),
    SWEEP_KEY: Kind(read=_OPERATES | {"sweep"}, put=frozenset({"sweep"})),
}

_COMMITTED = (
    *("pk", "active", "superseded", "pending", "claims", "status", "generation", "updatedAt"),
    *("der", "deviceId", "enrolled"),
)
"""What a first login writes: the record, the certificate's row and the key's row, in one transaction."""

_WAITING = ("next", "expiresAt")
"""The attributes of a lane's row."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "vend": (*_COMMITTED, *_WAITING),
    "vendMqtt": (*_COMMITTED, *_WAITING),
    "presence": _COMMITTED,
}
"""The only attributes that a role's updates may name. Roles that are not listed may name any."""
# One list serves all rows of a role. AWS does not say whether it authorises the items of a transaction one at
# a time, and a list for each kind of row could refuse a transaction of several kinds.


def rows_of(role: str) -> dict[str, list[str]]:
    """Return the kinds of rows that a role may read, write and compare, by DynamoDB's action."""
    return {
        "GetItem": [name for name, kind in KINDS.items() if role in kind.read],
        "UpdateItem": [name for name, kind in KINDS.items() if role in kind.written],
        "ConditionCheckItem": [name for name, kind in KINDS.items() if role in kind.checked],
        "PutItem": [name for name, kind in KINDS.items() if role in kind.put],
        "DeleteItem": [name for name, kind in KINDS.items() if role in kind.deleted],
    }
