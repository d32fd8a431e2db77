"""The sweep's Lambda, which finds the devices for which AWS IoT must be reconciled, and its schedule."""

from __future__ import annotations

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.ways import PROVISIONING
from firstboot.policy.service import grant_policy_name
from firstboot.register.settings import SweepSettings
from firstboot.register.sweep import RUN_SECONDS
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, acknowledge_serverless
from infra.register import Queues
from infra.storage import Store


class Sweep(Function):
    """The Lambda that reads all device records, sends orders to `queues` and updates the stack's policies."""

    # It attaches no policy: only `register` changes certificates in AWS IoT, behind the rate limiter.

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, queues: Queues
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            code=deployment.code,
            handler="register.sweep",
            seconds=RUN_SECONDS,
            memory=1024,
        )
        device_records, store, stack = deployment.device_records, deployment.store, Stack.of(self).stack_name
        self.configure(
            SweepSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                **queues.settings,
                stack=stack,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                fleet_refresh=str(deployment.configuration.fleet_refresh),
            )
        )
        # The sweep reads all device records and must change none of them.
        self.permit(["dynamodb:Scan"], device_records.table_arn)
        device_records.permit_rows(self, "sweep")
        queues.permit_orders(self)
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self._permit_policies(f"{stack}-*", grant_policy_name(stack, "*"))
        if PROVISIONING in deployment.fleet.offers:
            self.permit(["iot:CreateThingType"], arn(f"thingtype/{stack}"))
        self._begin(store)

    def _permit_policies(self, ours: str, grants: str) -> None:
        """Let the sweep make and change the policies named `ours`, and delete those of grants, `grants`."""
        # The stack does not make them. AWS IoT deletes no policy that is attached to a certificate
        # (DeletePolicy), so such a stack could not be deleted; retained policies would block the next stack
        # of the same name. No function that handles what devices send may make a policy.
        actions = ["CreatePolicy", "GetPolicy"]
        actions += ["CreatePolicyVersion", "DeletePolicyVersion", "ListPolicyVersions"]
        self.permit([f"iot:{action}" for action in actions], arn(f"policy/{ours}"))
        self.permit(["iot:DeletePolicy", "iot:ListTargetsForPolicy"], arn(f"policy/{grants}"))
        self.permit(["iot:ListPolicies"], "*")
        reason = "Each grant has a policy, and grants change without a deployment."
        acknowledge(
            self.own_role,
            {
                "IAM5[Resource::*]": "ListPolicies has no resource type.",
                f"IAM5[Resource::{spelled(f'policy/{ours}')}]": reason,
                f"IAM5[Resource::{spelled(f'policy/{grants}')}]": reason,
            },
        )

    def _begin(self, store: Store) -> None:
        """Start a run each minute, and at once when a fleet is published."""
        target = targets.LambdaFunction(self, retry_attempts=0)  # the next minute's run is the retry
        schedule = events.Schedule.rate(Duration.minutes(1))
        every_minute = events.Rule(self, "EveryMinute", schedule=schedule, targets=[target])
        store.notify_event_bridge()
        # Source: Amazon S3 user guide, "EventBridge event message structure".
        pattern = events.EventPattern(
            source=["aws.s3"],
            detail_type=["Object Created"],
            detail={"bucket": {"name": [store.bucket_name]}, "object": {"key": [PUBLISHED_FLEET_KEY]}},
        )
        published = events.Rule(self, "Published", event_pattern=pattern, targets=[target])
        for rule in (every_minute, published):
            acknowledge_serverless(rule, {"EventBusDLQ": "The next minute's run does the same."})
