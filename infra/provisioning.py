"""AWS IoT fleet provisioning: the template, its role, and the Lambda that is its pre-provisioning hook.

Source: AWS IoT developer guide, "Provisioning templates" and "Pre-provisioning hooks".
"""

from __future__ import annotations

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.exchange.provisioning import DEVICE_ID
from firstboot.exchange.settings import ProvisioningSettings
from firstboot.policy.service import ServicePolicy
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.live import live
from infra.nag import acknowledge, arn_of

_SECONDS = 5
"""AWS IoT waits for no longer ("Pre-provisioning hooks")."""

_LONGEST_NAME = 36
"""Characters of a template's name (API reference, CreateProvisioningTemplate)."""

_CERTIFICATE_ID = "AWS::IoT::Certificate::Id"


class Provisioning(Function):
    """The hook's Lambda. `template` is the provisioning template, which has the stack's name.

    Raises ValueError for a stack whose name is too long for a template.
    """

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        stack = Stack.of(scope).stack_name
        if len(stack) > _LONGEST_NAME:
            raise ValueError(
                f"a stack with fleet provisioning has a name of at most {_LONGEST_NAME} characters:"
                " its provisioning template has the same name"
            )
        super().__init__(
            scope,
            construct_id,
            code=deployment.code,
            handler="exchange.provisioning",
            seconds=_SECONDS,
            memory=1024,
        )
        device_records, store = deployment.device_records, deployment.store
        self.configure(
            ProvisioningSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                account=Aws.ACCOUNT_ID,
                stack=stack,
                fleet_refresh=str(deployment.configuration.fleet_refresh),
            )
        )
        device_records.permit_rows(self, "provisioning")
        self.permit(["s3:PutObject"], store.arn_for_objects("certificates/*"))
        store.permit_reading(self, PUBLISHED_FLEET_KEY, "certificates/*")
        self.permit(["iot:DescribeCertificate"], arn("cert/*"))
        self.permit(["iot:DescribeThing"], arn("thing/*"))
        acknowledge(
            self.own_role,
            {
                f"IAM5[Resource::{arn_of(store)}/certificates/*]": "Each certificate is an object.",
                f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its digest.",
                f"IAM5[Resource::{spelled('thing/*')}]": "A thing has its device's id.",
            },
        )
        self.template = self._template(stack, deployment)

    def _template(self, stack: str, deployment: Deployment) -> iot.CfnProvisioningTemplate:
        called = live(self, deployment.configuration.cold_start)
        # The template's own ARN would be a cycle: AWS IoT checks at the template's creation that it may
        # invoke the hook.
        called.add_permission(
            "Hook",
            principal=iam.ServicePrincipal("iot.amazonaws.com"),
            source_arn=arn(f"provisioningtemplate/{stack}"),
            source_account=Aws.ACCOUNT_ID,
        )
        made = iot.CfnProvisioningTemplate(
            self,
            "Template",
            template_name=stack,
            description="Firstboot decides on each device in the pre-provisioning hook.",
            enabled=True,
            provisioning_role_arn=self._role(stack).role_arn,
            pre_provisioning_hook=iot.CfnProvisioningTemplate.ProvisioningHookProperty(
                target_arn=called.function_arn, payload_version="2020-04-01"
            ),
            template_body=Stack.of(self).to_json_string(template_body(stack)),
        )
        made.node.add_dependency(called)
        return made

    def _role(self, stack: str) -> iam.Role:
        """Return the role with which AWS IoT carries out the template.

        AWS's managed policy AWSIoTThingsRegistration may do more, with every policy and group of the account.
        """
        principal = iam.ServicePrincipal(
            "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        )
        role = iam.Role(self, "TemplateRole", assumed_by=principal)
        policy = arn(f"policy/{ServicePolicy.DEVICE.policy_name(stack)}")
        for actions, resources in (
            (["CreateThing", "DescribeThing", "ListThingPrincipals"], [arn("thing/*")]),
            (["DescribeThingType"], [arn(f"thingtype/{stack}")]),
            (["AttachThingPrincipal"], [arn("thing/*"), arn("cert/*")]),
            (["AttachPolicy", "DescribeCertificate", "UpdateCertificate"], [arn("cert/*")]),
            (["GetPolicy"], [policy]),
        ):
            role.add_to_policy(
                iam.PolicyStatement(actions=[f"iot:{each}" for each in actions], resources=resources)
            )
        acknowledge(
            role,
            {
                f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its digest.",
                f"IAM5[Resource::{spelled('thing/*')}]": "A thing has its device's id.",
            },
        )
        return role


def template_body(stack: str) -> dict[str, object]:
    """Return the body of the provisioning template.

    The hook sets the parameter with the thing's name. The policy is one that `register` gives each current
    certificate, and the thing has the type by which `register` knows it as ours. An existing thing stays as
    it is: the hook has refused one of another.
    """
    return {
        "Parameters": {DEVICE_ID: {"Type": "String"}, _CERTIFICATE_ID: {"Type": "String"}},
        "Resources": {
            "thing": {
                "Type": "AWS::IoT::Thing",
                "Properties": {"ThingName": {"Ref": DEVICE_ID}, "ThingTypeName": stack},
                "OverrideSettings": {"ThingTypeName": "DO_NOTHING"},
            },
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": _CERTIFICATE_ID}, "Status": "Active"},
            },
            "policy": {
                "Type": "AWS::IoT::Policy",
                "Properties": {"PolicyName": ServicePolicy.DEVICE.policy_name(stack)},
            },
        },
    }
