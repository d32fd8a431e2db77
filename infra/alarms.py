"""The CloudWatch alarms of a deployment, which all notify one SNS topic."""

from __future__ import annotations

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.fleet import Fleet
from firstboot.pki.profile import CA_NOTICE_DAYS
from infra.api import Api
from infra.counted import COUNTED, NEAR_LIMIT, NEAR_LIMITS, WITH_ISSUERS, ours

_RECONCILE_HOURS = 6
"""How long an order to reconcile a device may wait before the alarm rings."""

_QUIET = cloudwatch.TreatMissingData.NOT_BREACHING


class Alarms(Construct):
    """One alarm for each watched metric. Each alarm notifies `topic`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: dict[str, lambda_.Function],
        apis: dict[str, Api],
        fleet: Fleet,
    ) -> None:
        super().__init__(scope, construct_id)
        # The stack makes the topic: a deployer subscribes once, and later versions' alarms arrive there too.
        # It is not encrypted at rest, because CloudWatch can't publish to a topic with AWS's managed key.
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        # `enforce_ssl` adds a policy, which replaces SNS's default one that lets the account's alarms
        # publish.
        self.topic.add_to_resource_policy(self._publishing())
        for name, function in functions.items():
            self._count(f"{name}Errors", function.metric_errors(), f"{name} failed with an exception")
            self._count(f"{name}Throttles", function.metric_throttles(), f"{name} has no concurrency left")
        self._hosts(apis)
        for each in (*COUNTED, *(WITH_ISSUERS if fleet.issuers else ())):
            self._count(each.name, ours(each.service, each.metric), each.description, each.threshold)
        for name, description in NEAR_LIMITS.items():
            # A device asks once an hour or less: the alarm keeps its state until then.
            missing = cloudwatch.TreatMissingData.IGNORE
            self._above(name, ours("vend", name), NEAR_LIMIT, description, missing)
        self._expiry(fleet)

    def watch_requests(self, dead: sqs.Queue) -> None:
        """Alarm when `dead` holds a request that came over MQTT."""
        # A topic rule invokes a Lambda asynchronously, so no caller sees that the invocation failed.
        self._above(
            "Undelivered",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Requests over MQTT could not be handled",
        )

    def watch_jitr(self, dead: sqs.Queue) -> None:
        """Alarm when `dead` holds the event of a bootstrap certificate."""
        # `register` reports failures message by message, and Lambda counts those as no errors.
        self._above(
            "NewcomersDead",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Events of bootstrap certificates failed at every attempt",
        )

    def watch_stream(self, dead: sqs.Queue) -> None:
        """Alarm when `dead` holds a letter about a batch of the table's stream."""
        self._above(
            "StreamDead",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Changes of device records could not be read again from the table's stream",
        )

    def _publishing(self) -> iam.PolicyStatement:
        """Return the statement that lets this account's alarms publish to the topic.

        Source: Amazon SNS developer guide, "Example cases for Amazon SNS access control".
        """
        stack = Stack.of(self)
        return iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[self.topic.topic_arn],
            conditions={
                "ArnLike": {
                    "aws:SourceArn": stack.format_arn(
                        service="cloudwatch",
                        resource="alarm",
                        resource_name="*",
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    )
                },
                "StringEquals": {"aws:SourceAccount": stack.account},
            },
        )

    def _count(self, name: str, metric: cloudwatch.Metric, description: str, threshold: int = 1) -> None:
        """Alarm when a metric's sum in five minutes reaches `threshold`."""
        at_least = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        self._alarm(name, metric.with_(statistic="Sum"), description, threshold, at_least)

    def _above(
        self,
        name: str,
        metric: cloudwatch.Metric,
        threshold: int,
        description: str,
        missing: cloudwatch.TreatMissingData = _QUIET,
    ) -> None:
        """Alarm when a metric's maximum in five minutes is above `threshold`."""
        above = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
        self._alarm(name, metric.with_(statistic="Maximum"), description, threshold, above, missing)

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.Metric,
        description: str,
        threshold: int,
        comparison: cloudwatch.ComparisonOperator,
        missing: cloudwatch.TreatMissingData = _QUIET,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric.with_(period=Duration.minutes(5)),
            alarm_description=description,
            threshold=threshold,
            evaluation_periods=1,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))

    def _hosts(self, apis: dict[str, Api]) -> None:
        """Alarm when a host fails, or refuses calls because too many come."""
        for name, api in apis.items():
            # The first API's alarm has the logical id of the time when a stack had one API.
            prefix = "" if api is next(iter(apis.values())) else name
            # A single 503 needs no operator, because the device repeats its request.
            self._count(f"{prefix}ServerErrors", api.metric_server_error(), "Devices get 5xx", threshold=10)
            metric = f"{name}HostThrottled"
            self._count(
                metric,
                api.throttled(metric),
                "A host's throttle refuses calls: many devices came at once, or it is flooded",
                threshold=100,
            )

    def watch_register(self, dead: sqs.Queue) -> None:
        """Alarm when `dead` holds an order, and when orders wait for hours."""
        # `register` reports failures message by message, and Lambda counts those as no errors.
        self._above(
            "RegistrationsDead",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Reconciling AWS IoT with a device record failed at every attempt",
        )
        self._above(
            "RegistrationAge",
            ours("register", "RegistrationAge"),
            _RECONCILE_HOURS * 3_600,
            "Devices wait for hours until they may connect to AWS IoT",
        )

    def watch_key(self, *, own: bool) -> None:
        """Alarm when the CA's key can't sign, has grants, or has another policy than the stack's `own`."""
        found = {
            "CaKeyUnusable": "The CA's key is disabled, is to be deleted or is unavailable",
            "CaKeyGrants": "The CA's key has grants, by which other principals may sign with it",
        }
        if own:
            found["CaKeyPolicyChanged"] = "The policy of the CA's key was changed outside a deployment"
        for metric, description in found.items():
            # The watch writes the metric at each hourly look. The alarm keeps its state from look to look.
            self._above(
                metric,
                ours("authority", metric),
                0,
                description,
                missing=cloudwatch.TreatMissingData.IGNORE,
            )

    def _expiry(self, fleet: Fleet) -> None:
        """Alarm when the CA will soon end too early for the group with the longest certificates.

        The alarm rings also when the hourly watch has reported nothing for two days.
        """
        # When fewer days are left, leaves end early. The notice before that is the time to arrange a new CA.
        longest = max((group.certificate.days for group in fleet.groups.values()), default=0)
        alarm = cloudwatch.Alarm(
            self,
            "CaExpiry",
            metric=ours("authority", "CaDaysLeft").with_(statistic="Minimum", period=Duration.days(1)),
            alarm_description="The issuing CA ends before the certificates it should issue",
            threshold=longest + CA_NOTICE_DAYS,
            evaluation_periods=2,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            # Without the watch's metric the CA's end would go unnoticed, so missing data alarms too.
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))
