"""Measures values of a CloudFormation template as long as they can become when it is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# The longest of today's partitions, regions and DNS suffixes have 10, 14 and 16 characters.
_PSEUDO = {
    "AWS::Partition": 10,
    "AWS::Region": 16,
    "AWS::AccountId": 12,
    "AWS::URLSuffix": 18,
    "AWS::StackName": 128,
    "AWS::StackId": 255,
}
_NAMES = {
    "AWS::IAM::Role": 64,
    "AWS::IAM::ManagedPolicy": 128,
    "AWS::KMS::Key": 36,
    "AWS::Lambda::Function": 64,
    "AWS::S3::Bucket": 63,
    "AWS::SQS::Queue": 80,
}
"""The longest names that the services accept. CloudFormation shortens what it makes up to fit them."""

_SUFFIX = 15
"""CloudFormation makes a name of the stack's name, the logical id, two hyphens and about 13 characters
(CloudFormation user guide, "Name type")."""

_ARN = 80
"""The longest beginning of an ARN: partition, service, region, account and the resource's kind and path."""

_IAM_ARNS = {"AWS::IAM::Role": 50, "AWS::IAM::ManagedPolicy": 50}
"""The beginning of an ARN of IAM, which has no region. The longest path is `/firstboot/`."""

_URL = 60
"""The beginning of a queue's URL. It is a queue's `Ref`."""

# What the Custom::FirstbootAuthority answers with. CloudFormation takes 4,096 bytes of an answer in all.
_ATTRIBUTES = {"CaCertificate": 1_000}
_OTHER = 128
"""The length of any other attribute, such as a host name, a domain name or an object's version."""


class Measure:
    """Measures the values of one template, whose stack has the given name."""

    def __init__(self, template: Json, stack: str) -> None:
        self._resources: Json = template.get("Resources", {})
        self._stack = stack

    def size(self, value: Any) -> int:  # noqa: ANN401 - any part of a template
        """Return how many bytes a value may have, as text or as compact JSON."""
        filled = self.filled(value)
        return len(filled.encode() if isinstance(filled, str) else _compact(filled))

    def characters(self, value: Any) -> int:  # noqa: ANN401 - any part of a template
        """Return how many characters of a value, as compact JSON, are not white space, as IAM counts them."""
        return len("".join(_compact(self.filled(value)).decode().split()))

    def filled(self, value: Any) -> Any:  # noqa: ANN401 - any part of a template
        """Return a value with text of the greatest length in the place of each intrinsic function."""
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._function(name, argument)
        return {key: self.filled(each) for key, each in value.items()}

    def _function(self, name: str, argument: Any) -> Any:  # noqa: ANN401 - any part of a template
        if name == "Ref":
            return "x" * self._ref(argument)
        if name == "Fn::GetAtt":
            resource, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
            return "x" * self._attribute(resource, attribute)
        if name == "Fn::Join":
            delimiter, parts = argument
            return str(delimiter).join(map(str, self.filled(parts)))
        if name == "Fn::Sub":
            text, values = (argument, {}) if isinstance(argument, str) else argument
            return text + "".join(map(str, self.filled(list(values.values())))) + "x" * _OTHER
        if name == "Fn::If":
            return max(map(self.filled, argument[1:]), key=self.size)
        return "x" * _OTHER

    def _ref(self, name: str) -> int:
        if name == "AWS::StackName":
            return len(self._stack)
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name not in self._resources:  # a parameter
            return _OTHER
        kind, length = self._resources[name]["Type"], self._name(name)
        if kind == "AWS::SQS::Queue":
            return _URL + length
        return self._arn(name) if kind in {"AWS::IAM::ManagedPolicy", "AWS::SNS::Topic"} else length

    def _attribute(self, resource: str, attribute: str) -> int:
        if attribute.endswith("Arn"):
            return self._arn(resource)
        return _ATTRIBUTES.get(attribute, max(_OTHER, self._name(resource)))

    def _arn(self, resource: str) -> int:
        return _IAM_ARNS.get(self._resources[resource]["Type"], _ARN) + self._name(resource)

    def _name(self, resource: str) -> int:
        kind = self._resources[resource]["Type"]
        made_up = len(self._stack) + len(resource) + _SUFFIX
        return min(made_up, _NAMES.get(kind, made_up))


def _compact(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
