"""Every policy document of ours as AWS will have it, for tools that read such documents. Pure.

The policies of roles come from the synthesised template. A name that a deployment or AWS IoT fills in is
replaced by a sample, because tools read the colons of a variable as those of an ARN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import device_id
from firstboot.policy import render
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy

Json = dict[str, Any]

PLACE = Place("aws", "us-east-1", "123456789012")
_DEVICE = device_id("sample-device")
_HERE = f"{PLACE.region}:{PLACE.account}"
_PSEUDO = {
    "AWS::Partition": PLACE.partition,
    "AWS::Region": PLACE.region,
    "AWS::AccountId": PLACE.account,
    "AWS::StackName": "Firstboot",
    "AWS::URLSuffix": "amazonaws.com",
}
_ARNS = {
    "AWS::DynamoDB::GlobalTable": f"arn:aws:dynamodb:{_HERE}:table/Sample",
    "AWS::Events::Rule": f"arn:aws:events:{_HERE}:rule/Sample",
    "AWS::IAM::Role": f"arn:aws:iam::{PLACE.account}:role/Sample",
    "AWS::KMS::Key": f"arn:aws:kms:{_HERE}:key/00000000-0000-0000-0000-000000000000",
    "AWS::Lambda::Function": f"arn:aws:lambda:{_HERE}:function:Sample",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{_HERE}:log-group:Sample:*",
    "AWS::S3::Bucket": "arn:aws:s3:::sample",
    "AWS::SNS::Topic": f"arn:aws:sns:{_HERE}:Sample",
    "AWS::SQS::Queue": f"arn:aws:sqs:{_HERE}:Sample",
}


def documents(fleet: Fleet, template: Json) -> dict[str, str]:
    """Return each document (JSON) by a name that says what it belongs to."""
    found = [*_rendered(fleet), *_of_roles(template)]
    return {name: re.sub(r"\$\{[^}]*\}", "sample", json.dumps(document)) for name, document in found}


def _rendered(fleet: Fleet) -> Iterator[tuple[str, Json]]:
    for grant in sorted(fleet.policies):
        yield f"session-{grant}", json.loads(render.session_policy(fleet, [grant], _DEVICE, PLACE))
        about_iot = render.iot_policy(fleet, grant, PLACE)
        if about_iot:
            yield f"iot-{grant}", json.loads(about_iot)
            (connection,) = render.connection_policies(fleet, [grant], _DEVICE, PLACE)
            yield f"token-{grant}", connection
    yield "session-all", json.loads(render.session_policy(fleet, sorted(fleet.policies), _DEVICE, PLACE))
    for policy in ServicePolicy:
        yield f"iot-service-{policy}", policy.document(PLACE)


def _of_roles(template: Json) -> Iterator[tuple[str, Json]]:
    for name, resource in template["Resources"].items():
        for number, document in enumerate(_of(resource)):
            yield f"role-{name}-{number}", _resolved(document, template["Resources"])


def _of(resource: Json) -> list[Json]:
    """Return the identity policies in a resource. A fleet role's own policy is among them."""
    properties = resource.get("Properties", {})
    if resource["Type"] == "AWS::IAM::Policy":
        return [properties["PolicyDocument"]]
    if resource["Type"] == "AWS::IAM::Role":
        return [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    return []


def _resolved(value: Any, resources: Json) -> Any:  # noqa: ANN401 - any part of a template
    match value:
        case {"Ref": str() as name}:
            return _PSEUDO.get(name, name)
        case {"Fn::GetAtt": [name, "Arn" | "StreamArn" as attribute]}:
            arn = _ARNS[resources[name]["Type"]]
            return f"{arn}/stream/sample" if attribute == "StreamArn" else arn
        case {"Fn::Join": [separator, parts]}:
            return separator.join(_resolved(part, resources) for part in parts)
        case dict():
            return {key: _resolved(each, resources) for key, each in value.items()}
        case list():
            return [_resolved(each, resources) for each in value]
    return value
