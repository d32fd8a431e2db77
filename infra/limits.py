"""Checks a synthesised template for what CloudFormation, Lambda, IAM and others would refuse only later.

CDK's own rules check single properties against CloudFormation's schemas. The limits here are those that the
schemas do not have: sums, documents, and values that have their length only when they are deployed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from infra.measure import Json, Measure

Sizes = Iterable[tuple[str, int]]
"""Logical ids, each with the size of what is limited. The template itself has no logical id."""


@dataclass(frozen=True)
class Template:
    """A template as the deployment will have it: the file's `size` in bytes, and the stack's name."""

    body: Json
    size: int
    stack: str

    @property
    def measure(self) -> Measure:
        """A measure of the template's values."""
        return Measure(self.body, self.stack)

    def of(self, kind: str) -> Iterable[tuple[str, Json]]:
        """Return the properties of the resources of a type, by logical id."""
        found = self.body.get("Resources", {}).items()
        return [(name, each.get("Properties", {})) for name, each in found if each["Type"] == kind]


@dataclass(frozen=True)
class Limit:
    """A limit: its name and unit, the most that is allowed, AWS's page, and the sizes in a template."""

    name: str
    most: int
    page: str
    sizes: Callable[[Template], Sizes]


@dataclass(frozen=True)
class Excess:
    """A resource of a template, or the template itself, that exceeds a limit."""

    limit: Limit
    resource: str
    size: int

    def __str__(self) -> str:
        """Return the resource, its size and the limit."""
        where = self.resource or "the template"
        return f"{where}: {self.size:,} {self.limit.name}; at most {self.limit.most:,} ({self.limit.page})"


def exceeded(template: Template) -> list[Excess]:
    """Return what exceeds a limit in a template."""
    return [
        Excess(limit, resource, size)
        for limit in LIMITS
        for resource, size in limit.sizes(template)
        if size > limit.most
    ]


def _count(section: str) -> Callable[[Template], Sizes]:
    """Return how many entries a section of the template has."""
    return lambda template: [("", len(template.body.get(section, {})))]


def _property(kind: str, *path: str) -> Callable[[Template], Sizes]:
    """Return the sizes of a property of all resources of a type, as text or compact JSON."""

    def sizes(template: Template) -> Sizes:
        for name, properties in template.of(kind):
            value: Any = properties
            for member in path:
                value = value.get(member, {})
            yield name, template.measure.size(value)

    return sizes


def _document(kind: str, member: str) -> Callable[[Template], Sizes]:
    """Return the characters, without white space, of a policy document of all resources of a type."""
    return lambda template: [
        (name, template.measure.characters(each.get(member, {}))) for name, each in template.of(kind)
    ]


def _inline(template: Template) -> Sizes:
    """Return the characters of all inline policies of each role."""
    totals: Counter[str] = Counter()
    for name, role in template.of("AWS::IAM::Role"):
        for policy in role.get("Policies", []):
            totals[name] += template.measure.characters(policy["PolicyDocument"])
    for _, policy in template.of("AWS::IAM::Policy"):
        for role in policy.get("Roles", []):
            totals[_target(role)] += template.measure.characters(policy["PolicyDocument"])
    return totals.items()


def _permissions(template: Template) -> Sizes:
    """Return the size of each function's resource policy, of which each permission is a statement.

    Beside its ARNs a statement has its id, effect, principal, action and conditions in about 300 bytes.
    """
    totals: Counter[str] = Counter()
    for _, permission in template.of("AWS::Lambda::Permission"):
        totals[_target(permission["FunctionName"])] += 300 + template.measure.size(permission)
    return totals.items()


def _of_api(kind: str) -> Callable[[Template], Sizes]:
    """Return how many resources of a type each API has."""
    return lambda template: Counter(_target(each["ApiId"]) for _, each in template.of(kind)).items()


def _target(value: Any) -> str:  # noqa: ANN401 - text or an intrinsic function
    """Return the logical id that a value refers to, or its text."""
    if isinstance(value, dict):
        found = value.get("Ref") or value.get("Fn::GetAtt")
        return found[0] if isinstance(found, list) else str(found)
    return str(value)


def _attached(template: Template) -> Sizes:
    """Return how many managed policies each role has."""
    return [(name, len(role.get("ManagedPolicyArns", []))) for name, role in template.of("AWS::IAM::Role")]


def _session(template: Template) -> Sizes:
    """Return the longest session of each role, in seconds."""
    return [(name, role.get("MaxSessionDuration", 0)) for name, role in template.of("AWS::IAM::Role")]


_FORMATION = "CloudFormation user guide, Understand CloudFormation quotas"
_IAM = "IAM user guide, IAM and AWS STS quotas"
_LAMBDA = "Lambda developer guide, Lambda quotas"
_GATEWAY = "API Gateway developer guide, Quotas for configuring and running an HTTP API"
_IOT = "AWS General Reference, AWS IoT Core endpoints and quotas"

LIMITS = [
    Limit("resources", 500, _FORMATION, _count("Resources")),
    Limit("outputs", 200, _FORMATION, _count("Outputs")),
    Limit("parameters", 200, _FORMATION, _count("Parameters")),
    # The page says 1 MB. CloudFormation's refusal says "1000000 bytes".
    Limit("bytes", 1_000_000, _FORMATION, lambda template: [("", template.size)]),
    Limit(
        *("bytes of description", 1_024, _FORMATION),
        lambda template: [("", len(template.body.get("Description", "").encode()))],
    ),
    Limit(
        *("characters of logical id", 255, _FORMATION),
        lambda template: [(name, len(name)) for name in template.body.get("Resources", {})],
    ),
    Limit(
        *("bytes of environment", 4_096, _LAMBDA),
        _property("AWS::Lambda::Function", "Environment", "Variables"),
    ),
    Limit(
        *("characters of function description", 256, "Lambda API reference, CreateFunction"),
        _property("AWS::Lambda::Function", "Description"),
    ),
    Limit("bytes of resource policy", 20_480, _LAMBDA, _permissions),
    Limit("characters of inline policies", 10_240, _IAM, _inline),
    Limit(
        *("characters of policy", 6_144, _IAM),
        _document("AWS::IAM::ManagedPolicy", "PolicyDocument"),
    ),
    Limit("managed policies", 10, _IAM, _attached),
    # 2,048 by default, and 4,096 if the account's quota is raised.
    Limit(
        *("characters of trust policy", 2_048, _IAM),
        _document("AWS::IAM::Role", "AssumeRolePolicyDocument"),
    ),
    Limit("characters of role name", 64, _IAM, _property("AWS::IAM::Role", "RoleName")),
    Limit(
        *("characters of role description", 1_000, "IAM API reference, CreateRole"),
        _property("AWS::IAM::Role", "Description"),
    ),
    Limit("seconds of session", 43_200, "IAM API reference, CreateRole", _session),
    Limit("routes", 300, _GATEWAY, _of_api("AWS::ApiGatewayV2::Route")),
    Limit("integrations", 300, _GATEWAY, _of_api("AWS::ApiGatewayV2::Integration")),
    Limit(
        *("bytes of bucket policy", 20_480, "S3 user guide, Bucket policies for Amazon S3"),
        _property("AWS::S3::BucketPolicy", "PolicyDocument"),
    ),
    Limit(
        *("bytes of key policy", 32_768, "KMS developer guide, Resource quotas"),
        _property("AWS::KMS::Key", "KeyPolicy"),
    ),
    Limit("bytes of rule", 262_144, _IOT, _property("AWS::IoT::TopicRule", "TopicRulePayload")),
    Limit(
        *("characters of rule name", 128, "AWS IoT API reference, CreateTopicRule"),
        _property("AWS::IoT::TopicRule", "RuleName"),
    ),
    Limit(
        *("characters of alarm name", 255, "CloudWatch API reference, PutMetricAlarm"),
        _property("AWS::CloudWatch::Alarm", "AlarmName"),
    ),
    Limit(
        *("characters of alarm description", 1_024, "CloudWatch API reference, PutMetricAlarm"),
        _property("AWS::CloudWatch::Alarm", "AlarmDescription"),
    ),
    Limit(
        *("characters of queue name", 80, "SQS developer guide, Amazon SQS standard queue quotas"),
        _property("AWS::SQS::Queue", "QueueName"),
    ),
    Limit(
        *("bytes of parameter", 4_096, "Systems Manager user guide, Managing parameter tiers"),
        _property("AWS::SSM::Parameter", "Value"),
    ),
]
"""Every limit. A resource without the property has the size 2, of `{}`."""
