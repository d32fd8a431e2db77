"""Test `POST /sessions`, the call of IAM Roles Anywhere, as a Lambda function over moto."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.clock import EPOCH, from_epoch, utc_now
from firstboot.domain.fleet import Fleet, RoleAlias
from firstboot.domain.names import FLEET_ROLE_PATH, DeviceId, fleet_role
from firstboot.domain.session import SessionRequest
from firstboot.domain.ways import DEFAULT
from tests import factories, signed_requests
from tests.aws import deployed
from tests.aws.product import HOST, Answer, Product
from tests.aws.test_openapi import documented
from tests.fleets import fleet, group

ROLE = f"arn:aws:iam::{deployed.ACCOUNT}:role{FLEET_ROLE_PATH}{fleet_role(deployed.REGION, 'telemetry')}"
PLACE = f"arn:aws:rolesanywhere:{deployed.REGION}:{deployed.ACCOUNT}"
ARNS = {
    "profileArn": f"{PLACE}:profile/00000000-0000-0000-0000-000000000000",
    "roleArn": ROLE,
    "trustAnchorArn": f"{PLACE}:trust-anchor/00000000-0000-0000-0000-000000000000",
}
# IAM Roles Anywhere API reference, SubjectDetail, `subjectId`.
SUBJECT_ID = "[a-f0-9]{8}-([a-z0-9]{4}-){3}[a-z0-9]{12}"
DENIED, INVALID = (403, "AccessDeniedException"), (400, "ValidationException")


@pytest.fixture
def product(product_of: Callable[[factories.Authority, Fleet], Product]) -> Product:
    """Return a deployment with a group that has the way `roles-anywhere`."""
    factory = factories.authority()
    return product_of(factory, fleet(group("gateways", factory, ways=(*DEFAULT, "roles-anywhere"))))


@dataclass
class Asking:
    """A device that asks for sessions."""

    product: Product
    key: Any
    leaf: x509.Certificate

    def sign(
        self, members: Any = ARNS, *, host: str = HOST, query: str = "", age: int = 0, **more: Any
    ) -> tuple[dict[str, str], str, str]:
        """Return the headers, the body and the query of a request that is `age` seconds old."""
        body = members if isinstance(members, str) else json.dumps(members)
        moment = self.product.lambdas.now() - timedelta(seconds=age)
        url = f"https://{host}/sessions" + (f"?{query}" if query else "")
        return signed_requests.sign(self.key, self.leaf, url, body.encode(), moment, **more), body, query

    def send(self, headers: dict[str, str], body: str, query: str) -> Answer:
        """Send a request, and check that the answer conforms to the OpenAPI document."""
        answer = self.product.call("POST", "/sessions", None, body, headers, rawQueryString=query)
        return documented("POST", "/sessions", answer)

    def ask(self, members: Any = ARNS, **options: Any) -> Answer:
        """Sign a request and send it."""
        return self.send(*self.sign(members, **options))


@pytest.fixture(params=["ec", "rsa"])
def device(product: Product, request: pytest.FixtureRequest) -> Asking:
    """Return a device that has enrolled, with a key of each kind."""
    return enrolled(product, factories.ec_key() if request.param == "ec" else factories.rsa_key())


def enrolled(product: Product, key: Any = None) -> Asking:
    """Return a device that has enrolled."""
    key = key or factories.ec_key()
    return Asking(product, key, product.certificate(product.enroll(product.bootstrap("gw-1"), key)))


def refused(answer: Answer) -> tuple[int, str]:
    """Check that an answer is an error in AWS's form, and return its status and type."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-amzn-requestid"] == "request-1"
    assert set(answer.body) == {"message"}
    return answer.status, answer.headers["x-amzn-errortype"]


def spent(product: Product) -> list[dict[str, Any]]:
    """Return the rows of spent proofs."""
    return [row for row in product.rows() if row["pk"]["S"].startswith("PROOF#")]


def test_the_answer_is_that_of_roles_anywhere(device: Asking, assumed: list[SessionRequest]) -> None:
    """An active device gets CreateSession's members, and a session with the rights of its grants."""
    answer = device.ask()
    assert answer.status == 201
    assert set(answer.body) == {"credentialSet", "subjectArn"}
    (made,) = answer.body["credentialSet"]
    user = made["assumedRoleUser"]
    assert user["arn"].startswith("arn:aws:sts::123456789012:assumed-role/")
    assert user["arn"].endswith("/gw-1")
    assert user["assumedRoleId"].endswith(":gw-1")
    assert (made["roleArn"], made["sourceIdentity"]) == (ROLE, "gw-1")
    assert isinstance(made["packedPolicySize"], int)
    assert set(made["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["credentials"]["expiration"])
    assert re.fullmatch(
        rf"{PLACE}:subject/[a-f0-9]{{8}}-([a-z0-9]{{4}}-){{3}}[a-z0-9]{{12}}", answer.body["subjectArn"]
    )
    (request,) = assumed
    assert (request.role_arn, request.device_id, request.seconds) == (ROLE, "gw-1", 3600)
    (statement,) = json.loads(request.policy)["Statement"]
    assert statement["Resource"] == "arn:aws:s3:::data-123456789012/gw-1/*"


def test_the_first_request_commits(product: Product) -> None:
    """A request for a session is a login and commits."""
    enrolled(product).ask()
    (row,) = [row for row in product.rows() if row["pk"]["S"] == "DEV#gw-1"]
    assert "pending" not in row


def test_a_duration_is_at_most_the_role_aliass(product: Product, assumed: list[SessionRequest]) -> None:
    """A shorter duration is taken, and one above the role alias's is refused before STS is asked."""
    device = enrolled(product)
    assert device.ask(ARNS | {"durationSeconds": 900}).status == 201
    assert device.ask(ARNS | {"durationSeconds": 3600}).status == 201
    assert refused(device.ask(ARNS | {"durationSeconds": 3601})) == INVALID
    assert [each.seconds for each in assumed] == [900, 3600]


@pytest.mark.parametrize(
    "members",
    [
        "",
        "[]",
        "{",
        '{"a":' * 2_000,
        "\ud800",
        {},
        ARNS | {"durationSeconds": 899},
        ARNS | {"durationSeconds": 43_201},
        ARNS | {"durationSeconds": "900"},
        ARNS | {"durationSeconds": True},
        ARNS | {"roleArn": "telemetry"},
        ARNS | {"roleArn": None},
        ARNS | {"roleArn": ROLE + "x" * 1_011},
        ARNS | {"profileArn": ARNS["trustAnchorArn"]},
        ARNS | {"trustAnchorArn": ARNS["profileArn"]},
        ARNS | {"roleSessionName": "other"},
        ARNS | {"policy": "{}"},
        ARNS | {"instanceProperties": {"a": 1}},
        ARNS | {"sessionName": "x" * 16_384},
    ],
)
def test_malformed_members_are_refused(product: Product, assumed: list[SessionRequest], members: Any) -> None:
    """A missing, unknown or ill-formed member gets AWS's ValidationException, and nothing is spent."""
    device = enrolled(product)
    headers, body, query = device.sign(members if members != "\ud800" else "{}")
    if members == "\ud800":
        body = members
    answer = device.send(headers, body, query)
    assert refused(answer) == (DENIED if members == "\ud800" else INVALID)
    assert assumed == []
    assert spent(product) == []


def test_a_client_may_send_what_is_not_used(product: Product) -> None:
    """The members that only AWS's own service uses are accepted."""
    more = {"sessionName": "old", "instanceProperties": {"name": "value"}}
    assert enrolled(product).ask(ARNS | more).status == 201


def test_arns_may_be_in_the_query(product: Product) -> None:
    """AWS's helper program writes the ARNs into the query. Two values of one name are refused."""
    device = enrolled(product)
    query = urlencode(ARNS)
    assert device.ask({"durationSeconds": 900}, query=query).status == 201
    assert device.ask("", query=query).status == 201
    assert device.ask(ARNS, query=query).status == 201
    assert refused(device.ask(ARNS | {"roleArn": f"{ROLE}x"}, query=query)) == INVALID
    assert refused(device.ask({}, query=f"{query}&{urlencode({'roleArn': f'{ROLE}x'})}")) == INVALID
    assert refused(device.ask(ARNS, query="durationSeconds=900")) == INVALID


def test_only_fleet_roles_are_assumed(product: Product, assumed: list[SessionRequest]) -> None:
    """A role that is no fleet role of the stack does not exist here, even if the account has it."""
    device = enrolled(product)
    for role in (f"{ROLE}x", ROLE.replace("telemetry", "other"), "arn:aws:iam::123456789012:role/Admin"):
        answer = device.ask(ARNS | {"roleArn": role})
        assert refused(answer) == (404, "ResourceNotFoundException")
    assert assumed == []


def test_only_a_device_learns_which_roles_exist(product: Product) -> None:
    """A caller without an operational certificate gets the same answer for each role."""
    key = factories.ec_key()
    stranger = Asking(product, key, factories.authority().issue("gw-1", key))
    answers = [stranger.ask(ARNS | {"roleArn": role}) for role in (ROLE, f"{ROLE}x")]
    assert refused(answers[0]) == DENIED
    assert answers[0] == answers[1]


@pytest.mark.parametrize("again", [dict, signed_requests.twin], ids=["same", "twin"])
def test_a_request_is_taken_once(
    product: Product, assumed: list[SessionRequest], again: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    """A request that is sent again is refused, also with the other form of its signature."""
    device = enrolled(product)
    headers, body, query = device.sign()
    assert device.send(headers, body, query).status == 201
    assert refused(device.send(again(headers), body, query)) == DENIED
    assert len(assumed) == 1


def test_a_request_is_spent_until_it_is_stale(product: Product) -> None:
    """The row of a spent request ends only after every process refuses the request as stale."""
    now = utc_now().replace(microsecond=0)
    product.lambdas.clock = lambda: now
    assert enrolled(product).ask(age=-300).status == 201
    (row,) = spent(product)
    assert from_epoch(int(row["expiresAt"]["N"])) > now + timedelta(seconds=600)


@pytest.mark.parametrize("age", [-300, 300])
def test_a_request_is_fresh_for_five_minutes(product: Product, age: int) -> None:
    """A request is taken until five minutes from its time in either direction, and not a second longer."""
    now = utc_now().replace(microsecond=0)
    product.lambdas.clock = lambda: now
    device = enrolled(product)
    assert device.ask(age=age).status == 201
    before = product.rows()
    assert refused(device.ask(age=age + (1 if age > 0 else -1))) == DENIED
    assert product.rows() == before


def test_a_request_for_another_host_is_refused(product: Product) -> None:
    """A request that was signed for another host, AWS's for example, is not taken here."""
    device = enrolled(product)
    assert refused(device.ask(host="rolesanywhere.eu-central-1.amazonaws.com")) == DENIED
    assert device.ask(host=f"{HOST}:443").status == 201
    assert device.ask(ARNS | {"durationSeconds": 900}, host=HOST.upper()).status == 201


def test_a_changed_request_is_refused(product: Product) -> None:
    """A request whose body was changed after the signature is refused, and nothing is spent."""
    device = enrolled(product)
    headers, _, query = device.sign(ARNS | {"durationSeconds": 900})
    assert refused(device.send(headers, json.dumps(ARNS), query)) == DENIED
    assert spent(product) == []


def test_without_an_operational_certificate_nothing_is_written(product: Product) -> None:
    """A bootstrap certificate, a stranger's or another's, and no signature are refused, and write no row."""
    device, key = enrolled(product), factories.ec_key()
    before = product.rows()
    for leaf, owner in (
        (product.bootstrap("gw-1"), product.boards["gw-1"]),
        (factories.authority().issue("gw-1", key), key),
        (device.leaf, key),
    ):
        assert refused(Asking(product, owner, leaf).ask()) == DENIED
    assert refused(device.send({}, json.dumps(ARNS), "")) == DENIED
    assert product.rows() == before


def test_a_closed_way_vends_nothing(product: Product, assumed: list[SessionRequest]) -> None:
    """A group that no longer has the way refuses its devices, and nothing is spent."""
    device = enrolled(product)
    product.publish(groups={"gateways": group("gateways", product.factory)})
    before = product.rows()
    assert refused(device.ask()) == DENIED
    assert (product.rows(), assumed) == (before, [])


def test_a_group_that_demands_a_nonce_is_refused(product: Product, assumed: list[SessionRequest]) -> None:
    """A request has a time and no nonce, so a group with `proof = "nonce"` does not take it."""
    device = enrolled(product)
    ways = (*DEFAULT, "roles-anywhere")
    product.publish(groups={"gateways": group("gateways", product.factory, ways=ways, proof="nonce")})
    answer = device.ask()
    assert refused(answer) == DENIED
    assert "nonce" in answer.body["message"]
    assert assumed == []


def test_a_revoked_device_gets_nothing(product: Product, assumed: list[SessionRequest]) -> None:
    """A revoked device gets no session from the next request on."""
    device = enrolled(product)
    assert device.ask().status == 201
    product.records.revoke(DeviceId("gw-1"), EPOCH)
    assert refused(device.ask(ARNS | {"durationSeconds": 900})) == DENIED
    assert len(assumed) == 1


def test_no_grant_means_no_session(product: Product, assumed: list[SessionRequest]) -> None:
    """A device that holds no grant gets no session."""
    device = enrolled(product)
    product.publish(rules="")
    assert refused(device.ask()) == DENIED
    assert assumed == []


def test_a_long_answer_is_refused(product: Product) -> None:
    """An answer above the role alias's `max_answer` is refused."""
    device = enrolled(product)
    product.publish(role_aliases={"telemetry": RoleAlias("telemetry", 3600, max_answer=512)})
    assert refused(device.ask()) == INVALID


@pytest.mark.parametrize(
    ("client", "method", "code", "status", "kind"),
    [
        ("sts", "assume_role", "Throttling", 429, "ThrottlingException"),
        ("sts", "assume_role", "AccessDenied", *DENIED),
        ("dynamodb", "get_item", "InternalServerError", 503, "ServiceUnavailableException"),
    ],
)
def test_faults_of_aws_have_aws_names(
    product: Product,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    method: str,
    code: str,
    status: int,
    kind: str,
) -> None:
    """A fault behind the service is told with AWS's name for it, and with a time if it passes."""

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": ""}}, method)

    device = enrolled(product)
    device.ask()
    monkeypatch.setattr(getattr(clients, client)(), method, fail)
    answer = device.ask(ARNS | {"durationSeconds": 900})
    assert refused(answer) == (status, kind)
    assert ("retry-after" in answer.headers) == (status != 403)


def test_a_deployment_without_the_way_has_no_such_route(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a group that has the way, the path is unknown to the Lambda function."""
    device = enrolled(product)
    file = tmp_path / "fleet.json"
    assert file.exists()
    file.write_text(replace(product.fleet, groups={"gateways": group("gateways", product.factory)}).to_json())
    product.lambdas.restart_readers()
    headers, body, _ = device.sign()
    answer = product.call("POST", "/sessions", None, body, headers)
    assert (answer.status, answer.body["code"]) == (404, "route-not-found")
