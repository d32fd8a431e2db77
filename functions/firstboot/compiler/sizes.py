"""Check a fleet's size, so that deciding, compiling and sweeping stay within their times for every fleet.

Decision 0069 has the measurements behind the numbers.
"""

from __future__ import annotations

from firstboot.domain.fleet import Fleet
from firstboot.policy import decision, vocabulary

RULES = 500
"""The rules that Cedar evaluates at a decision; `evaluations` counts them."""

GRANTS = 250
"""The grants of a fleet. The sweep keeps a policy in AWS IoT for each, at ten calls a second (AWS IoT Core
endpoints and quotas, CreatePolicy and GetPolicy)."""

CHARACTERS = 250_000
"""The characters of the rules together, and of the schema."""

COMPILED = 2_000_000
"""The bytes of a compiled fleet. `fleet.show` answers with two, and a synchronous invocation of a Lambda
function with 6 MB at most (Lambda developer guide, "Lambda quotas", invocation payload)."""


def grants(fleet: Fleet) -> list[str]:
    """Return the problem of a fleet that has too many grants."""
    count = len(fleet.grants)
    return [f"grants/: has {count:,} grants; a fleet may have {GRANTS:,}"] if count > GRANTS else []


def text(file: str, content: str) -> list[str]:
    """Return the problem of a file of rules or of a schema that is too long."""
    if len(content) <= CHARACTERS:
        return []
    return [f"{file}: has {len(content):,} characters; it may have {CHARACTERS:,}"]


def rules(file: str, fleet: Fleet, policies: dict[str, vocabulary.Json]) -> list[str]:
    """Return the problem of too many rules. `policies` are the fleet's rules as Cedar's JSON."""
    names = sorted(fleet.grants)
    count = sum(decision.evaluations(policy, names) for policy in policies.values())
    # Cedar doesn't evaluate a rule that is about no grant, but it is parsed like all others.
    count = max(count, len(policies))
    if count <= RULES:
        return []
    each = (
        "a rule with `resource` in a condition counts once for each grant that it names there, and once more"
    )
    return [f"{file}: has {count:,} rules; a fleet may have {RULES:,} ({each})"]


def compiled(file: str, fleet: Fleet) -> list[str]:
    """Return the problem of a fleet that is too large as a whole."""
    size = len(fleet.to_json())
    return [f"{file}: the compiled fleet has {size:,} bytes; it may have {COMPILED:,}"] * (size > COMPILED)
