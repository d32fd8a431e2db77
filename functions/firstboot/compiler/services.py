"""The actions that a grant may allow: an allow-list of what devices do with data.

An attacker may own a device that holds a grant. So no grant allows an action that makes rights, credentials
or roles, or that changes code, on any resource: such an action could reach everything.

1. The services of `DATA` are open to every fleet, with the actions listed there. They read and write data.
2. The key `services` of fleet.toml opens further services, and the other actions of a listed one.
3. The services of `NEVER` can't be opened, and neither can an action whose name says that it manages rights.

Source: AWS's service authorization reference, access levels "Permissions management" and "Write".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DATA: dict[str, tuple[str, ...]] = {
    "appconfig": ("GetLatestConfiguration", "StartConfigurationSession"),
    "cloudwatch": ("PutMetricData",),
    "dynamodb": (
        *("Batch*", "ConditionCheckItem", "DeleteItem", "DescribeTable", "GetItem"),
        *("PartiQL*", "PutItem", "Query", "Scan", "UpdateItem"),
    ),
    "ecr": (
        *("BatchCheckLayerAvailability", "BatchGetImage", "GetAuthorizationToken", "GetDownloadUrlForLayer"),
    ),
    "events": ("PutEvents",),
    "execute-api": ("Invoke",),
    "firehose": ("PutRecord*",),
    "geo": ("BatchUpdateDevicePosition", "BatchEvaluateGeofences", "GetDevicePosition"),
    "iot": ("Connect", "Publish", "Receive", "RetainPublish", "Subscribe"),
    "iotjobsdata": (
        *("DescribeJobExecution", "GetPendingJobExecutions", "StartNextPendingJobExecution"),
        "UpdateJobExecution",
    ),
    "kinesis": ("DescribeStream*", "GetRecords", "GetShardIterator", "ListShards", "PutRecord*"),
    "kinesisvideo": (
        *("ConnectAsMaster", "ConnectAsViewer", "DescribeSignalingChannel", "DescribeStream"),
        *("GetDataEndpoint", "GetIceServerConfig", "GetSignalingChannelEndpoint", "PutMedia"),
        "SendAlexaOfferToMaster",
    ),
    "kms": ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey*", "GetPublicKey", "ReEncrypt*", "Verify"),
    "lambda": ("InvokeFunction", "InvokeFunctionUrl"),
    "logs": ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"),
    "s3": (
        *("AbortMultipartUpload", "DeleteObject", "DeleteObjectVersion", "GetBucketLocation", "GetObject"),
        *("GetObjectAttributes", "GetObjectTagging", "GetObjectVersion", "ListBucket"),
        *("ListBucketMultipartUploads", "ListBucketVersions", "ListMultipartUploadParts", "PutObject"),
        "PutObjectTagging",
    ),
    "secretsmanager": ("DescribeSecret", "GetSecretValue"),
    "sns": ("Publish",),
    "sqs": (
        *("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ReceiveMessage"),
        "SendMessage",
    ),
    "ssm": ("GetParameter", "GetParameters", "GetParametersByPath"),
    "timestream": ("DescribeEndpoints", "WriteRecords"),
}
"""The services that every fleet may use, with their actions beside those that read. A `*` stands for the rest
of the name."""

NEVER = frozenset(
    {
        *("account", "cloudformation", "iam", "identitystore", "organizations", "ram", "rolesanywhere"),
        *("sso", "sso-directory", "sts"),
    }
)
"""Services that make identities, rights and roles."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*")
_READING = frozenset({"Describe", "Get", "Head", "List"})
_RIGHTS = frozenset(
    {
        *("Acl", "Authorizer", "Grant", "Grants", "Key", "Permission", "Permissions", "Policies", "Policy"),
        *("Role", "Roles", "Rule", "Rules", "User", "Users"),
    }
)
"""Words of actions that manage rights, unless the action only reads."""

_ALWAYS = re.compile(
    r"kms:(Put|Enable|Disable|Schedule)|lambda:(Add|Create|Put|Remove|Update)|s3:PutBucket"
    r"|ssm:(Send|Start|Create)|[a-z0-9-]+:\w*Credentials"
)
"""Actions that make credentials, or that change keys, code or whole buckets."""

_WRITES_NOTHING = _READING | {
    *("Batch", "Check", "Condition", "Connect", "Decrypt", "Encrypt", "Generate", "Query", "Re", "Receive"),
    *("Scan", "Select", "Sign", "Subscribe", "Verify"),
}
"""First words of actions that change nothing that others read."""

_WITHOUT_RESOURCE = frozenset(
    {"cloudwatch:PutMetricData", "ecr:GetAuthorizationToken", "timestream:DescribeEndpoints"}
)
"""Actions of `DATA` that AWS knows no resource for, so that a grant must say `*`."""

_WITHOUT_TYPE = frozenset({"execute-api", "s3", "sns", "sqs"})
"""Services whose ARNs have no type before the resource's name."""


def problem(action: str, opened: Iterable[str]) -> str | None:
    """Return why a grant may not allow an action (`service:Name`), or None if it may.

    `opened` are the services that the fleet opens.
    """
    service, _, name = action.partition(":")
    start = name.removesuffix("*")
    if re.search(r"[*?]", start):
        return "may have a wildcard at its end only"
    if service in NEVER:
        return f"makes identities or rights; no grant may allow actions of {service}"
    if service in DATA and (_is_listed(name, DATA[service]) or _reads(name)):
        return None
    return _beyond(action, start) if service in opened else _unlisted(service)


def _beyond(action: str, start: str) -> str | None:
    """Return why an action that is not listed may not be allowed, although the fleet opens its service."""
    if _ALWAYS.match(action) or _manages_rights(start):
        return "manages rights, credentials, keys or code, which no grant may allow"
    if action.endswith("*") and not _reads(start):
        # `PutObject*` would allow PutObjectAcl.
        return "must be named in full; only actions that read may end in a wildcard here"
    return None


def _is_listed(name: str, listed: Iterable[str]) -> bool:
    """Return whether everything that `name` stands for is listed."""
    return any(
        name == each or (each.endswith("*") and name.startswith(each.removesuffix("*"))) for each in listed
    )


def _unlisted(service: str) -> str:
    if service in DATA:
        return (
            f"is not one of {', '.join(DATA[service])}; to allow other actions of {service}, add it to"
            " `services` in fleet.toml"
        )
    return f"is of a service that is not open to devices; add {service!r} to `services` in fleet.toml"


def _reads(name: str) -> bool:
    """Return whether an action, and everything that it stands for, only reads."""
    return (_WORD.findall(name) or [""])[0] in _READING


def _manages_rights(start: str) -> bool:
    return not _reads(start) and not _RIGHTS.isdisjoint(_WORD.findall(start)[1:])


def has_no_resource(action: str) -> bool:
    """Return whether a grant may allow an action on the resource `*`.

    For a service that the fleet opens this is not known here, so its statements need a condition.
    """
    return action in _WITHOUT_RESOURCE or action.partition(":")[0] not in DATA


def name_of(arn: str) -> str:
    """Return the part of an ARN where the resource's name begins; "" if the ARN has none."""
    _, _, service, _, _, rest = arn.split(":", 5)
    if service in _WITHOUT_TYPE:
        return rest
    found = re.fullmatch(r"([^/:]*)[/:](.*)", rest, re.DOTALL)
    if not found:
        return rest
    return "" if re.search(r"[*?]", found[1]) else found[2]


def writes(action: str) -> bool:
    """Return whether an action changes something that others may read."""
    name = action.partition(":")[2]
    words = _WORD.findall(name) or [""]
    # BatchGetItem reads, BatchWriteItem and Batch* write. PartiQLSelect reads, PartiQL* writes.
    if words[0] in ("Batch", "Parti") or name.startswith("PartiQL"):
        return not re.match(r"(Batch(Get|Check)|PartiQLSelect)", name)
    return words[0] not in _WRITES_NOTHING
