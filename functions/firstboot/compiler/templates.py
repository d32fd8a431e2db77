"""Check grants: IAM policy documents, restricted to those that can be rendered safely for every device.

The central rule is that `{deviceId}` stands alone between delimiters, with no wildcard before it. So the
strings that the policies of two devices match are equal up to the device id, and differ there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from firstboot.compiler import hubs, iot, overlaps, services
from firstboot.domain.fleet import Fleet
from firstboot.domain.hubs import has_kind
from firstboot.domain.names import DeviceId
from firstboot.policy import limits, render

# No device id contains one of these characters, and none of them is a wildcard of IAM. `#` and `=` are
# common in DynamoDB keys (`DEVICE#{deviceId}`) and in partitioned prefixes (`device={deviceId}/`).
_DELIMITERS = "/#="
# A delimiter as well, in a fleet whose device ids have no colon.
_COLON = ":"
_ARN_FIELDS = re.compile(r"^arn:[^:]*:[^:]*:[^:]*:[^:]*:")
"""The beginning of an ARN, up to the resource (IAM user guide, "Amazon Resource Names")."""

_VARIABLES = frozenset({"deviceId", "region", "account", "partition"})
_BRACED = re.compile(r"\{(\w+)\}", re.ASCII)
_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*?]+", re.ASCII)
_OPERATOR = re.compile(
    r"(ForAllValues:|ForAnyValue:)?"
    r"(String(Not)?(Equals|Like)|Arn(Not)?(Equals|Like)|(Not)?IpAddress|Bool|BinaryEquals|Null"
    r"|(Numeric|Date)((Not)?Equals|(Less|Greater)Than(Equals)?))(IfExists)?"
)
"""The condition operators of IAM (IAM JSON policy elements) without those that ignore case: two device ids
may differ in case only."""

_WITH_AN_ID = re.compile(r"(ForAllValues:)?(String|Arn)(Equals|Like)(IfExists)?")
"""The operators with which an Allow may compare a device id. A negated operator would allow what belongs to
other devices. ForAnyValue would allow a request that belongs to other devices in part. As numbers, the ids
10 and 1e1 would be equal."""

_CONDITION_KEY = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9:/_.@+=-]+", re.ASCII)
_ARN = re.compile(r"arn:[^:*?]+:[^:*?]+:[^:]*:[^:]*:.*[^:/*?].*")
# The longest values that exist, or longer, so that the checked size holds for every device.
WIDEST = render.Place(partition="aws-us-gov", region="ap-southeast-99", account="0" * 12)
LONGEST = DeviceId("d" * 64)

# The other elements of a statement are refused: NotAction and NotResource cover all that they do not name,
# and Principal belongs to policies of resources.
_REQUIRED = {"Effect", "Action", "Resource"}
_ALLOWED = _REQUIRED | {"Sid", "Condition"}


def check(fleet: Fleet) -> list[str]:
    """Return the problems of the fleet's grants. Each line names its file."""
    problems = [
        f"grants/{name}.json: {problem}"
        for name, document in fleet.grants.items()
        for problem in list(_document(document, fleet)) or _oversized(fleet, name)
    ]
    return problems or _ceiling(fleet) or [*_terms(fleet), *hubs.check(fleet), *overlaps.check(fleet)]


def _terms(fleet: Fleet) -> list[str]:
    """Return the problems between the grants and what fleet.toml says of them."""
    unknown = [
        f"fleet.toml: grants.{name} has no file grants/{name}.json"
        for name in fleet.terms.keys() - fleet.grants.keys()
    ]
    return sorted(unknown) + [
        f"grants/{name}.json: statement {number}: allows devices to write, and names no device; put"
        f" {render.DEVICE} into its resources, or set grants.{name}.shared = true in fleet.toml"
        for name in fleet.policies
        if name not in fleet.shared_grants
        for number in writing_shared(fleet, name)
    ]


def writing_shared(fleet: Fleet, grant: str) -> list[int]:
    """Return the numbers of a grant's statements that let all its devices write to the same place."""
    return [
        number
        for number, statement in enumerate(fleet.grants[grant]["Statement"], 1)
        if statement["Effect"] == "Allow"
        and any(map(services.writes, render.listed(statement["Action"])))
        and not _is_own(statement)
    ]


def _is_own(statement: dict[str, Any]) -> bool:
    """Return whether an Allow reaches nothing but what belongs to the device."""
    if all(render.DEVICE in resource for resource in render.listed(statement["Resource"])):
        return True
    values = (
        render.listed(value)
        for operator, keys in statement.get("Condition", {}).items()
        if _WITH_AN_ID.fullmatch(operator)
        for value in keys.values()
    )
    return any(all(render.DEVICE in text for text in texts) for texts in values)


def _oversized(fleet: Fleet, name: str) -> list[str]:
    if has_kind(fleet.grants[name]):
        return []
    # The AWS IoT policy has fewer statements and a shorter name of the device, but a condition more.
    session = len(render.session_policy(fleet, [name], LONGEST, WIDEST))
    size = max(session, len(render.iot_policy(fleet, name, WIDEST) or ""))
    # Both limits are the same (STS API reference, AssumeRole; AWS IoT Core quotas).
    if size <= limits.SESSION_POLICY:
        return []
    return [f"renders to {size} characters; a session or AWS IoT policy may have {limits.SESSION_POLICY}"]


def _ceiling(fleet: Fleet) -> list[str]:
    size = len(render.compact(render.ceiling(fleet, WIDEST)))
    if size <= limits.ROLE_POLICY:
        return []
    return [f"grants/: render to {size} characters together; a role's policies may have {limits.ROLE_POLICY}"]


def _document(document: Any, fleet: Fleet) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if has_kind(document):
        yield from hubs.document(document)
        return
    if not isinstance(document, dict) or document.keys() != {"Version", "Statement"}:
        yield 'must be {"Version": …, "Statement": […]}'
        return
    if document["Version"] != render.VERSION:
        yield f'Version must be "{render.VERSION}"'
    statements = document["Statement"]
    if not isinstance(statements, list) or not statements:
        yield "Statement must be a list of one or more statements"
        return
    for number, statement in enumerate(statements, 1):
        yield from (f"statement {number}: {problem}" for problem in _statement(statement, fleet))


def _statement(statement: Any, fleet: Fleet) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    if not isinstance(statement, dict):
        yield "must be an object"
        return
    for key in sorted(statement.keys() - _ALLOWED):
        yield f"{key} is not supported; only {', '.join(sorted(_ALLOWED))} are"
    for key in sorted(_REQUIRED - statement.keys()):
        yield f"{key} is missing"
    if statement.keys() >= _REQUIRED and not (bad := list(_shapes(statement))):
        yield from _actions(statement, fleet.services)
        yield from _resources(statement)
        if statement["Effect"] == "Allow":
            yield from _comparisons(statement.get("Condition", {}))
        for text in _texts(statement):
            yield from _variables(text, "*?+#" if iot.is_about(statement) else "*?")
            yield from _around(text, colons=fleet.colon_ids)
    elif statement.keys() >= _REQUIRED:
        yield from bad


def _shapes(statement: dict[str, Any]) -> Iterator[str]:
    if statement["Effect"] not in ("Allow", "Deny"):
        yield "Effect must be Allow or Deny"
    for key in ("Action", "Resource"):
        if not _strings(statement[key]):
            yield f"{key} must be a string or a list of one or more strings"
    if not isinstance(statement.get("Sid", ""), str):
        yield "Sid must be a string"
    if "Condition" in statement and not _is_condition(statement["Condition"]):
        yield 'Condition must be {operator: {key: "value" or ["values"]}}'


def _strings(value: object) -> bool:
    if isinstance(value, str):
        return bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)


def _is_condition(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_comparison(*item) for item in value.items())


def _is_comparison(operator: str, keys: object) -> bool:
    return (
        _OPERATOR.fullmatch(operator) is not None
        and isinstance(keys, dict)
        and bool(keys)
        and all(_CONDITION_KEY.fullmatch(key) and _strings(value) for key, value in keys.items())
    )


def _actions(statement: dict[str, Any], opened: tuple[str, ...]) -> Iterator[str]:
    actions = render.listed(statement["Action"])
    for action in actions:
        if not _ACTION.fullmatch(action):
            yield f"Action {action!r} must be service:Name, in lower case before the colon"
        elif action.startswith("iot:") and action not in iot.ACTIONS:
            yield f"Action {action!r} is not one of {', '.join(iot.ACTIONS)}"
        elif statement["Effect"] == "Allow" and (problem := services.problem(action, opened)):
            yield f"Action {action!r} {problem}"
    # A statement goes into an AWS IoT policy as a whole or not at all.
    if iot.is_about(statement) and not all(action.startswith("iot:") for action in actions):
        yield "Actions of iot and of other services must be in separate statements"


def _resources(statement: dict[str, Any]) -> Iterator[str]:
    for resource in render.listed(statement["Resource"]):
        if iot.is_about(statement):
            yield from iot.resource(resource, statement)
        elif resource != "*" and not resource.startswith("arn:"):
            yield f"Resource {resource!r} is not an ARN"
        elif statement["Effect"] == "Allow":
            yield from _named(resource, statement)


def _named(resource: str, statement: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of an Allow's resource that could be any resource of its kind."""
    if resource == "*" and all(map(services.has_no_resource, render.listed(statement["Action"]))):
        if "Condition" not in statement:
            yield f'Resource "{resource}" needs a Condition'
    # `arn:*` allows as much as `*`, and `arn:aws:s3:::*` nearly as much.
    elif ":access-grants" in resource:
        yield f"Resource {resource!r} gives credentials for S3 (s3:GetDataAccess)"
    elif not _ARN.fullmatch(resource) or services.name_of(resource)[:1] in ("*", "?", ""):
        yield f"Resource {resource!r} has a wildcard where a name begins; name the resource"


def _comparisons(condition: dict[str, dict[str, str | list[str]]]) -> Iterator[str]:
    # ForAllValues and …IfExists are true for a request without the key (IAM User Guide, "Set operators for
    # multivalued context keys", "…IfExists condition operators").
    present = {
        key.lower() for key, value in condition.get("Null", {}).items() if value in ("false", ["false"])
    }
    for operator, keys in condition.items():
        for key, values in keys.items():
            texts = [text for text in render.listed(values) if render.DEVICE in text]
            if texts and not _WITH_AN_ID.fullmatch(operator):
                yield (
                    f"{operator} of {key} with {render.DEVICE} allows what belongs to other devices; in an"
                    " Allow use String or Arn, Equals or Like, without ForAnyValue"
                )
            elif texts and (":" in operator or operator.endswith("IfExists")) and key.lower() not in present:
                yield f'{operator} allows requests without {key}: add "Null": {{"{key}": "false"}}'
            # S3 lists all keys with the prefix, so dev1 would list the keys of dev10.
            if key.lower() == "s3:prefix" and any(text.endswith(render.DEVICE) for text in texts):
                yield f"s3:prefix must not end in {render.DEVICE}, since longer ids begin alike: add a /"


def _texts(statement: dict[str, Any]) -> Iterator[str]:
    yield from render.listed(statement["Resource"])
    for keys in statement.get("Condition", {}).values():
        for value in keys.values():
            yield from render.listed(value)


def _variables(text: str, wildcards: str) -> Iterator[str]:
    # A grant becomes policies of IAM and of AWS IoT, whose variables differ.
    if "${" in text:
        yield f"{text!r}: policy variables ${{…}} are not supported; use {render.DEVICE}"
    for name in sorted(set(_BRACED.findall(text)) - _VARIABLES):
        yield f"{text!r}: {{{name}}} is not one of {', '.join(sorted(_VARIABLES))}"
    if set("{}") & set(_BRACED.sub("", text)):
        yield f"{text!r}: a brace belongs to no variable"
    parts = text.split(render.DEVICE)
    if len(parts) > 1 and any(character in parts[0] for character in wildcards):
        yield f"{text!r}: a wildcard before {render.DEVICE} matches the segments of other devices"


def _around(text: str, *, colons: bool) -> Iterator[str]:
    """Yield the problem of a text in which something else than a delimiter is beside the id.

    `colons` says whether ids may have colons.
    """
    delimiters, parts = _DELIMITERS + _COLON, text.split(render.DEVICE)
    if colons:
        # `b/DEVICE:{deviceId}/` of gw1 would be `b/{deviceId}/` of `DEVICE:gw1`, too. The five colons before
        # the resource of an ARN are in no id.
        delimiters, parts[0] = _DELIMITERS, _ARN_FIELDS.sub("", parts[0])
    before = all(part[-1:] in delimiters for part in parts[:-1])  # "" is in it, for an end of the text.
    after = all(part[:1] in delimiters for part in parts[1:])
    if not (before and after and all(parts[1:-1])):
        around = " ".join(delimiters)
        but = "; an id may have a colon here, so a colon delimits none" if colons else ""
        yield f"{text!r}: {render.DEVICE} must fill a whole segment, between {around} or at an end{but}"
