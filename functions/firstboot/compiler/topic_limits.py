"""Warnings about topics in grants that AWS IoT takes from no device, or not from one with a long id.

The compiler does not call this: such a grant harms no device, and a fleet whose ids are short may be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from firstboot.compiler.templates import LONGEST, WIDEST
from firstboot.domain.fleet import Fleet
from firstboot.policy import render

SLASHES = 7
"""Forward slashes of a topic or topic filter (AWS IoT Core endpoints and quotas, "Message broker limits")."""

BYTES = 256
"""Bytes of a topic or topic filter in UTF-8 (ibid.)."""

_RESOURCE = re.compile(r"arn:[^:]+:iot:[^:]+:[^:]+:topic(?:filter)?/(.+)", re.ASCII)

# The limits do not count the segments of Basic Ingest (ibid.). Whether they count those of a shared
# subscription is not documented, so these are not counted either.
_UNCOUNTED = re.compile(r"\$aws/rules/[^/]+/|\$share/[^/]+/")

_VARIABLES = re.compile(r"\{(region|account|partition)\}", re.ASCII)


def warnings(fleet: Fleet) -> list[str]:
    """Return a line for each topic of a grant that exceeds a limit of AWS IoT."""
    return [
        f"grants/{name}.json: statement {number}: {topic!r} {problem}"
        for name, document in fleet.policies.items()
        for number, statement in enumerate(document["Statement"], 1)
        if statement["Effect"] == "Allow"
        for resource in render.listed(statement["Resource"])
        if (match := _RESOURCE.fullmatch(resource))
        for topic in (match[1],)
        for problem in _problems(topic)
    ]


def _problems(pattern: str) -> Iterator[str]:
    """Yield the limits that every topic which matches the pattern exceeds."""
    # A `*` of a policy may match nothing, and a `?` is a character.
    least = _UNCOUNTED.sub("", pattern, count=1).replace("*", "")
    slashes = least.count("/")
    if slashes > SLASHES:
        yield f"has {slashes} slashes, and AWS IoT takes {SLASHES} in a topic: no device can use it"
    placed = _VARIABLES.sub(lambda match: getattr(WIDEST, match[1]), least)
    size = len(placed.replace(render.DEVICE, LONGEST).encode())
    if size > BYTES:
        yield f"has {size} bytes for a device id of {len(LONGEST)}, and AWS IoT takes {BYTES} in a topic"
