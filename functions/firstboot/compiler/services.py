"""The actions that a grant may allow: an allow-list of what devices do with data.

An attacker may own a device that holds a grant. So no grant allows an action that makes rights, credentials
or roles, or that changes code, on any resource: such an action could reach everything.

1. The services of `DATA` are open to every fleet, with the actions listed there and those that read, and with
   no others.
2. The key `services` of fleet.toml opens further services. Of these, actions whose names say that they manage
   rights, credentials, keys or code stay refused.
3. The services of `NEVER` can't be opened.

Source: AWS's service authorization reference, access levels "Permissions management", "Tagging" and "Write".
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
    "execute-api": ("Invoke", "ManageConnections"),
    "firehose": ("PutRecord*",),
    "geo": ("BatchUpdateDevicePosition", "BatchEvaluateGeofences", "CalculateRoute*", "SearchPlaceIndex*"),
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
    "kms": (
        *("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey*", "GenerateMac", "GetPublicKey"),
        *("ReEncrypt*", "Sign", "Verify*"),
    ),
    "lambda": ("InvokeFunction", "InvokeFunctionUrl"),
    "logs": (
        *("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "FilterLogEvents", "PutLogEvents"),
        *("StartQuery", "StopQuery"),
    ),
    "s3": (
        *("AbortMultipartUpload", "DeleteObject", "DeleteObjectVersion", "GetBucketLocation", "GetObject"),
        *("GetObjectAttributes", "GetObjectTagging", "GetObjectVersion", "ListBucket"),
        *("ListBucketMultipartUploads", "ListBucketVersions", "ListMultipartUploadParts", "PutObject"),
        *("PutObjectLegalHold", "PutObjectRetention", "PutObjectTagging", "RestoreObject"),
    ),
    "secretsmanager": ("DescribeSecret", "GetSecretValue"),
    "sns": ("Publish",),
    "sqs": (
        *("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ReceiveMessage"),
        "SendMessage",
    ),
    "ssm": ("GetParameter*", "PutParameter"),
    "timestream": ("DescribeEndpoints", "Select", "WriteRecords"),
}
"""The services that every fleet may use, with their actions beside those that read. A `*` stands for the rest
of the name."""

_READS_MORE_THAN_DATA = frozenset({"lambda", "ssm"})
"""Services of `DATA` whose other reading actions give code, environment variables or access to machines
(`lambda:GetFunction`, `ssm:GetAccessToken`, `ssm:GetCommandInvocation`)."""

NEVER = frozenset(
    {
        *(
            "access-analyzer",
            "account",
            "acm-pca",
            "apigateway",
            "cloudformation",
            "cloudshell",
            "cloudtrail",
        ),
        *("codebuild", "codecommit", "codedeploy", "codepipeline", "cognito-identity", "config", "ds"),
        *("ec2-instance-connect", "ec2messages", "iam", "identitystore", "lakeformation", "organizations"),
        *("ram", "rolesanywhere", "servicecatalog", "signer", "signin", "sso", "sso-directory", "sso-oauth"),
        *("ssmmessages", "sts", "tag", "verifiedpermissions"),
    }
)
"""Services that make identities, rights, roles or code, that watch over them, or that lead into machines."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*")
_READING = frozenset({"Describe", "Get", "Head", "List"})
# IAM ignores the case of an action's name, so a name in small letters has no words.
_RIGHTS = re.compile(
    r"acl|authorizer|grant|key|permission|polic(y|ies)|role|rule|user|tagresource", re.IGNORECASE
)
"""Parts of actions that manage rights, unless the action only reads. Rights may depend on tags."""

_CREDENTIALS = re.compile(r"credential|password|token|dataaccess|accessdetails|instanceaccess", re.IGNORECASE)
"""Parts of actions that give credentials. Many of them begin with `Get`."""

_CODE = re.compile(
    r"(Update|Put|Create|Publish).*(Code|Image|Layer|Deployment|Function)|Set.*Attributes", re.IGNORECASE
)
"""Actions that change code, or attributes of which one is a policy (`sqs:SetQueueAttributes`)."""

_WRITES_NOTHING = _READING | {
    *("Batch", "Calculate", "Check", "Condition", "Connect", "Decrypt", "Encrypt", "Filter", "Generate"),
    *("Query", "Re", "Receive", "Scan", "Search", "Select", "Sign", "Subscribe", "Verify"),
}
"""First words of actions that change nothing that others read."""

_EXCEPTIONS = {
    "appconfig:StartConfigurationSession": False,
    "logs:StartQuery": False,
    # A message that one device received is hidden from the others, and a camera's viewers see one master.
    "sqs:ReceiveMessage": True,
    "kinesisvideo:ConnectAsMaster": True,
}
"""Whether an action writes, where its first word says the opposite."""

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
        return f"makes or controls identities, rights or code; no grant may allow actions of {service}"
    if service in DATA:
        return None if _is_data(service, name) else f"is not one of {', '.join(DATA[service])}"
    if service not in opened:
        return f"is of a service that is not open to devices; add {service!r} to `services` in fleet.toml"
    return _beyond(name, start)


def _is_data(service: str, name: str) -> bool:
    """Return whether all that `name` stands for is listed in `DATA`, or reads and gives no credentials."""
    if service in _READS_MORE_THAN_DATA or _CREDENTIALS.search(name):
        return _is_listed(name, DATA[service])
    return _is_listed(name, DATA[service]) or _reads(name)


def _beyond(name: str, start: str) -> str | None:
    """Return why an action of a service that the fleet opens may not be allowed, or None if it may."""
    if _CREDENTIALS.search(name) or _CODE.match(name) or (_RIGHTS.search(name) and not _reads(start)):
        return "manages rights, credentials, keys or code, which no grant may allow"
    if name != start and not re.match("List|Describe", start):
        # `Get*` would allow GetClusterCredentials, and `Put*` would allow PutResourcePolicy.
        return "must be named in full; only List* and Describe* may end in a wildcard here"
    return None


def _is_listed(name: str, listed: Iterable[str]) -> bool:
    """Return whether everything that `name` stands for is listed."""
    return any(
        name == each or (each.endswith("*") and name.startswith(each.removesuffix("*"))) for each in listed
    )


def _reads(name: str) -> bool:
    """Return whether an action, and everything that it stands for, only reads."""
    return (_WORD.findall(name) or [""])[0] in _READING


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
    if action in _EXCEPTIONS:
        return _EXCEPTIONS[action]
    words = _WORD.findall(name) or [""]
    # BatchGetItem reads, BatchWriteItem and Batch* write. PartiQLSelect reads, PartiQL* writes.
    if words[0] in ("Batch", "Parti") or name.startswith("PartiQL"):
        return not re.match(r"(Batch(Get|Check)|PartiQLSelect)", name)
    return words[0] not in _WRITES_NOTHING
