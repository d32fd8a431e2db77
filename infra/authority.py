"""The issuing CA: its KMS key, the custom resource that makes its certificate, and the hourly watch."""

from __future__ import annotations

import hashlib

from aws_cdk import Aws, CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import custom_resources as cr
from constructs import Construct, IConstruct

from firstboot.authority.handlers import PUBLICATION
from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import AUTHORITY_KEY, PUBLISHED_FLEET_KEY, TRUSTSTORE_KEY
from infra.configuration import Configuration
from infra.deployment import Deployment
from infra.function import LOG_RETENTION, Function, accept_dependency
from infra.nag import acknowledge, acknowledge_serverless

# The account's administrators may manage the key, as far as their own IAM policies let them. None may sign
# with it. Each action is named, because `kms:Create*` contains CreateGrant, by which its holder lets any
# principal sign. CloudFormation uses these rights too (schema of AWS::KMS::Key, "handlers").
_ADMINISTRATION = [
    *("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:GetPublicKey"),
    *("kms:ListGrants", "kms:ListKeyPolicies", "kms:ListResourceTags"),
    *("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:TagResource", "kms:UntagResource"),
    *("kms:UpdateKeyDescription", "kms:EnableKeyRotation", "kms:DisableKeyRotation"),
    *("kms:PutKeyPolicy", "kms:RevokeGrant", "kms:EnableKey", "kms:DisableKey"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
]
# `IfExists` is for the emulator, which does not know this condition key. On AWS every Sign request has it.
_SIGNATURE = {"StringEqualsIfExists": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}


def signing_key(scope: Construct, configuration: Configuration) -> kms.IKey:
    """Return the CA's key: a key of the stack, or the one that the configuration names."""
    if configuration.ca_key:
        # The stack does not change the policy of such a key, whose owner is often another team in another
        # account. `authority` checks the key's curve, and that the CA's certificate is for this key.
        return kms.Key.from_key_arn(scope, "Key", configuration.ca_key)
    return SigningKey(scope, "Key")


def permit_signing(key: kms.IKey, function: Function) -> None:
    """Let `function` sign with the CA's key."""
    if not isinstance(key, SigningKey):
        # The policy of a key that the configuration names may delegate to the IAM policies of the account.
        function.permit(["kms:Sign"], key.key_arn, conditions=_SIGNATURE)
        return
    # The stack's own key delegates Sign to no IAM policy, so its key policy must name the role. A statement
    # in the role's policy would then add nothing (KMS developer guide, "Key policies in AWS KMS").
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ArnPrincipal(function.own_role.role_arn)],
            actions=["kms:Sign"],
            resources=["*"],  # in a key policy, this key
            conditions=_SIGNATURE,
        )
    )


class SigningKey(kms.Key):
    """The stack's own CA key. Its policy lets only the roles given to `permit_signing` sign."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        # A grant could allow CreateGrant to its grantee, and grants need no statement in the key's policy. A
        # Deny holds against grants too (KMS developer guide, "Determining access to AWS KMS keys").
        no_grants = iam.PolicyStatement(
            sid="NoGrants",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["kms:CreateGrant"],
            resources=["*"],
        )
        administration = iam.PolicyStatement(
            sid="Administration",
            principals=[iam.AccountRootPrincipal()],
            actions=_ADMINISTRATION,
            resources=["*"],  # in a key policy, this key
        )
        document = iam.PolicyDocument(statements=[administration, no_grants])
        super().__init__(
            scope,
            construct_id,
            description="Firstboot's issuing CA",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=RemovalPolicy.RETAIN,
            policy=document,
        )
        self.document = document


class Authority(Construct):
    """The issuing CA. CDK tokens stand for `certificate` (PEM), `truststore_version` and `mqtt_host`."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.key = signing_key(self, deployment.configuration)
        self.function = self._function(deployment)
        self._service_token = self._provider().service_token
        made = CustomResource(
            self,
            "Certificate",
            resource_type="Custom::FirstbootAuthority",
            service_token=self._service_token,
            # CloudFormation invokes the function again when one of these changes.
            properties={
                "Anchors": _anchors_hash(deployment.fleet),
                "Key": self.key.key_arn,
                "Table": deployment.device_records.table_name,
                "Subject": deployment.configuration.ca_subject,
                "Years": deployment.configuration.ca_years,
            },
        )
        self.certificate = made.get_att_string("CaCertificate")
        self.truststore_version = made.get_att_string("TruststoreVersion")
        self.mqtt_host = deployment.configuration.mqtt_host or made.get_att_string("MqttHost")
        self.watch = self._watch(deployment)

    def _function(self, deployment: Deployment) -> Function:
        store, device_records = deployment.store, deployment.device_records
        function = Function(self, "Function", code=deployment.code, handler="authority.resource", seconds=60)
        function.configure(
            AuthoritySettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                account=Aws.ACCOUNT_ID,
                ca_key=self.key.key_arn,
                subject=deployment.configuration.ca_subject,
                years=str(deployment.configuration.ca_years),
            )
        )
        permit_signing(self.key, function)
        function.permit(["kms:GetPublicKey"], self.key.key_arn)
        keys = (AUTHORITY_KEY, TRUSTSTORE_KEY, PUBLISHED_FLEET_KEY)
        store.permit_reading(function, *keys)
        function.permit(["s3:PutObject"], *map(store.arn_for_objects, keys))
        function.permit(["iot:DescribeEndpoint"], "*")
        device_records.permit_rows(function, "authority")
        acknowledge(function.own_role, {"IAM5[Resource::*]": "DescribeEndpoint has no resource type."})
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
            # Without this, CDK would also let the framework invoke all versions of the function.
            framework_on_event_role=role.without_policy_updates(),
            log_group=log_group,
        )
        accept_dependency(provider.node.find_child("framework-onEvent"))
        acknowledge(provider, {"L1": "CDK chooses its framework's runtime."})
        acknowledge_serverless(
            provider,
            {
                "LambdaDLQ": "CloudFormation waits for the answer and fails the deployment without one.",
                "LambdaDefaultMemorySize": "CDK's framework only forwards events.",
                "LambdaTracing": "CDK's framework has no such setting. The function that it calls is traced.",
            },
        )
        return provider

    def _watch(self, deployment: Deployment) -> Function:
        function = Function(
            self, "Watch", code=deployment.code, handler="authority.watch", seconds=30, memory=256
        )
        function.permit(["kms:DescribeKey", "kms:ListGrants"], self.key.key_arn)
        hourly = events.Rule(
            self,
            "Hourly",
            schedule=events.Schedule.rate(Duration.hours(1)),
            targets=[targets.LambdaFunction(function, retry_attempts=2)],
        )
        acknowledge_serverless(
            hourly, {"EventBusDLQ": "The next hour's run does the same, and the alarm rings without runs."}
        )
        return function

    def retire_publications(self, fleet: Fleet, parts: list[IConstruct]) -> None:
        """Have a deployment of another fleet end what was published before it, after all other `parts`."""
        retired = CustomResource(
            self,
            "Publication",
            resource_type=PUBLICATION,
            service_token=self._service_token,
            properties={"FleetHash": fleet.hash},
        )
        # Last, so that a deployment which fails, and is rolled back, finds the publication in force again.
        retired.node.add_dependency(*parts)

    @property
    def owns_the_key(self) -> bool:
        """Return whether the key is the stack's own."""
        return isinstance(self.key, SigningKey)

    def watch_key(self) -> None:
        """Let the watch compare the key with what the stack makes of it, once all signers are known."""
        policy = ""
        if isinstance(self.key, SigningKey):
            # The owner of another key decides its policy, which KMS does not show to other accounts.
            self.watch.permit(["kms:GetKeyPolicy"], self.key.key_arn)
            policy = Stack.of(self).to_json_string(self.key.document)
        settings = WatchSettings(self.certificate, self.key.key_arn, policy)
        self.watch.configure(settings)


def _anchors_hash(fleet: Fleet) -> str:
    anchors = sorted({pem for group in fleet.groups.values() for pem in group.trust})
    return hashlib.sha256("".join(anchors).encode()).hexdigest()
