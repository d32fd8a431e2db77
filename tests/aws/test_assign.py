"""Test `assign` as a Lambda function over moto, with AWS IoT's events and an issuer on loopback."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from firstboot.assign.connect import REFRESH, Connect
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Attribute
from firstboot.domain.names import PUBLISHED_FLEET_KEY, DeviceId
from tests.aws.product import CONTEXT, Product
from tests.fleets import TELEMETRY, group
from tests.issuers import AUDIENCE, Issuer, Web, serving

REFUSED = {"isAuthenticated": False}
PREFIX = "arn:{partition}:iot:{region}:{account}"
MQTT = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{PREFIX}:client/{{deviceId}}"},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{PREFIX}:topic/{{deviceId}}/*"},
    ],
}
RULES = """
@id("mqtt") permit (principal, action == Action::"hold", resource == Grant::"mqtt")
when { context.roleAlias == "" && !(context has sourceIp) } unless { principal.quarantined };
@id("telemetry") permit (principal, action == Action::"hold", resource == Grant::"telemetry");
"""


@dataclass
class Broker:
    """The Lambda function, the issuer and one enrolled device, gw-1."""

    product: Product
    issuer: Issuer
    web: Web
    logs: io.StringIO

    def token(self, algorithm: str = "ES256", **changes: Any) -> str:
        """Return a valid new token for gw-1, with `changes`."""
        return self.issuer.token(algorithm, now=datetime.now(UTC), **changes)

    def ask(self, token: str, client_id: str = "gw-1") -> dict[str, Any]:
        """Return the answer to a connection with the token as its password."""
        password = base64.b64encode(token.encode()).decode()
        return self.invoke(
            {
                "signatureVerified": False,
                "protocols": ["tls", "mqtt"],
                "protocolData": {
                    "tls": {"serverName": "broker"},
                    "mqtt": {"username": "u", "password": password, "clientId": client_id},
                },
                "connectionMetadata": {"id": "connection-1"},
            }
        )

    def invoke(self, event: Any) -> dict[str, Any]:
        """Return the function's answer, converted through JSON as Lambda does."""
        answer: dict[str, Any] = json.loads(json.dumps(self.product.lambdas.authorize(event, CONTEXT)))
        return answer

    def code(self) -> str:
        """Return the code of the last refusal in the log."""
        lines = [json.loads(line) for line in self.logs.getvalue().splitlines()]
        return str([line["code"] for line in lines if line["message"] == "refused"][-1])

    def set(self, **attributes: Attribute | None) -> None:
        """Set the device's attributes as an operator does."""
        self.product.records.set_attributes(DeviceId("gw-1"), dict(attributes), EPOCH)

    def publish(self, **changes: Any) -> None:
        """Publish a fleet that differs from the deployed one, and restart the function for it."""
        newer = replace(self.product.fleet, **{"base": self.product.fleet.hash} | changes)
        boto3.client("s3").put_object(
            Bucket=self.product.bucket, Key=PUBLISHED_FLEET_KEY, Body=newer.to_json()
        )
        self.product.lambdas.restart()


@pytest.fixture
def broker(
    product: Product, tmp_path: Path, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Broker]:
    """Yield the product with a fleet whose gateways connect with tokens."""
    issuer = Issuer()
    with serving(tmp_path, issuer.document()) as web:
        issuer.jwks = web.url
        gateways = group("gateways", product.factory, mqtt="token")
        product.fleet = replace(
            product.fleet,
            groups={"gateways": gateways},
            grants={"mqtt": MQTT, "telemetry": TELEMETRY},
            rules=RULES,
            issuers={"acme": issuer.entry()},
        )
        (tmp_path / "deployed.json").write_text(product.fleet.to_json())
        monkeypatch.setattr(aws_fleet, "_DEPLOYED", tmp_path / "deployed.json")
        monkeypatch.setenv("FIRSTBOOT_AUDIENCE", AUDIENCE)
        monkeypatch.setenv("SSL_CERT_FILE", str(web.ca))
        product.lambdas.restart()
        assert product.enroll(product.bootstrap("gw-1")).status == 201
        yield Broker(product, issuer, web, logs)


def metrics_of(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the names of the metrics that the function wrote."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    return {metric["Name"] for line in lines for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
def test_a_token_connects_its_device(broker: Broker, algorithm: str) -> None:
    """A token gives its device its own rights at AWS IoT, under its literal id, for the token's lifetime."""
    answer = broker.ask(broker.token(algorithm))
    assert 3590 <= answer.pop("disconnectAfterInSeconds") <= 3600
    arn = "arn:aws:iot:us-east-1:123456789012"
    assert answer == {
        "isAuthenticated": True,
        "principalId": "TM53S2MI",
        "refreshAfterInSeconds": REFRESH,
        "policyDocuments": [
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{arn}:topic/gw-1/*"},
                    {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{arn}:client/gw-1"},
                ],
            }
        ],
    }


def test_the_token_of_aws_iot_counts_before_the_password(broker: Broker) -> None:
    """The token that AWS IoT took from the connection counts before the password."""
    mqtt = {"clientId": "gw-1", "password": "bm90aGluZw=="}
    event = {"token": broker.token(), "signatureVerified": False, "protocolData": {"mqtt": mqtt}}
    assert broker.invoke(event)["isAuthenticated"]


@pytest.mark.parametrize(
    ("seconds", "disconnect", "refresh"),
    [(330, 300, 300), (1400, 1390, 1390), (1530, 1500, REFRESH), (90_000, 86_400, REFRESH)],
)
def test_a_connection_ends_with_its_token(
    broker: Broker, seconds: int, disconnect: int, refresh: int
) -> None:
    """A connection ends with its token and within a day, and no refresh leaves less than 300 seconds."""
    answer = broker.ask(broker.token(exp=int(datetime.now(UTC).timestamp()) + seconds))
    assert disconnect <= answer["disconnectAfterInSeconds"] <= min(seconds, 86_400)
    assert min(refresh, REFRESH) <= answer["refreshAfterInSeconds"] <= answer["disconnectAfterInSeconds"]
    left = answer["disconnectAfterInSeconds"] - answer["refreshAfterInSeconds"]
    assert left == 0 or left >= 300


def test_a_key_is_fetched_once(broker: Broker) -> None:
    """A process fetches the issuer's keys once for many devices."""
    for _ in range(3):
        assert broker.ask(broker.token())["isAuthenticated"]
    assert broker.web.asked == ["/jwks"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": 1_000_000_000}, "token-expired"),
        ({"nbf": 4_000_000_000, "exp": 4_100_000_000}, "token-not-yet-valid"),
        ({"aud": "urn:firstboot:us-east-1:123456789012:Other"}, "token-audience-wrong"),
        ({"iss": "https://evil.example.com"}, "token-untrusted"),
        ({"header": {"kid": "other"}}, "token-untrusted"),
        ({"header": {"kid": None}}, "token-malformed"),
        ({"header": {"typ": "firstboot-proof+jwt"}}, "token-malformed"),
        ({"header": {"jku": "https://evil.example.com"}}, "token-malformed"),
        ({"sub": "gw-2"}, "token-subject-mismatch"),
        ({"sub": "gw-1 "}, "token-subject-mismatch"),
        ({"sub": "GW-1"}, "token-subject-mismatch"),
    ],
)
def test_a_faulty_token_is_refused(
    broker: Broker, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], code: str
) -> None:
    """A token with a fault is refused; the log has the reason and a metric counts it."""
    assert broker.ask(broker.token(**changes)) == REFUSED
    assert broker.code() == code
    name = "".join(word.capitalize() for word in code.split("-"))
    assert metrics_of(capsys) == {"Request", name}


def test_a_forged_token_is_refused(broker: Broker) -> None:
    """A token is refused if it is unsigned, or signed by HMAC with the issuer's public key as the secret."""
    for text in (
        broker.issuer.forged("none"),
        broker.issuer.forged("HS256", broker.issuer.public_pem("ec")),
        broker.issuer.forged("HS256", broker.issuer.public_pem("rsa"), kid="rsa"),
    ):
        assert broker.ask(text) == REFUSED
        assert broker.code() == "token-untrusted"


def test_a_token_too_short_is_refused(broker: Broker) -> None:
    """A token that ends in less than AWS IoT's minimum of 300 seconds for a connection is refused."""
    assert broker.ask(broker.token(exp=int(datetime.now(UTC).timestamp()) + 299)) == REFUSED
    assert broker.code() == "token-ends-too-soon"


def test_a_device_connects_as_itself(broker: Broker) -> None:
    """A device can connect only under its own client id, and only if that is a valid device id."""
    assert broker.ask(broker.token(), client_id="gw-2") == REFUSED
    assert broker.code() == "token-subject-mismatch"
    assert broker.ask(broker.token(sub="boot-gw-1"), client_id="boot-gw-1") == REFUSED
    assert broker.code() == "device-id-invalid"
    assert broker.ask(broker.token(sub="*"), client_id="*") == REFUSED
    assert broker.code() == "device-id-invalid"


def test_an_unknown_device_is_refused(broker: Broker) -> None:
    """A token for a device without a record is refused."""
    assert broker.ask(broker.token(sub="gw-2"), client_id="gw-2") == REFUSED
    assert broker.code() == "token-device-unknown"


def test_a_revoked_device_is_refused(broker: Broker) -> None:
    """A revoked device is refused at its next connection or refresh, although its token is valid."""
    token = broker.token()
    assert broker.ask(token)["isAuthenticated"]
    assert "result" in broker.product.operate("devices.revoke", deviceId="gw-1")
    assert broker.ask(token) == REFUSED
    assert broker.code() == "device-revoked"


def test_an_issuer_serves_its_groups_only(broker: Broker) -> None:
    """An issuer's token is refused for a device of a group that the issuer does not serve."""
    fleet = broker.product.fleet
    broker.publish(
        groups=fleet.groups | {"other": replace(fleet.groups["gateways"], name="other")},
        issuers={"acme": broker.issuer.entry("other")},
    )
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "token-group-refused"


def test_without_a_grant_there_is_no_connection(broker: Broker) -> None:
    """A device without a grant about AWS IoT cannot connect."""
    broker.set(quarantined=True)
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "no-grant"


def test_more_policies_than_fit_are_refused(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Policies that do not fit the answer are refused and counted, and none is cut."""
    long = {
        "Effect": "Allow",
        "Action": "iot:Publish",
        "Resource": [f"{PREFIX}:topic/{{deviceId}}/{number}/{'x' * 200}" for number in range(6)],
    }
    grants = {
        f"g{n}": {
            "Version": "2012-10-17",
            "Statement": [long | {"Resource": [*long["Resource"], f"{PREFIX}:topic/{n}"]}],
        }
        for n in range(11)
    }
    every = '@id("every") permit (principal, action, resource);'
    broker.publish(grants=grants, rules=every)
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "policies-too-large"
    assert "PoliciesTooLarge" in metrics_of(capsys)
    broker.publish(grants=dict(list(grants.items())[:10]), rules=every)
    assert len(broker.ask(broker.token())["policyDocuments"]) == 10


def test_an_issuer_that_does_not_answer_admits_no_device(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """While an issuer does not answer, its devices are refused, and a metric of its own counts that."""
    broker.web.status = 500
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "issuer-unavailable"
    assert metrics_of(capsys) == {"Request", "IssuerUnavailable", "KeysNotFetched"}


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({}, "malformed-request"),
        (None, "malformed-request"),
        ({"protocolData": {"http": {"headers": {}}}}, "malformed-request"),
        ({"protocolData": {"mqtt": {"clientId": "gw-1"}}}, "token-missing"),
    ],
)
def test_an_event_without_a_token_is_refused(broker: Broker, event: Any, code: str) -> None:
    """An event without a client id or a token is refused."""
    assert broker.invoke(event) == REFUSED
    assert broker.code() == code


def test_a_warm_process_takes_up_a_newer_fleet(broker: Broker) -> None:
    """A warm process refuses a device within the refresh time after its rule was removed."""
    start = datetime.now(UTC)
    seen = []
    for seconds in (0, 59, 60):
        broker.product.lambdas.clock = lambda seconds=seconds: start + timedelta(seconds=seconds)  # type: ignore[misc]
        seen.append(broker.ask(broker.token())["isAuthenticated"])
        if seconds == 0:
            broker.product.publish_to_warm(rules="")
    assert seen == [True, True, False]


def test_without_the_device_records_no_device_connects(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device whose record cannot be read is refused, because it may be revoked."""
    monkeypatch.setenv("FIRSTBOOT_TABLE", "gone")
    broker.product.lambdas.restart()
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "unavailable"


def test_an_unforeseen_error_is_a_refusal(
    broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error is answered with a refusal, logged, and counted by a metric with an alarm."""

    def fail(*_: Any) -> None:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(Connect, "__call__", fail)
    assert broker.ask(broker.token()) == REFUSED
    assert "not foreseen" in broker.logs.getvalue()
    assert metrics_of(capsys) == {"Request", "InternalError"}


def test_the_log_has_no_token(broker: Broker) -> None:
    """The log has no part of a token, valid or not."""
    good, bad = broker.token(), broker.token(aud="other")
    broker.ask(good)
    broker.ask(bad)
    broker.ask(good + "x")
    written = broker.logs.getvalue()
    assert '"deviceId":"gw-1"' in written
    assert '"connectionId":"connection-1"' in written
    for part in (*good.split(".")[1:], *bad.split(".")[1:]):
        assert part not in written


def test_a_new_rule_decides(broker: Broker) -> None:
    """The published rules decide, and not the deployed ones."""
    assert broker.ask(broker.token())["isAuthenticated"]
    broker.publish(rules="")
    assert broker.ask(broker.token()) == REFUSED
    assert broker.code() == "no-grant"


def test_a_renamed_group_keeps_its_issuer(broker: Broker) -> None:
    """A device that is recorded under its group's former name connects with a token of the group's issuer."""
    hubs = group("hubs", broker.product.factory, mqtt="token", formerly=("gateways",))
    issuer = broker.product.fleet.issuers["acme"]
    broker.publish(groups={"hubs": hubs}, issuers={"acme": replace(issuer, groups=("hubs",))})
    assert broker.ask(broker.token())["isAuthenticated"]
    broker.publish(
        groups={"hubs": replace(hubs, formerly=())}, issuers={"acme": replace(issuer, groups=("hubs",))}
    )
    assert broker.ask(broker.token()) == REFUSED
