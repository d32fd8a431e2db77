"""The look at the CA's key in KMS, which finds what lets the key not sign, or lets others sign with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from firstboot.domain.ca_key import KeyDescription, KeyGrant

# While a multi-Region key is Updating, it signs (KMS developer guide, "Key states of AWS KMS keys").
_USABLE = {"Enabled", "Updating"}


class Key(Protocol):
    """The key in KMS. Every method raises Unavailable, also if KMS refuses the call."""

    def description(self) -> KeyDescription:
        """Return the key's state."""

    def grants(self) -> list[KeyGrant]:
        """Return all grants on the key."""

    def policy(self) -> str:
        """Return the key's policy (JSON)."""


@dataclass(frozen=True)
class Found:
    """The result of a look. `policy_changed` is None if the key's policy is another party's."""

    key: KeyDescription
    grants: tuple[KeyGrant, ...]
    policy_changed: bool | None

    @property
    def usable(self) -> bool:
        """Return whether the key signs."""
        return self.key.state in _USABLE


@dataclass(frozen=True)
class LookAtKey:
    """The use case that compares the key with what a deployment made of it.

    `policy` is the policy (JSON) that the deployment wrote; empty if the configuration names a key from
    elsewhere. The owner of such a key decides its policy, and KMS does not show it to another account
    (API reference, GetKeyPolicy, "Cross-account use").
    """

    key: Key
    policy: str

    def __call__(self) -> Found:
        """Return what the key is like now. Raises Unavailable."""
        changed = None
        if self.policy:
            changed = _canonical(json.loads(self.key.policy())) != _canonical(json.loads(self.policy))
        return Found(self.key.description(), tuple(self.key.grants()), changed)


def _canonical(part: Any) -> Any:  # noqa: ANN401 - a part of a policy is any JSON
    """Return a part of a policy in a form that does not depend on the order of statements and actions.

    A list with one item stands for the item (IAM user guide, "Grammar of the IAM JSON policy language").
    """
    if isinstance(part, dict):
        return {name: _canonical(value) for name, value in part.items()}
    if isinstance(part, list):
        found = sorted(map(_canonical, part), key=lambda each: json.dumps(each, sort_keys=True))
        return found[0] if len(found) == 1 else found
    return part
