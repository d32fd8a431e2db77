"""What tools find that we accept, and why. cdk-nag's findings have their reasons beside the constructs.

A finding that is not here fails the audit, and so does a reason whose finding has gone.
"""

from __future__ import annotations

CHECKOV = {
    "CKV_AWS_18": "Access logs of the bucket would keep presigned URLs, which are secrets, in a second one.",
    "CKV_AWS_26": "Alarms say which metric is too high. A KMS key for the topic would be one more thing that "
    "can be disabled, and silence every alarm.",
    "CKV_AWS_27": "Every queue is encrypted, with SQS's own keys (SqsManagedSseEnabled): the check looks for "
    "KMS keys only.",
    "CKV_AWS_115": "Reserved concurrency takes from the account's; the gateway's throttling and the queues' "
    "maximum concurrency bound each function.",
    "CKV_AWS_116": "Asynchronous calls that fail go to an on-failure destination, or are made again by the "
    "next schedule; other callers hear of a failure themselves.",
    "CKV_AWS_117": "The functions call AWS's public endpoints only, and token issuers on the internet. A VPC "
    "would need a NAT gateway, and would let nobody in or out whom IAM does not.",
    "CKV_AWS_158": "Logs have no secret, and CloudWatch encrypts them with its own keys.",
    "CKV_AWS_173": "The environment has names of resources and the CA's certificate, which is public; Lambda "
    "encrypts it with AWS's key.",
}
"""checkov's checks, by id."""

_OLDER = "parliament's data is older than what AWS documents today (Service Authorization Reference)"

PARLIAMENT = {
    "dynamodb:ListStreams": "CDK's own grant, for the one stream that Lambda is told to read. AWS has no "
    "resource for the action, so this grants nothing.",
    "iot:ListThingPrincipals": f"{_OLDER}: it takes a thing.",
    "iot:AttachThingPrincipal": f"{_OLDER}: it takes a certificate.",
    "iot:DetachThingPrincipal": f"{_OLDER}: it takes a certificate.",
    "iot:DeleteConnection": f"{_OLDER}: the action is there, and takes a client.",
}
"""parliament's findings, by the action that they are about."""
