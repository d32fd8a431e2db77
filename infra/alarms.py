"""What wakes someone up, all on one SNS topic.

The topic is ours so that a deployer subscribes once, to one ARN from the outputs, and alarms that
come with later versions arrive there too. An alarm without an action tells nobody.
"""

from __future__ import annotations

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import METRICS
from firstboot.pki.profile import CA_NOTICE_DAYS
from infra.api import Api
from infra.function import Function

_RECONCILE_HOURS = 6
"""How long a device may wait until AWS IoT is reconciled before the alarm rings."""


class Alarms(Construct):
    """One alarm a metric; `topic` hears of them all."""

    def __init__(
        self, scope: Construct, construct_id: str, *, functions: dict[str, Function], api: Api, fleet: Fleet
    ) -> None:
        super().__init__(scope, construct_id)
        # Encrypted at rest it would need a key of its own: CloudWatch can't publish with AWS's.
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        # That policy takes the place of SNS's own, under which an account's alarms may publish.
        self.topic.add_to_resource_policy(self._publishing())
        for name, function in functions.items():
            self._count(
                f"{name}Errors", function.metric_errors(), f"{name} raised what it should have answered"
            )
            self._count(f"{name}Throttles", function.metric_throttles(), f"{name} has no concurrency left")
        # The odd 503 is an answer: a device repeats it.
        self._count("ServerErrors", api.metric_server_error(), "Devices get 5xx", threshold=10)
        for metric in ("SessionPolicyTooLarge", "AnswerTooLarge"):
            self._count(
                metric, _ours("vend", metric), "Devices hold more grants than AWS's limits let through"
            )
        # The odd 202 is KMS or S3 for a moment; many are the CA's key, disabled.
        self._count(
            "CertificateDelayed",
            _ours("exchange", "CertificateDelayed"),
            "Certificates can't be signed or stored: devices are told to come again",
            threshold=10,
        )
        # The odd run that fails is repeated a minute later.
        self._count(
            "SweepUnavailable",
            _ours("register", "SweepFailed"),
            "A changed fleet does not reach AWS IoT",
            threshold=5,
        )
        if fleet.issuers:
            self._authorizer()
        self._count(
            "EnrollmentFrozen",
            _ours("exchange", "EnrollmentFrozen"),
            "A group enrolled more devices in an hour than it may: a claim certificate may have leaked",
        )
        for service in ("exchange", "vend"):
            self._count(
                f"CertificateForged{service.title()}",
                _ours(service, "CertificateForged"),
                "A certificate of our CA that was never issued: somebody else may sign with its key",
            )
        self._expiry(fleet)

    def watch_requests(self, dead: sqs.Queue) -> None:
        """What comes by a topic rule is invoked without waiting: its failures are told to nobody."""
        self._above(
            "Undelivered",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Requests over MQTT could not be handled",
        )

    def watch_jitr(self, dead: sqs.Queue) -> None:
        """`register` fails message by message, so Lambda counts no errors."""
        self._above(
            "NewcomersDead",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "Bootstrap certificates could not be looked at, however often it was tried",
        )

    def _publishing(self) -> iam.PolicyStatement:
        """Amazon SNS developer guide, "Example cases for Amazon SNS access control"."""
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
        """Alarm at so many occurrences in five minutes."""
        at_least = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        self._alarm(name, metric.with_(statistic="Sum"), description, threshold, at_least)

    def _above(self, name: str, metric: cloudwatch.Metric, threshold: int, description: str) -> None:
        """Alarm when a metric's maximum in five minutes is above a threshold."""
        above = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
        self._alarm(name, metric.with_(statistic="Maximum"), description, threshold, above)

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.Metric,
        description: str,
        threshold: int,
        comparison: cloudwatch.ComparisonOperator,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric.with_(period=Duration.minutes(5)),
            alarm_description=description,
            threshold=threshold,
            evaluation_periods=1,
            comparison_operator=comparison,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))

    def _authorizer(self) -> None:
        """`assign` answers with a refusal whatever happens, so its failures are no errors to Lambda."""
        self._count("AssignFailures", _ours("assign", "InternalError"), "assign failed, and refused a device")
        for metric in ("Unavailable", "IssuerUnavailable"):
            self._count(
                f"Assign{metric}", _ours("assign", metric), "Devices with tokens can't connect", threshold=10
            )
        self._count(
            "PoliciesTooLarge",
            _ours("assign", "PoliciesTooLarge"),
            "Devices hold more grants than an authorizer's answer takes",
        )

    def watch_register(self, dead: sqs.Queue) -> None:
        """`register` fails message by message, so Lambda counts no errors; and a device that waits for AWS
        IoT sees none.
        """
        self._above(
            "RegistrationsDead",
            dead.metric_approximate_number_of_messages_visible(),
            0,
            "AWS IoT could not be brought to a device's record, however often it was tried",
        )
        self._above(
            "RegistrationAge",
            _ours("register", "RegistrationAge"),
            _RECONCILE_HOURS * 3_600,
            "Devices wait for hours until they may connect to AWS IoT",
        )
        self._count(
            "RegisterFailures", _ours("register", "InternalError"), "register met what nobody foresaw"
        )

    def _expiry(self, fleet: Fleet) -> None:
        """Alarm when the CA can't certify a device for as long as its group says any more, and
        when nobody has counted its days for two: silence is no good news here.
        """
        longest = max((group.certificate.days for group in fleet.groups.values()), default=0)
        alarm = cloudwatch.Alarm(
            self,
            "CaExpiry",
            metric=_ours("authority", "CaDaysLeft").with_(statistic="Minimum", period=Duration.days(1)),
            alarm_description="The issuing CA ends before the certificates it should issue",
            threshold=longest + CA_NOTICE_DAYS,
            evaluation_periods=2,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))


def _ours(service: str, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(namespace=METRICS, metric_name=name, dimensions_map={"service": service})
