"""Findings of the audit's tools that are accepted, each with its reason.

A finding that is not listed here fails the audit, and so does a reason whose finding has gone. cdk-nag's
findings have their reasons beside the constructs.
"""

from __future__ import annotations

CHECKOV = {
    "CKV_AWS_18": "Access logs of the bucket would store presigned URLs, which are secrets, in a second "
    "bucket. CloudTrail's data events name the writer without them.",
    "CKV_AWS_26": "An alarm names a metric, which is no secret. Disabling a KMS key of the topic would "
    "silence every alarm.",
    "CKV_AWS_27": "Every queue is encrypted with SQS's own keys (SqsManagedSseEnabled). The check accepts "
    "KMS keys only.",
    "CKV_AWS_115": "Reserved concurrency reduces what is left for the account. The gateway's throttling and "
    "the queues' maximum concurrency bound each function.",
    "CKV_AWS_116": "An asynchronous call that fails goes to an on-failure destination, or the next schedule "
    "repeats it. Other callers get the failure as their answer.",
    "CKV_AWS_117": "The functions call only AWS's public endpoints, and token issuers on the internet. A "
    "VPC would need a NAT gateway, and would not restrict these calls beyond what IAM does.",
    "CKV_AWS_158": "The logs have no secrets, and CloudWatch encrypts them with its own keys.",
    "CKV_AWS_173": "The environment has names of resources and the CA's certificate, which are no secrets. "
    "Lambda encrypts it with an AWS managed key.",
}
"""Reasons for checkov's findings, by the check's id."""

_OLDER = "parliament's data is older than AWS's Service Authorization Reference"

PARLIAMENT = {
    "dynamodb:ListStreams": "CDK grants it on the one stream that Lambda reads. The action has no resource "
    "type, so the statement grants nothing.",
    "iot:ListThingPrincipals": f"{_OLDER}, where the action has the resource type thing.",
    "iot:AttachThingPrincipal": f"{_OLDER}, where the action has the resource type certificate.",
    "iot:DetachThingPrincipal": f"{_OLDER}, where the action has the resource type certificate.",
    "iot:DeleteConnection": f"{_OLDER}, where the action exists and has the resource type client.",
    "iot:Connection.Thing.IsAttached": "AWS IoT's developer guide (Thing policy variables) has it for "
    "policies of certificates. parliament knows the condition keys of IAM's policies only.",
}
"""Reasons for parliament's findings, by the action or the condition key that they are about."""
