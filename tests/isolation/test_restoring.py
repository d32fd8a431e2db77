"""The bucket's policy lets an operator restore certificates, and no principal replace one."""

from __future__ import annotations

import json

import pytest

from firstboot.policy.render import Place
from tests.infra.conftest import synthesise
from tests.isolation.evaluators import Context, Document, Evaluator, Request, Rights

PLACE = Place("aws", "us-east-1", "123456789012")
BUCKET = "arn:aws:s3:::certificates-of-a-test"


@pytest.fixture(scope="module")
def denials(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """Return the Deny statements of the bucket's policy in the template, about a bucket of that name."""
    made = synthesise(tmp_path_factory.mktemp("restoring") / "out")
    (policy,) = made.resources("AWS::S3::BucketPolicy").values()
    text = json.dumps(policy["Properties"]["PolicyDocument"]["Statement"])
    (arn,) = {
        json.dumps(each["Resource"][0])
        for each in json.loads(text)
        if isinstance(each["Resource"], list) and "Fn::GetAtt" in each["Resource"][0]
    }
    for end in ("/*", "/certificates/*", "/authority/*"):
        text = text.replace(json.dumps({"Fn::Join": ["", [json.loads(arn), end]]}), json.dumps(BUCKET + end))
    statements: list[Document] = json.loads(text.replace(arn, json.dumps(BUCKET)))
    return [{key: value for key, value in each.items() if key != "Principal"} for each in statements]


def allowed(
    evaluator: Evaluator, denials: list[Document], action: str, context: Context | None = None
) -> bool:
    """Return whether an administrator may make a request on a certificate, with these condition keys."""
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [everything, *denials]}
    keys: Context = {"aws:SecureTransport": "true", **(context or {})}
    request = Request(action, f"{BUCKET}/certificates/gw-1/1f.pem", keys)
    return evaluator.allowed([(Rights(PLACE, (policy,)), request)])[0]


def test_a_certificate_is_restored_by_a_conditional_copy_alone(
    evaluators: tuple[Evaluator, ...], denials: list[Document]
) -> None:
    """An administrator may store a certificate, or copy it, with If-None-Match, and not without.

    S3 checks a copy as s3:PutObject (user guide, "Enforce conditional writes on Amazon S3 buckets").
    """
    assert len(denials) == 3
    creation: Context = {"s3:ObjectCreationOperation": "true"}
    for evaluator in evaluators:
        assert allowed(evaluator, denials, "s3:PutObject", creation | {"s3:if-none-match": "*"})
        assert not allowed(evaluator, denials, "s3:PutObject", creation)


def test_a_delete_marker_may_be_deleted(evaluators: tuple[Evaluator, ...], denials: list[Document]) -> None:
    """An administrator may delete a version, so that the version below a delete marker is current again."""
    for evaluator in evaluators:
        assert allowed(evaluator, denials, "s3:DeleteObjectVersion")
        assert allowed(evaluator, denials, "s3:GetObjectVersion")
