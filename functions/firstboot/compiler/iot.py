"""Check the statements of grants about AWS IoT: which clients, topics and topic filters they may name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from firstboot.domain.names import TOPIC_ROOT
from firstboot.policy import render

ACTIONS = {
    "iot:Connect": "client",
    "iot:Publish": "topic",
    "iot:Receive": "topic",
    "iot:RetainPublish": "topic",
    "iot:Subscribe": "topicfilter",
}
"""AWS IoT's data plane actions, each with the type of its resource (AWS IoT Core policy actions)."""

_RESOURCE = re.compile(r"arn:[^:]+:iot:[^:]+:[^:]+:(client|topic|topicfilter)/(.+)", re.ASCII)

# By other reserved topics a client gets certificates (`$aws/certificates/create/json`,
# `$aws/provisioning-templates/…`), or says that a device connected (`$aws/events/…`). A message to
# `$aws/rules/NAME/…` goes to the rule NAME without regard to the topics that the rule reads, so a wildcard
# there would reach Firstboot's rules.
# Source: AWS IoT developer guide, "Reserved topics" and "Reducing messaging costs with Basic Ingest".
_PUBLISHED = re.compile(r"\$aws/(things|commands/things|device_location|rules)/[^/*?+#]+/.+")
_RECEIVED = re.compile(r"\$aws/(commands/things|(?!commands/)[^/*?+#]+)/[^/*?+#]+(/.*)?")
"""The topics of AWS IoT itself that a grant may name. The name of a thing or rule has no wildcard."""

_SHARED_SUBSCRIPTION = re.compile(r"\$share/[^/*?+#]+/")


def is_about(statement: dict[str, Any]) -> bool:
    """Return whether a statement has an action of AWS IoT."""
    return any(action.startswith("iot:") for action in render.listed(statement["Action"]))


def resource(arn: str, statement: dict[str, Any]) -> Iterator[str]:
    """Yield the problem of a resource (ARN) in a statement about AWS IoT, if it has one."""
    actions = render.listed(statement["Action"])
    kinds = {ACTIONS.get(action) for action in actions}
    match = _RESOURCE.fullmatch(arn)
    if not match or match[1] not in kinds:
        wanted = " or ".join(sorted(f"{kind}/" for kind in kinds if kind))
        yield f"Resource {arn!r} must be an AWS IoT ARN ending in {wanted}…, as its actions need"
    elif statement["Effect"] == "Allow":
        publishes = match[1] == "topic" and not {"iot:Publish", "iot:RetainPublish"}.isdisjoint(actions)
        yield from _allowed(arn, match[1], match[2], publishes=publishes)


def _allowed(arn: str, kind: str, text: str, *, publishes: bool) -> Iterator[str]:
    """Yield the problem of a client, topic or filter that an Allow names, if it has one."""
    if kind == "client":
        if not arn.endswith(f":client/{render.DEVICE}"):
            yield f"Resource {arn!r} lets a device connect as another: it must be …:client/{render.DEVICE}"
    elif _is_over_ours(text := _SHARED_SUBSCRIPTION.sub("", text, count=1)):
        yield f"Resource {arn!r} includes {TOPIC_ROOT}/…, where every device receives its credentials"
    elif text.startswith("$") and not (_PUBLISHED if publishes else _RECEIVED).fullmatch(text):
        yield (
            f"Resource {arn!r} is not of one thing, command, location or rule of AWS IoT; name it without a"
            " wildcard"
        )


def _is_over_ours(topic: str) -> bool:
    """Return whether a topic or filter is one of Firstboot's, or has a wildcard that may match one."""
    literal = re.split(r"[*?+#{]", topic, maxsplit=1)[0]
    ours, rest = f"{TOPIC_ROOT}/", topic[len(literal) :]
    if rest.startswith(render.DEVICE):  # No device has the root's name.
        return False
    # No region, account or partition has the root's name, either, but each of them can be a device's id.
    return literal.startswith(ours) or (rest[:1] not in ("", "{") and ours.startswith(literal))
