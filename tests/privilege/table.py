"""The flow that breaks without each right of each Lambda."""

from __future__ import annotations

from collections.abc import Callable

from tests.infra.test_functions import (
    CA,
    CERTIFICATES,
    CHANGES,
    CONSUMING,
    DEAD,
    FLEET,
    FLEET_ROLES,
    GRANTS,
    IOT_CERTIFICATES,
    LOST,
    LOST_DEAD,
    ORDERS,
    READING,
    STREAM,
    TRUSTSTORE,
    UNDELIVERED,
    URGENT,
    topic,
)
from tests.privilege import devices, operating, provisioning, registering
from tests.privilege.roles import Right
from tests.privilege.scene import Scene

Flow = Callable[[Scene], None]

TABLE, STORE, KEY = "${Registry.Arn}", "${Store.Arn}", "${AuthorityKey.Arn}"
JITR, JITR_DEAD = "${NewcomersQueue.Arn}", "${NewcomersDeadLetters.Arn}"
JITR_PASSED = "${NewcomersPassed.Arn}"
SECRETS = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:Firstboot"
GROUP_KEYS, HUB_KEYS = f"{SECRETS}/groups/*", f"{SECRETS}/sas/*"
IOT = IOT_CERTIFICATES.removesuffix("cert/*")
THING, GROUP, POLICY = f"{IOT}thing/*", f"{IOT}thinggroup/Firstboot-*", f"{IOT}policy/Firstboot-*"


def _each(flow: Flow, resource: str, *actions: str) -> dict[Right, Flow]:
    return {(action, resource): flow for action in actions}


FLOWS: dict[str, dict[Right, Flow]] = {
    "Exchange": {
        ("dynamodb:GetItem", TABLE): devices.commit,
        **_each(devices.first_boot, TABLE, "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"),
        ("s3:GetObject", CERTIFICATES): devices.first_boot,
        ("s3:GetObject", FLEET): devices.exchange_follows_the_fleet,
        ("s3:ListBucket", STORE): devices.exchange_follows_the_fleet,
        ("s3:PutObject", CERTIFICATES): devices.first_boot,
        ("secretsmanager:GetSecretValue", GROUP_KEYS): devices.registration_by_key,
    },
    "ExchangeMqtt": {
        ("dynamodb:GetItem", TABLE): devices.commit_by_mqtt,
        **_each(devices.first_boot_by_mqtt, TABLE, "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"),
        ("s3:GetObject", CERTIFICATES): devices.commit_by_mqtt,
        ("s3:GetObject", FLEET): devices.exchange_by_mqtt_follows_the_fleet,
        ("s3:ListBucket", STORE): devices.exchange_by_mqtt_follows_the_fleet,
        ("s3:PutObject", CERTIFICATES): devices.first_boot_by_mqtt,
        topic("certificates/accepted"): devices.first_boot_by_mqtt,
        topic("certificates/rejected"): devices.refused_boot_by_mqtt,
        topic("certificates/commit/accepted"): devices.commit_by_mqtt,
        topic("certificates/commit/rejected"): devices.refused_commit_by_mqtt,
    },
    "Presence": {
        ("dynamodb:GetItem", TABLE): devices.connect,
        ("dynamodb:UpdateItem", TABLE): devices.connect,
        ("s3:GetObject", CERTIFICATES): devices.connect,
        ("s3:ListBucket", STORE): devices.connect_before_issuance,
    },
    "Vend": {
        ("dynamodb:GetItem", TABLE): devices.credentials,
        ("dynamodb:UpdateItem", TABLE): devices.credentials,
        ("s3:GetObject", CERTIFICATES): devices.credentials,
        ("s3:GetObject", FLEET): devices.vend_follows_the_fleet,
        ("s3:ListBucket", STORE): devices.vend_follows_the_fleet,
        ("sts:AssumeRole", FLEET_ROLES["telemetry"]): devices.credentials,
        ("sts:AssumeRole", FLEET_ROLES["updates"]): devices.credentials_for_updates,
        ("secretsmanager:GetSecretValue", HUB_KEYS): devices.hub_signature,
    },
    "VendMqtt": {
        ("dynamodb:GetItem", TABLE): devices.credentials_by_mqtt,
        ("dynamodb:UpdateItem", TABLE): devices.credentials_by_mqtt,
        ("s3:GetObject", CERTIFICATES): devices.credentials_by_mqtt,
        ("s3:GetObject", FLEET): devices.vend_by_mqtt_follows_the_fleet,
        ("s3:ListBucket", STORE): devices.vend_by_mqtt_follows_the_fleet,
        ("sts:AssumeRole", FLEET_ROLES["telemetry"]): devices.credentials_by_mqtt,
        ("sts:AssumeRole", FLEET_ROLES["updates"]): devices.credentials_for_updates_by_mqtt,
        topic("credentials/accepted"): devices.credentials_by_mqtt,
        topic("credentials/rejected"): devices.refused_credentials_by_mqtt,
    },
    "Operate": {
        ("dynamodb:GetItem", TABLE): operating.device_shown,
        ("dynamodb:Scan", TABLE): operating.devices_listed,
        ("dynamodb:UpdateItem", TABLE): operating.device_revoked,
        ("s3:GetObject", FLEET): operating.fleet_shown,
        ("s3:ListBucket", STORE): operating.fleet_shown,
        ("s3:PutObject", FLEET): operating.fleet_applied,
        ("s3:PutObject", CERTIFICATES): operating.device_imported,
        ("dynamodb:ConditionCheckItem", TABLE): operating.device_imported,
        ("s3:GetObject", CERTIFICATES): operating.device_repaired,
        ("s3:GetObjectVersion", CERTIFICATES): operating.device_repaired,
        ("s3:ListBucketVersions", STORE): operating.device_repaired,
        ("iot:DescribeCertificate", IOT_CERTIFICATES): operating.device_imported,
        ("iot:ListThingPrincipals", THING): operating.device_imported,
        ("iot:ListThingGroupsForThing", THING): operating.device_imported,
        ("iot:ListAttachedPolicies", "*"): operating.device_imported,
        ("iot:UpdateCertificate", IOT_CERTIFICATES): operating.bootstrap_revoked,
        **{
            ("sqs:GetQueueAttributes", queue): operating.failures_shown
            for queue in (UNDELIVERED, DEAD, LOST_DEAD, JITR_DEAD)
        },
        **_each(operating.request_deleted, UNDELIVERED, "sqs:ReceiveMessage", "sqs:DeleteMessage"),
        **_each(operating.order_redriven, DEAD, "sqs:ReceiveMessage", "sqs:DeleteMessage"),
        **_each(operating.jitr_redriven, JITR_DEAD, "sqs:ReceiveMessage", "sqs:DeleteMessage"),
        ("sqs:SendMessage", CHANGES): operating.order_redriven,
        ("sqs:SendMessage", JITR_PASSED): operating.jitr_redriven,
        **_each(operating.lost_batch_redriven, LOST_DEAD, "sqs:ReceiveMessage", "sqs:DeleteMessage"),
        ("sqs:SendMessage", LOST): operating.lost_batch_redriven,
    },
    "OperateRead": {
        ("dynamodb:GetItem", TABLE): operating.device_read,
        ("dynamodb:Scan", TABLE): operating.devices_read,
        ("s3:GetObject", FLEET): operating.fleet_read,
        ("s3:ListBucket", STORE): operating.fleet_read,
    },
    "Sweep": {
        **_each(registering.sweep, TABLE, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"),
        ("s3:GetObject", FLEET): registering.sweep_follows_the_fleet,
        ("s3:ListBucket", STORE): registering.sweep_follows_the_fleet,
        ("sqs:SendMessage", CHANGES): registering.sweep_orders,
        ("sqs:SendMessage", URGENT): registering.sweep_orders_revocations,
        ("iot:ListPolicies", "*"): registering.sweep,
        **_each(registering.sweep, POLICY, "iot:GetPolicy"),
        **_each(
            registering.grants_come_and_go,
            POLICY,
            *("iot:CreatePolicy", "iot:CreatePolicyVersion", "iot:DeletePolicyVersion"),
            "iot:ListPolicyVersions",
        ),
        **_each(registering.grants_come_and_go, GRANTS, "iot:DeletePolicy", "iot:ListTargetsForPolicy"),
    },
    "RegisterWork": {
        ("dynamodb:GetItem", TABLE): registering.reconciled,
        ("dynamodb:UpdateItem", TABLE): registering.reconciled,
        ("dynamodb:DeleteItem", TABLE): registering.deletion_followed,
        ("s3:GetObject", CERTIFICATES): registering.reconciled,
        ("s3:GetObject", FLEET): registering.reconciled_follows_the_fleet,
        ("s3:ListBucket", STORE): registering.reconciled_before_issuance,
        **_each(registering.reconciled, "*", "iot:ListAttachedPolicies", "iot:RegisterCertificateWithoutCA"),
        **_each(
            registering.reconciled,
            THING,
            *("iot:AddThingToThingGroup", "iot:AttachThingPrincipal", "iot:CreateThing", "iot:DescribeThing"),
            *("iot:ListThingGroupsForThing", "iot:ListThingPrincipals"),
        ),
        ("iot:AddThingToThingGroup", GROUP): registering.reconciled,
        **_each(registering.reconciled, IOT_CERTIFICATES, "iot:AttachPolicy", "iot:UpdateCertificate"),
        ("iot:CreateThingGroup", GROUP): registering.first_reconciliation,
        ("iot:CreateThingType", f"{IOT}thingtype/Firstboot"): registering.first_reconciliation,
        ("iot:UpdateThing", THING): registering.attribute_followed,
        ("iot:DetachPolicy", IOT_CERTIFICATES): registering.attribute_followed,
        ("iot:RemoveThingFromThingGroup", THING): registering.group_followed,
        ("iot:RemoveThingFromThingGroup", GROUP): registering.group_followed,
        ("iot:GetThingShadow", THING): registering.reconciled_with_configuration,
        ("iot:UpdateThingShadow", THING): registering.reconciled_with_configuration,
        ("iot:DeleteConnection", f"{IOT}client/*"): registering.revocation_followed,
        **_each(
            registering.deletion_followed,
            THING,
            *("iot:DeleteThing", "iot:DeleteThingShadow", "iot:DetachThingPrincipal"),
        ),
        ("iot:DeleteCertificate", IOT_CERTIFICATES): registering.deletion_followed,
        ("iot:DescribeCertificate", IOT_CERTIFICATES): registering.foreign_certificate_left,
        ("iot:ListPrincipalThings", "*"): registering.attached_elsewhere_deleted,
    },
    "RegisterChanges": {
        ("sqs:SendMessage", CHANGES): registering.change_ordered,
        ("sqs:SendMessage", URGENT): registering.revocation_ordered,
    },
    "RegisterLost": {
        **_each(registering.lost_batch_ordered, STREAM, "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
        ("sqs:SendMessage", URGENT): registering.lost_batch_ordered,
    },
    "Newcomers": {
        ("dynamodb:GetItem", TABLE): registering.jitr_admitted,
        ("dynamodb:UpdateItem", TABLE): registering.jitr_admitted,
        ("sqs:SendMessage", JITR_PASSED): registering.jitr_passed,
        ("s3:GetObject", FLEET): registering.jitr_follows_the_fleet,
        ("s3:ListBucket", STORE): registering.jitr_follows_the_fleet,
        **_each(
            registering.jitr_admitted,
            IOT_CERTIFICATES,
            *("iot:AttachPolicy", "iot:DescribeCertificate", "iot:UpdateCertificate"),
        ),
    },
    "AuthorityWatch": _each(
        operating.key_watched, KEY, "kms:DescribeKey", "kms:GetKeyPolicy", "kms:ListGrants"
    ),
    "AuthorityProvider": {},
    "Provisioning": {
        ("dynamodb:GetItem", TABLE): provisioning.foreign_thing_refused,
        **_each(provisioning.provisioned, TABLE, "dynamodb:UpdateItem", "dynamodb:ConditionCheckItem"),
        ("iot:DescribeCertificate", IOT_CERTIFICATES): provisioning.provisioned,
        ("iot:DescribeThing", THING): provisioning.provisioned,
        ("s3:PutObject", CERTIFICATES): provisioning.provisioned,
        ("s3:GetObject", CERTIFICATES): provisioning.provisioned_twice,
        ("s3:GetObject", FLEET): provisioning.provisioning_follows_the_fleet,
        ("s3:ListBucket", STORE): provisioning.provisioning_follows_the_fleet,
    },
    "ProvisioningTemplate": {
        **_each(
            provisioning.template_carried_out, IOT_CERTIFICATES, "iot:AttachPolicy", "iot:UpdateCertificate"
        ),
        **_each(provisioning.template_carried_out, THING, "iot:AttachThingPrincipal", "iot:CreateThing"),
    },
    "MqttError": {},
    "NewcomersRule": {},
    "NewcomersRuleError": {},
    "AuthorityFunction": {
        ("dynamodb:UpdateItem", TABLE): operating.nonces_prepared,
        ("iot:DescribeEndpoint", "*"): operating.authority_found,
        ("kms:GetPublicKey", KEY): operating.authority_found,
        ("s3:GetObject", CA): operating.authority_found,
        ("s3:GetObject", TRUSTSTORE): operating.authority_found,
        ("s3:ListBucket", STORE): operating.authority_made,
        ("s3:PutObject", CA): operating.authority_made,
        ("s3:PutObject", TRUSTSTORE): operating.truststore_written,
        ("s3:GetObject", FLEET): operating.publication_retired,
        ("s3:PutObject", FLEET): operating.publication_retired,
    },
}

_LAMBDA = "Lambda uses the function's role for this, the emulator uses no role. The right is documented in "
_LOGS = f"{_LAMBDA}the developer guide, 'AWSLambdaBasicExecutionRole'. The log group exists already."
_TRACES = f"{_LAMBDA}the developer guide, 'Visualize Lambda function invocations using AWS X-Ray'."
_QUEUE = f"{_LAMBDA}the developer guide, 'Using Lambda with Amazon SQS'."
_STREAM = f"{_LAMBDA}the developer guide, 'Using AWS Lambda with Amazon DynamoDB'."
_FAILED = (
    f"{_LAMBDA}the developer guide, 'Capturing records of Lambda asynchronous invocations', "
    "and for a stream 'Using AWS Lambda with Amazon DynamoDB'."
)
_AGAIN = (
    "The emulator is always ready. An order that AWS IoT was not ready for is sent again "
    "(tests/aws/test_register_queue.py)."
)
_SESSION = (
    "The emulator looks for it in the role's trust policy only, or not at all. The right is documented in "
    "the IAM user guide, 'Passing session tags in AWS STS' and 'Monitor and control actions taken with "
    "assumed roles'."
)
_BOTH = (
    "AWS checks the right on the thing and on the certificate (service authorization reference, 'AWS IoT'), "
    "the emulator on the thing only."
)
_RULE = (
    "AWS IoT uses the rule's role for this, the emulator uses no role. The right is documented in the "
    "developer guide, 'Granting an AWS IoT rule the access it requires'."
)
_TEMPLATE = (
    "The emulator asks AWS IoT's role for writes alone. The right is one of AWS's managed policy for this "
    "purpose, AWSIoTThingsRegistration, and reads what the template names."
)
_ONCE = (
    "A process makes the call once, and the first sweep has made it (tests/aws/test_provisioning_policy.py)."
)
_FRAMEWORK = (
    "In the emulator a substitute for AWS's SDK for JavaScript checks no rights. CDK's framework makes these "
    "two calls, the second when its function is not active yet (aws-cdk-lib, custom-resources, outbound.ts)."
)


def _logs(function: str) -> dict[Right, str]:
    log = f"${{{function}Logs.Arn}}"
    return {("logs:CreateLogStream", log): _LOGS, ("logs:PutLogEvents", log): _LOGS}


def _ours(function: str) -> dict[Right, str]:
    return _logs(function) | {
        ("xray:PutTelemetryRecords", "*"): _TRACES,
        ("xray:PutTraceSegments", "*"): _TRACES,
    }


def _sent(queue: str) -> dict[Right, str]:
    return {("sqs:SendMessage", queue): _RULE}


def _brought(*queues: str) -> dict[Right, str]:
    return {(f"sqs:{action}", queue): _QUEUE for action in CONSUMING for queue in queues}


_TAGGED = {
    (action, role): _SESSION
    for action in ("sts:TagSession", "sts:SetSourceIdentity")
    for role in FLEET_ROLES.values()
}
_UNDELIVERED: dict[Right, str] = {("sqs:SendMessage", UNDELIVERED): _FAILED}

UNSEEN: dict[str, dict[Right, str]] = {
    "Exchange": _ours("Exchange"),
    "ExchangeMqtt": _ours("ExchangeMqtt") | _UNDELIVERED,
    "Presence": _ours("Presence") | _UNDELIVERED,
    "Vend": _ours("Vend") | _TAGGED,
    "VendMqtt": _ours("VendMqtt") | _TAGGED | _UNDELIVERED,
    "Operate": _ours("Operate"),
    "OperateRead": _ours("OperateRead"),
    "Sweep": _ours("Sweep") | {("iot:CreateThingType", f"{IOT}thingtype/Firstboot"): _ONCE},
    "RegisterWork": {
        **_ours("RegisterWork"),
        **_brought(*ORDERS),
        **{("sqs:SendMessage", queue): _AGAIN for queue in (URGENT, CHANGES)},
        ("iot:AttachThingPrincipal", IOT_CERTIFICATES): _BOTH,
        ("iot:DetachThingPrincipal", IOT_CERTIFICATES): _BOTH,
    },
    "RegisterChanges": {
        **_ours("RegisterChanges"),
        ("sqs:SendMessage", LOST): _FAILED,
        **{(f"dynamodb:{action}", STREAM): _STREAM for action in READING},
    },
    "RegisterLost": _ours("RegisterLost") | _brought(LOST),
    "Newcomers": _ours("Newcomers") | _brought(JITR, JITR_PASSED),
    "AuthorityFunction": _ours("AuthorityFunction"),
    "AuthorityWatch": _ours("AuthorityWatch"),
    "AuthorityProvider": {
        **_logs("AuthorityProvider"),
        ("lambda:InvokeFunction", "${AuthorityFunction.Arn}"): _FRAMEWORK,
        ("lambda:GetFunction", "${AuthorityFunction.Arn}"): _FRAMEWORK,
    },
    "Provisioning": _ours("Provisioning"),
    "ProvisioningTemplate": {
        ("iot:AttachThingPrincipal", IOT_CERTIFICATES): _BOTH,
        ("iot:DescribeCertificate", IOT_CERTIFICATES): _TEMPLATE,
        ("iot:DescribeThing", THING): _TEMPLATE,
        ("iot:DescribeThingType", f"{IOT}thingtype/Firstboot"): _TEMPLATE,
        ("iot:GetPolicy", f"{IOT}policy/Firstboot-device"): _TEMPLATE,
        ("iot:ListThingPrincipals", THING): _TEMPLATE,
    },
    "MqttError": _sent(UNDELIVERED),
    "NewcomersRule": _sent(JITR),
    "NewcomersRuleError": _sent(JITR_DEAD),
}
"""The rights whose need the emulator can't show, each with the reason and the source that proves it.

tests/infra asserts that the roles have exactly the rights of both tables.
"""
