"""The issuing CA: its key in KMS, the resource that makes its certificate, and the daily watch."""

from __future__ import annotations

import hashlib

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct

from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from infra.configuration import Configuration
from infra.deployment import Deployment
from infra.function import LOG_RETENTION, Function, accept_dependency
from infra.nag import acknowledge, acknowledge_serverless

# What an account's administrators may do with the key, by their own IAM policies: look after it,
# never sign with it.
_ADMINISTRATION = [
    *("kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*"),
    *("kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
]
# IfExists is for emulators: in AWS every Sign request has the key.
_SIGNATURE = {"StringEqualsIfExists": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}


def signing_key(scope: Construct, configuration: Configuration) -> kms.IKey:
    """The CA's key: one of our own, or the one that the configuration names."""
    if configuration.ca_key:
        return kms.Key.from_key_arn(scope, "Key", configuration.ca_key)
    return SigningKey(scope, "Key")


def permit_signing(key: kms.IKey, function: Function) -> None:
    """Let `function` sign. Our own key's policy alone says so: it names the role, so the role's own would say
    nothing more (KMS developer guide, "Key policies in AWS KMS"). Another's key has a policy that its owner
    keeps, which may leave it to the role's.
    """
    if not isinstance(key, SigningKey):
        function.permit(["kms:Sign"], key.key_arn, conditions=_SIGNATURE)
        return
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ArnPrincipal(function.own_role.role_arn)],
            actions=["kms:Sign"],
            resources=["*"],  # this key
            conditions=_SIGNATURE,
        )
    )


class SigningKey(kms.Key):
    """A CA's key. Its policy lets only the roles of `permit_signing` sign."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            description="Firstboot's issuing CA",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=RemovalPolicy.RETAIN,
            policy=iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        sid="Administration",
                        principals=[iam.AccountRootPrincipal()],
                        actions=_ADMINISTRATION,
                        resources=["*"],  # in a key policy: this key
                    )
                ]
            ),
        )


class Authority(Construct):
    """The CA. `certificate` (PEM), `truststore_version` and `mqtt_host` are known when deployed."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.key = signing_key(self, deployment.configuration)
        self.function = self._function(deployment)
        made = CustomResource(
            self,
            "Certificate",
            resource_type="Custom::FirstbootAuthority",
            service_token=self._provider().service_token,
            # A change of any runs the function again.
            properties={
                "Anchors": _anchors_hash(deployment.fleet),
                "Key": self.key.key_arn,
                "Subject": deployment.configuration.ca_subject,
                "Years": deployment.configuration.ca_years,
            },
        )
        self.certificate = made.get_att_string("CaCertificate")
        self.truststore_version = made.get_att_string("TruststoreVersion")
        self.mqtt_host = deployment.configuration.mqtt_host or made.get_att_string("MqttHost")
        self.watch = self._watch(deployment)

    def _function(self, deployment: Deployment) -> Function:
        store = deployment.store
        function = Function(self, "Function", code=deployment.code, handler="authority.resource", seconds=60)
        function.configure(
            AuthoritySettings(
                bucket=store.bucket_name,
                ca_key=self.key.key_arn,
                subject=deployment.configuration.ca_subject,
                years=str(deployment.configuration.ca_years),
            )
        )
        permit_signing(self.key, function)
        function.permit(["kms:GetPublicKey"], self.key.key_arn)
        store.permit_reading(function, AUTHORITY_KEY, TRUSTSTORE_KEY)
        function.permit(
            ["s3:PutObject"], store.arn_for_objects(AUTHORITY_KEY), store.arn_for_objects(TRUSTSTORE_KEY)
        )
        function.permit(["iot:DescribeEndpoint"], "*")
        acknowledge(
            function.own_role, {"IAM5[Resource::*]": "DescribeEndpoint, of the account, names no resource."}
        )
        return function

    def _provider(self) -> cr.Provider:
        role = iam.Role(self, "ProviderRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group = logs.LogGroup(self, "ProviderLogs", retention=LOG_RETENTION)
        log_group.grant_write(role)
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["lambda:GetFunction", "lambda:InvokeFunction"],
                resources=[self.function.function_arn],
            )
        )
        provider = cr.Provider(
            self,
            "Provider",
            on_event_handler=self.function,
            # CDK would let it invoke every version too, and it invokes none.
            framework_on_event_role=role.without_policy_updates(),
            log_group=log_group,
        )
        accept_dependency(provider.node.find_child("framework-onEvent"))
        acknowledge(provider, {"L1": "CDK chooses the runtime of its framework."})
        acknowledge_serverless(
            provider,
            {
                "LambdaDLQ": "CloudFormation waits for the answer, and fails the deployment without one.",
                "LambdaDefaultMemorySize": "CDK's framework only passes events on.",
                "LambdaTracing": "CDK's framework takes no such setting; the function behind it is traced.",
            },
        )
        return provider

    def _watch(self, deployment: Deployment) -> Function:
        function = Function(
            self, "Watch", code=deployment.code, handler="authority.watch", seconds=10, memory=256
        )
        function.configure(WatchSettings(ca_certificate=self.certificate))
        daily = events.Rule(
            self,
            "Daily",
            schedule=events.Schedule.rate(Duration.days(1)),
            targets=[targets.LambdaFunction(function, retry_attempts=2)],
        )
        acknowledge_serverless(daily, {"EventBusDLQ": "The next day's event asks the same; silence alarms."})
        return function


def _anchors_hash(fleet: Fleet) -> str:
    anchors = sorted({pem for group in fleet.groups.values() for pem in group.trust})
    return hashlib.sha256("".join(anchors).encode()).hexdigest()
