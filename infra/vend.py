"""The `vend` Lambdas, which give devices AWS credentials over HTTPS and MQTT, and the roles they assume."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, CfnDeletionPolicy, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from firstboot.domain import hubs, secret_keys
from firstboot.domain.fleet import Fleet, RoleAlias
from firstboot.domain.names import FLEET_ROLE_PATH, METRICS, PUBLISHED_FLEET_KEY, fleet_role
from firstboot.policy.render import VERSION, Place, ceiling, listed
from firstboot.vend.settings import VendSettings
from infra.api import VENDED_LOGS
from infra.authority import Authority
from infra.deployment import Deployment
from infra.function import Function
from infra.nag import acknowledge, arn_of
from infra.secrets import permit_reading

_SHORTEST_MAXIMUM = 3600
"""The smallest MaxSessionDuration in seconds that IAM accepts (CreateRole)."""

_KEPT = 24
"""Characters of a stack's name that begin a shortened name. A name for Lambda or IAM has 64, and 14 of them
are an ending and hyphens. AWS does not document how the rest is divided."""

_SESSION = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]


class Vend(Function):
    """The Lambda that answers the API.

    `mqtt` is the Lambda behind a topic rule. Both read a device's record and assume a fleet role for it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        authority: Authority,
    ) -> None:
        device_records, store = deployment.device_records, deployment.store
        super().__init__(
            scope, construct_id, code=deployment.code, handler="vend.http", seconds=9, memory=1024
        )
        self.mqtt = Function(
            scope, f"{construct_id}Mqtt", code=deployment.code, handler="vend.mqtt", seconds=9, memory=1024
        )
        roles = self._roles(deployment, authority)
        settings = VendSettings(
            table=device_records.table_name,
            bucket=store.bucket_name,
            ca_certificate=authority.certificate,
            partition=Aws.PARTITION,
            region=Aws.REGION,
            account=Aws.ACCOUNT_ID,
            fleet_refresh=str(deployment.configuration.fleet_refresh),
            sts_rate=str(deployment.configuration.sts_rate),
            iot_rate=str(deployment.configuration.iot_rate),
            stack=Stack.of(self).stack_name,
        )
        for role, function in {"vend": self, "vendMqtt": self.mqtt}.items():
            function.configure(settings)
            # The updates are those of the commit, since a device's first login may be for credentials.
            device_records.permit_rows(function, role)
            if roles:  # IAM refuses a statement without a resource
                function.permit(_SESSION, *(role.attr_arn for role in roles.values()))
            # A first login commits the certificate as it was stored. Over MQTT, AWS IoT gives only the
            # certificate's id, so there every login reads the certificate from the bucket.
            store.permit_reading(function, PUBLISHED_FLEET_KEY, "certificates/*")
            acknowledge(
                function.own_role,
                {f"IAM5[Resource::{arn_of(store)}/certificates/*]": "Each certificate is an object."},
            )

        # Over MQTT there are no signatures for hubs.
        if hubs.KIND in deployment.fleet.offers:
            permit_reading(self, secret_keys.HUBS)

    def _roles(self, deployment: Deployment, authority: Authority) -> dict[str, FleetRole]:
        """Return the fleet roles by their role aliases."""
        aliases = deployment.fleet.role_aliases
        if not aliases:
            return {}
        denied = Protected(self, "Protected", deployment=deployment, authority=authority)
        vend = (self, self.mqtt)
        return {
            name: FleetRole(
                self, f"Sessions {name}", alias=alias, fleet=deployment.fleet, vend=vend, denied=denied
            )
            for name, alias in aliases.items()
        }


class Protected(iam.CfnManagedPolicy):
    """The policy that denies the sessions of devices everything of Firstboot itself.

    The compiler can't know what is Firstboot's: a grant names resources by their names, and a published fleet
    may name any. A Deny holds over every grant.
    """

    # It is a managed policy, because the grants may need all characters of the roles' inline policies.

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, authority: Authority
    ) -> None:
        device_records, store = deployment.device_records, deployment.store
        stack = Stack.of(scope).stack_name
        # CloudFormation begins the names of functions, queues, topics, logs and tables with the stack's name,
        # and shortens what is too long. A stack of this name in another region is Firstboot's, too.
        begin = f"{stack}-" if len(stack) <= _KEPT else stack[:_KEPT]
        named = {
            "dynamodb": [f"table/{begin}*"],
            "lambda": [f"function:{begin}*"],
            "sqs": [f"{begin}*"],
            "sns": [f"{begin}*"],
            "logs": [f"log-group:{begin}*", f"log-group:{VENDED_LOGS}{begin}*"],
            "iot": ["topic/firstboot/*", "topicfilter/firstboot/*"],
            "ssm": ["parameter/firstboot/*"],
            "secretsmanager": [f"secret:{stack}/*"],
        }
        resources = [
            *(device_records.table_arn, f"{device_records.table_arn}/*"),
            *(store.bucket_arn, store.arn_for_objects("*"), authority.key.key_arn),
            *(
                f"arn:{Aws.PARTITION}:{service}:*:{Aws.ACCOUNT_ID}:{name}"
                for service, names in named.items()
                for name in names
            ),
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/{begin}*",
            f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:role/firstboot/*",
        ]
        # A metric has no ARN. With metrics of Firstboot's namespace a device could make its alarms ring.
        metrics = {
            "Effect": "Deny",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": METRICS}},
        }
        super().__init__(
            scope,
            construct_id,
            description="Denies devices' sessions everything of Firstboot itself",
            policy_document={
                "Version": VERSION,
                "Statement": [{"Effect": "Deny", "Action": "*", "Resource": resources}, metrics],
            },
        )
        acknowledge(self, {"IAM5": "It is a Deny, which is the stronger the more it names."})


class FleetRole(iam.CfnRole):
    """The role of the sessions under one role alias. Its policy has all grants, with `*` for the device.

    `vend` passes a session policy with the device's id, and IAM allows only what both policies allow. Only
    `vend` may assume the role, so no session lacks a session policy.
    """

    # `${aws:PrincipalTag/deviceId}` in this policy would do without session policies, but then the rules
    # could not give one grant and withhold another. The role's name follows from the alias, so `vend` needs
    # no map from aliases to roles, which would outgrow the 4 KB of a Lambda's environment.

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alias: RoleAlias,
        fleet: Fleet,
        vend: Sequence[Function],
        denied: Protected,
    ) -> None:
        place = Place(partition=Aws.PARTITION, region=Aws.REGION, account=Aws.ACCOUNT_ID)
        principals = [function.own_role.role_arn for function in vend]
        trust = {"Effect": "Allow", "Principal": {"AWS": principals}, "Action": _SESSION}
        super().__init__(
            scope,
            construct_id,
            path=FLEET_ROLE_PATH,
            role_name=fleet_role(Aws.REGION, alias.name),
            description=f"Sessions of devices under the role alias {alias.name}",
            assume_role_policy_document={"Version": VERSION, "Statement": [trust]},
            max_session_duration=max(_SHORTEST_MAXIMUM, alias.seconds),
            policies=[self.PolicyProperty(policy_name="Ceiling", policy_document=ceiling(fleet, place))],
            managed_policy_arns=[denied.ref],
        )
        # Before, the role had no name of its own. The update that names it replaces it, and sessions of the
        # role before must not lose their rights. Destroying the stack deletes the role.
        self.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        self.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        acknowledge(self, dict.fromkeys(_wildcards(fleet), "The wildcard stands for all devices' ids."))


def _wildcards(fleet: Fleet) -> list[str]:
    """Return the ids of cdk-nag's findings on the ceiling's wildcards."""
    place = Place(partition="<AWS::Partition>", region="<AWS::Region>", account="<AWS::AccountId>")
    return [
        f"IAM5[{member}::{value}]"
        for statement in ceiling(fleet, place)["Statement"]
        for member in ("Action", "Resource")
        for value in listed(statement[member])
        if "*" in value
    ]
