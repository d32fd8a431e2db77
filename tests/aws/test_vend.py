"""Test `GET /role-aliases/{alias}/credentials` and `GET /v1/device` as Lambda functions over moto."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.clock import EPOCH
from firstboot.domain.fleet import RoleAlias
from firstboot.domain.names import DeviceId
from firstboot.domain.session import Credentials, SessionRequest
from tests import factories
from tests.aws.product import Answer, Product
from tests.fleets import group

PATH = "/role-aliases/telemetry/credentials"


def ask(product: Product, leaf: x509.Certificate | None, path: str = PATH, **headers: str) -> Answer:
    """Ask for credentials."""
    return product.call(
        "GET", path, leaf, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def refused(answer: Answer) -> tuple[int, str, str]:
    """Check that an answer is an error in AWS IoT's form, and return its status, type and message."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-requestid"] == "request-1"
    assert set(answer.body) == {"message"}
    return answer.status, answer.headers["x-amzn-errortype"], answer.body["message"]


def test_the_answer_is_the_credential_providers(product: Product) -> None:
    """The answer has exactly the credential provider's members, and a time that its clients can parse."""
    answer = ask(product, product.identity("gw-1"), x_amzn_iot_thingname="gw-1")
    assert answer.status == 200
    assert set(answer.body) == {"credentials"}
    credentials = answer.body["credentials"]
    assert set(credentials) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", credentials["expiration"])


def test_the_session_has_only_the_devices_rights(product: Product, assumed: list[SessionRequest]) -> None:
    """A session has the device's id as SourceIdentity and tag, and its policy only the device's resources."""
    ask(product, product.identity("gw-1"))
    (request,) = assumed
    assert request.device_id == "gw-1"
    assert request.tags == {"deviceId": "gw-1", "group": "gateways"}
    assert request.seconds == 3600
    (statement,) = json.loads(request.policy)["Statement"]
    assert statement["Resource"] == "arn:aws:s3:::data-123456789012/gw-1/*"


def test_first_use_commits(product: Product) -> None:
    """A request for credentials is a login and commits."""
    ask(product, product.identity("gw-1"))
    (row,) = [row for row in product.rows() if row["pk"]["S"] == "DEV#gw-1"]
    assert "pending" not in row
    assert "certificateId" in row["active"]["M"]


def test_another_things_name_is_refused(product: Product, assumed: list[SessionRequest]) -> None:
    """A request with another thing's name in its header is refused (ThingNameMismatch)."""
    answer = ask(product, product.identity("gw-1"), x_amzn_iot_thingname="gw-2")
    assert refused(answer) == (403, "AccessDeniedException", "Invalid thing name passed")
    assert assumed == []


def test_an_unknown_alias_is_refused(product: Product) -> None:
    """An unknown role alias is answered with AWS IoT's 404."""
    answer = ask(product, product.identity("gw-1"), "/role-aliases/absent/credentials")
    assert refused(answer) == (404, "ResourceNotFoundException", "Role alias does not exist")


def test_certificates_that_are_no_identity_are_refused(
    product: Product, assumed: list[SessionRequest]
) -> None:
    """A request with no certificate, a factory's, an unknown CA's or a superseded one gets AWS IoT's 403."""
    certificate = (403, "AccessDeniedException", "Certificate is invalid on this endpoint")
    rogue = factories.authority().issue("gw-1", factories.ec_key())
    for leaf in (None, product.bootstrap("gw-1"), rogue):
        assert refused(ask(product, leaf)) == certificate
    old = product.identity("gw-1")
    ask(product, old)
    ask(product, product.identity("gw-1"))
    assert refused(ask(product, old)) == (403, "AccessDeniedException", "Access Denied")
    assert len(assumed) == 2


def test_a_revoked_device_gets_nothing(product: Product, assumed: list[SessionRequest]) -> None:
    """A revoked device gets no credentials from the next call on."""
    leaf = product.identity("gw-1")
    ask(product, leaf)
    product.records.revoke(DeviceId("gw-1"), EPOCH)
    assert refused(ask(product, leaf)) == (403, "AccessDeniedException", "Access Denied")
    assert len(assumed) == 1


def test_no_grant_means_no_session(product: Product, assumed: list[SessionRequest]) -> None:
    """A device without a grant gets no session, because STS would give it an unrestricted one."""
    leaf = product.identity("gw-1")
    ask(product, leaf)
    product.records.set_attributes(DeviceId("gw-1"), {"quarantined": True}, EPOCH)
    assert refused(ask(product, leaf)) == (403, "AccessDeniedException", "Access Denied")
    assert len(assumed) == 1


@pytest.mark.parametrize(
    ("code", "text", "answer"),
    [
        ("AccessDenied", "not authorized", "Unable to assume the role, or the role to assume does not exist"),
        ("PackedPolicyTooLarge", "120 %", "Unable to assume the role, or the role to assume does not exist"),
        (
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
        ),
    ],
)
def test_a_refusal_of_sts_is_answered_as_aws_iot_does(
    product: Product, monkeypatch: pytest.MonkeyPatch, code: str, text: str, answer: str
) -> None:
    """A refusal of STS is answered with the credential provider's 400 for it."""

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": text}}, "AssumeRole")

    monkeypatch.setattr(clients.sts(), "assume_role", refuse)
    assert refused(ask(product, product.identity("gw-1"))) == (400, "InvalidRequestException", answer)


def test_during_an_outage_of_sts_the_answer_is_503(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """While STS does not answer, a device gets a 503 without the reason."""

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "Throttling", "Message": "rate exceeded"}}, "AssumeRole")

    monkeypatch.setattr(clients.sts(), "assume_role", refuse)
    answer = ask(product, product.identity("gw-1"))
    assert refused(answer) == (503, "ServiceUnavailableException", "Service unavailable")


def test_an_oversized_session_policy_is_refused_and_counted(
    product: Product,
    monkeypatch: pytest.MonkeyPatch,
    assumed: list[SessionRequest],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A session policy above STS's 2,048 characters is refused before the call to STS, and counted."""
    leaf = product.identity("gw-1")
    wide = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::bucket-{n}/{{deviceId}}/*"}
        for n in range(40)
    ]
    grants = product.fleet.grants | {"telemetry": {"Version": "2012-10-17", "Statement": wide}}
    product.publish(grants=grants)
    assert ask(product, leaf).status == 400
    assert assumed == []
    assert "SessionPolicyTooLarge" in capsys.readouterr().out


def test_nothing_secret_is_logged(product: Product, logs: io.StringIO) -> None:
    """No credentials, presigned URLs or certificates are logged."""
    leaf = product.identity("gw-1")
    answer = ask(product, leaf)
    logged = logs.getvalue()
    assert "credentials vended" in logged
    for secret in (answer.body["credentials"]["secretAccessKey"], answer.body["credentials"]["sessionToken"]):
        assert secret not in logged
    assert "X-Amz" not in logged
    assert "BEGIN" not in logged
    assert "secretAccessKey" not in repr(Credentials("a", "secretAccessKey", "t", EPOCH))


def test_the_record_shows_the_device(product: Product) -> None:
    """The record shows a device its group, attributes, present grants, and whether to renew."""
    leaf = product.identity("gw-1")
    product.records.set_attributes(DeviceId("gw-1"), {"site": "berlin"}, EPOCH)
    answer = product.call("GET", "/v1/device", leaf)
    assert answer.status == 200
    assert answer.body["deviceId"] == "gw-1"
    assert answer.body["group"] == "gateways"
    assert answer.body["status"] == "active"
    assert answer.body["attributes"] == {"site": "berlin"}
    assert answer.body["grants"] == ["telemetry"]
    assert answer.body["renew"] is False
    assert answer.body["renewIn"] > 0


def test_a_published_fleet_decides(product: Product) -> None:
    """A rule that was published after the deployment decides from the next refresh on."""
    leaf = product.identity("gw-1")
    assert ask(product, leaf).status == 200
    product.publish(rules=product.fleet.rules.replace("permit", "forbid"))
    assert ask(product, leaf).status == 403


def test_a_deployment_wins_over_what_was_published_before(product: Product) -> None:
    """A fleet that was published on top of another deployment is ignored."""
    leaf = product.identity("gw-1")
    product.publish(rules="", base="another")
    assert ask(product, leaf).status == 200


def test_without_a_role_an_alias_does_not_exist(product: Product) -> None:
    """A published fleet cannot add a role alias, because its role would not exist."""
    leaf = product.identity("gw-1")
    product.publish(role_aliases={"new": RoleAlias("new", 900)})
    assert ask(product, leaf, "/role-aliases/new/credentials").status == 404


def test_two_factories_two_groups(product: Product) -> None:
    """The anchor of a bootstrap certificate decides the group of its device."""
    other = factories.authority("Other CA")
    groups = product.fleet.groups | {"sensors": group("sensors", other)}
    product.publish(groups=groups)
    assert product.enroll(other.issue("s-1", factories.ec_key())).status == 201
    answer = product.enroll(other.issue("gw-9", factories.ec_key()))
    assert answer.status == 201
    clash = product.enroll(product.bootstrap("gw-9"))
    assert (clash.status, clash.body["code"]) == (409, "group-mismatch")
