"""The metrics of Firstboot's own that an alarm watches, with the number in five minutes at which it rings."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch

from firstboot.domain.names import METRICS


@dataclass(frozen=True)
class Counted:
    """A metric that counts, and what its alarm says.

    The alarm has the metric's name unless it needs one of its own.
    """

    service: str
    metric: str
    description: str
    threshold: int = 1
    alarm: str = ""

    @property
    def name(self) -> str:
        """The alarm's construct id."""
        return self.alarm or self.metric


COUNTED = (
    Counted("vend", "SessionPolicyTooLarge", "Devices hold more grants than AWS's size limits allow"),
    Counted("vend", "AnswerTooLarge", "Devices hold more grants than fit in an answer that they can read"),
    # A single 202 is a short failure of KMS or S3. Many of them mean that the CA's key is disabled.
    Counted(
        "exchange",
        "CertificateDelayed",
        "Certificates can't be signed or stored, and devices must repeat their requests",
        threshold=10,
    ),
    # The sweep reads the published fleet every minute, so one function's metric is enough.
    Counted(
        "register",
        "FleetUnreadable",
        "The published fleet can't be read: `fleet apply` must publish one that can",
    ),
    # A single failed run is repeated a minute later.
    Counted(
        "register",
        "SweepFailed",
        "A changed fleet does not reach AWS IoT",
        threshold=5,
        alarm="SweepUnavailable",
    ),
    Counted(
        "exchange",
        "EnrollmentFrozen",
        "A group froze after too many enrollments in an hour; a claim certificate may have leaked",
    ),
    Counted(
        "exchange",
        "RenewalRateExceeded",
        "A device renews as often as it may in a day; it is faulty, or its certificate was copied",
    ),
    Counted(
        "exchange",
        "ReenrollmentRateExceeded",
        "A device enrolls as often as it may in a day; it is faulty, or its disk was copied",
    ),
    Counted(
        "exchange",
        "NameGuessLimit",
        "A claim certificate was refused with more names than a production line has; it may have leaked",
    ),
    *(
        Counted(
            service,
            "CertificateForged",
            "A certificate of the issuing CA was never issued; the CA's key may be misused",
            alarm=f"CertificateForged{service.title()}",
        )
        for service in ("exchange", "vend")
    ),
    # A board asks by a call, or it connects to AWS IoT first and waits there.
    *(
        Counted(
            service,
            "BootstrapKeyChanged",
            "A board with another bootstrap key asked under the name of a device",
            alarm=f"BootstrapKeyChanged{service.title()}",
        )
        for service in ("exchange", "register")
    ),
    Counted(
        "register",
        "ThingClash",
        "A device has the name of another team's thing, and no certificate was registered for it",
    ),
    Counted(
        "register",
        "PoliciesTooLarge",
        "A certificate would have more policies than AWS IoT allows, and lacks the rights of its grants",
        alarm="RegisterPoliciesTooLarge",
    ),
    Counted(
        "register",
        "CertificateLost",
        "The certificate that a device uses is not in the bucket any more",
    ),
    # `register` reports failures message by message, and Lambda counts those as no errors.
    Counted(
        "register",
        "InternalError",
        "register failed with an unexpected error",
        alarm="RegisterFailures",
    ),
)

WITH_ISSUERS = (
    # `assign` answers each failure with a refusal, so Lambda counts no errors.
    Counted("assign", "InternalError", "assign failed and refused a connection", alarm="AssignFailures"),
    *(
        Counted("assign", metric, "Devices with tokens can't connect", threshold=10, alarm=f"Assign{metric}")
        for metric in ("Unavailable", "IssuerUnavailable")
    ),
    Counted(
        "assign",
        "PoliciesTooLarge",
        "Devices hold more grants than fit in an authorizer's answer",
    ),
)

NEAR_LIMIT = 80
"""Percent of a limit above which an alarm rings. A further grant can take a tenth of a session policy."""

NEAR_LIMITS = {
    "SessionTokenUtilization": "Session tokens are near STS's largest: devices hold too many grants",
    "PackedPolicySize": "Session policies and tags are near STS's limit: devices hold too many grants",
    "AnswerUtilization": "Credentials are near what the devices can read: devices hold too many grants",
}
"""The metrics of `vend` that are percents of a limit, and what their alarms say."""


def ours(service: str, name: str) -> cloudwatch.Metric:
    """Return the metric that the Lambda functions of `service` write under this name."""
    return cloudwatch.Metric(namespace=METRICS, metric_name=name, dimensions_map={"service": service})
