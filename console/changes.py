"""Compare two fleet definitions, for a person to read. No input or output."""

from __future__ import annotations

import difflib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from console.describe import last_day
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import certificate

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class Change:
    """One part of the definition that differs. `diff` is a unified diff of its text."""

    part: str
    kind: Kind
    diff: tuple[str, ...]


def between(before: Fleet, after: Fleet) -> list[Change]:
    """Return the parts that differ, groups first and the schema last. `base` is not compared."""
    old, new = _parts(before), _parts(after)
    parts = [*new, *(part for part in old if part not in new)]
    return [_change(part, old.get(part), new.get(part)) for part in parts if old.get(part) != new.get(part)]


def _change(part: str, old: str | None, new: str | None) -> Change:
    kind: Kind = "added" if old is None else "removed" if new is None else "changed"
    lines = difflib.unified_diff(
        (old or "").splitlines(), (new or "").splitlines(), "in force", "folder", lineterm=""
    )
    return Change(part, kind, tuple(lines))


def _parts(fleet: Fleet) -> dict[str, str]:
    return {
        **{f"group {name}": _group(group) for name, group in fleet.groups.items()},
        **{f"role alias {name}": _text(alias.to_plain()) for name, alias in fleet.role_aliases.items()},
        **{f"issuer {name}": _text(asdict(issuer)) for name, issuer in fleet.issuers.items()},
        **{f"grant {name}": _text(template) for name, template in fleet.grants.items()},
        **{f"terms of grant {name}": _text(asdict(terms)) for name, terms in fleet.terms.items()},
        **({"services": _text(fleet.services)} if fleet.services else {}),
        **({"reserved words": _text(fleet.reserved)} if fleet.reserved else {}),
        **({"colons in device ids": _text(fleet.colon_ids)} if fleet.colon_ids else {}),
        "rules": fleet.rules,
        "schema": fleet.schema,
    }


def _group(group: Group) -> str:
    plain = group.to_plain() | {"trust": [_anchor(pem) for pem in group.trust]}
    if group.budget:
        plain["budget"]["until"] = last_day(group.budget.until)
    return _text(plain)


def _anchor(pem: str) -> str:
    """Return a trust anchor as its subject and fingerprint, which a person can compare."""
    anchor = certificate.anchor(pem)
    return f"{anchor.subject.text()} sha256:{anchor.fingerprint}"


def _text(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True)
