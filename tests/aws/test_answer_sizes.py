"""Test answers with credentials of every size, over moto. STS's answers are replaced at the wire."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from firstboot.aws import clients
from firstboot.domain import topics
from firstboot.domain.fleet import RoleAlias
from tests import factories
from tests.aws.mqtt import Client, published
from tests.aws.product import Answer, Product
from tests.aws.test_mqtt import own

PATH = "/role-aliases/telemetry/credentials"
AWSCRT = "aws-sdk-crt/x509-credentials-provider"
BESIDE = 169
"""Bytes of an answer beside the session token."""
TIME = len(',"time":"2026-11-22T10:39:39Z"')
"""Bytes that an answer over MQTT has beside that."""
LONGEST = 4_096
"""Bytes of STS's longest session token."""
DETAIL = (
    "The answer with the credentials has 3,169 bytes, and the client takes 2,048: give the device fewer or "
    "smaller grants under this role alias"
)
REFUSED = "The credentials are too large for this client: give the device fewer or smaller grants"


class _Raw(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        """Return the body in one part, as urllib3's responses have it."""
        yield self.read()


class Sts:
    """An STS whose answers a test decides. They replace moto's below botocore's parser."""

    def __init__(self) -> None:
        self._text = ""
        clients.sts().meta.events.register_first("before-send.sts.AssumeRole", self._answer)

    def say(self, length: int, **sizes: int) -> str:
        """Answer with a token of `length` characters and these sizes from now on. Return the token."""
        token = "t" * length
        credentials = {
            "AccessKeyId": "ASIA" + "A" * 16,
            "SecretAccessKey": "s" * 40,
            "SessionToken": token,
            "Expiration": "2027-01-15T08:00:00Z",
        }
        self._text = (
            '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
            f"<Credentials>{_elements(credentials)}</Credentials>{_elements(sizes)}"
            "</AssumeRoleResult></AssumeRoleResponse>"
        )
        return token

    def _answer(self, request: AWSPreparedRequest, **_: object) -> Any:
        return AWSResponse(request.url, 200, HTTPHeaders(), _Raw(self._text.encode()))


def _elements(members: Mapping[str, object]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in members.items())


@pytest.fixture
def sts(product: Product) -> Sts:
    """Return the STS of the product."""
    return Sts()


def ask(product: Product, leaf: Any, user_agent: str = "curl/8.5.0") -> Answer:
    """Ask for credentials on the mTLS host."""
    return product.call("GET", PATH, leaf, headers={"user-agent": user_agent})


def bound(product: Product, max_answer: int) -> None:
    """Give the role alias a longest answer, by a published fleet."""
    product.publish(role_aliases={"telemetry": RoleAlias("telemetry", 3_600, max_answer)})


def metrics(text: str) -> dict[str, tuple[float, str]]:
    """Return the metrics of `vend`, with values and units. Each has one dimension, `service`."""
    found = {}
    for line in [json.loads(line) for line in text.splitlines() if '"CloudWatchMetrics"' in line]:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["service"]]
        for metric in directive["Metrics"] if line["service"] == "vend" else ():
            (value,) = line[metric["Name"]]
            found[metric["Name"]] = (value, metric["Unit"])
    return found


def test_a_client_without_a_limit_gets_every_token(product: Product, sts: Sts) -> None:
    """A device gets a token of any length that STS makes, over HTTPS, with a proof and over MQTT."""
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    client = Client(product, "gw-1", leaf, key)
    for length in (*range(400, LONGEST, 231), 1_878, 1_879, 1_880, LONGEST):
        token = sts.say(length)
        answers = [ask(product, leaf), product.prove("GET", PATH, key, leaf)]
        assert [answer.status for answer in answers] == [200, 200], length
        bodies = [*(answer.body for answer in answers), client.ask(topics.CREDENTIALS, roleAlias="telemetry")]
        assert [body["credentials"]["sessionToken"] for body in bodies] == [token] * 3
        assert len(json.dumps(answers[0].body, separators=(",", ":"))) == BESIDE + length


@pytest.mark.parametrize(("size", "status"), [(2_047, 200), (2_048, 200), (2_049, 400), (4_265, 400)])
def test_awscrt_gets_what_it_reads(product: Product, sts: Sts, size: int, status: int) -> None:
    """A client with awscrt gets answers of 2,048 bytes, and for a longer one what must change."""
    leaf = product.identity("gw-1")
    sts.say(size - BESIDE)
    answer = ask(product, leaf, AWSCRT)
    assert answer.status == status
    if status == 400:
        assert answer.headers["x-amzn-errortype"] == "InvalidRequestException"
        assert answer.body == {"message": REFUSED}


def test_a_refusal_for_its_size_is_logged_and_counted(
    product: Product, sts: Sts, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the sizes and what to do, and not the token; a metric counts the refusal."""
    leaf = product.identity("gw-1")
    token = sts.say(3_000)
    assert ask(product, leaf, AWSCRT).status == 400
    (line,) = [json.loads(line) for line in logs.getvalue().splitlines() if "answer-too-large" in line]
    assert (line["deviceId"], line["reason"]) == (
        "gw-1",
        DETAIL,
    )
    assert token not in logs.getvalue()
    written = metrics(capsys.readouterr().out)
    assert written["AnswerTooLarge"] == (1, "Count")
    assert "CredentialsVended" not in written


@pytest.mark.parametrize("size", [512, 1_500, 3_000])
def test_a_role_alias_bounds_its_answers_over_https(product: Product, sts: Sts, size: int) -> None:
    """Under a role alias with `max_answer` each client gets answers of that size and none larger."""
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    bound(product, size)
    sts.say(size - BESIDE)
    assert (ask(product, leaf).status, product.prove("GET", PATH, key, leaf).status) == (200, 200)
    sts.say(size - BESIDE + 1)
    for answer in (ask(product, leaf), product.prove("GET", PATH, key, leaf)):
        assert (answer.status, answer.body) == (400, {"message": REFUSED})


def test_the_smaller_limit_holds(product: Product, sts: Sts) -> None:
    """The limit of awscrt holds under a larger `max_answer`, and a smaller `max_answer` holds for awscrt."""
    leaf = product.identity("gw-1")
    sts.say(2_049 - BESIDE)
    bound(product, 4_096)
    assert (ask(product, leaf).status, ask(product, leaf, AWSCRT).status) == (200, 400)
    sts.say(2_048 - BESIDE)
    assert ask(product, leaf, AWSCRT).status == 200
    bound(product, 2_047)
    product.lambdas.restart()
    assert ask(product, leaf, AWSCRT).status == 400


def test_a_role_alias_bounds_its_answers_over_mqtt(product: Product, sts: Sts) -> None:
    """Over MQTT `max_answer` bounds the whole payload without the client's token."""
    device = own(product, Client(product, "gw-1", product.bootstrap("gw-1")))
    bound(product, 1_500)
    sts.say(1_500 - BESIDE - TIME)
    answer = device.ask(topics.CREDENTIALS, roleAlias="telemetry")
    assert len(json.dumps(answer, separators=(",", ":"))) == 1_500
    assert device.ask(topics.CREDENTIALS, roleAlias="telemetry", clientToken="t" * 64)
    sts.say(1_501 - BESIDE - TIME)
    assert device.refused(topics.CREDENTIALS, {"roleAlias": "telemetry"}) == "answer-too-large"
    topic, problem = published()[-1]
    assert (topic, problem["status"], problem["action"]) == (
        "firstboot/gw-1/credentials/rejected",
        400,
        "stop",
    )
    assert problem["detail"].startswith(
        "The answer with the credentials has 1,501 bytes, and the client takes"
    )


def test_an_answer_over_mqtt_is_far_below_the_brokers_limit(product: Product, sts: Sts) -> None:
    """The longest answer has a thirtieth of AWS IoT's payload of 131,072 bytes (AWS IoT Core quotas)."""
    device = own(product, Client(product, "gw-1", product.bootstrap("gw-1")))
    sts.say(LONGEST)
    answer = device.ask(topics.CREDENTIALS, roleAlias="telemetry", clientToken="t" * 64)
    assert len(json.dumps(answer, separators=(",", ":"))) <= 4_608 < 131_072 / 28


def test_the_sizes_that_sts_says_become_metrics(
    product: Product, sts: Sts, capsys: pytest.CaptureFixture[str]
) -> None:
    """STS's sizes of a session become metrics, of which `service` is the one dimension."""
    leaf = product.identity("gw-1")
    sts.say(1_024, SessionTokenSize=1_024, SessionTokenUtilization=25, PackedPolicySize=41)
    capsys.readouterr()
    assert ask(product, leaf).status == 200
    assert metrics(capsys.readouterr().out) == {
        "Request": (1, "Count"),
        "CredentialsVended": (1, "Count"),
        "SessionTokenSize": (1_024, "Bytes"),
        "SessionTokenUtilization": (25, "Percent"),
        "PackedPolicySize": (41, "Percent"),
    }


def test_an_older_answer_of_sts_has_fewer_sizes(
    product: Product, sts: Sts, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token's size and percent are computed if STS does not say them; the packed size is left out."""
    leaf = product.identity("gw-1")
    sts.say(3_277)
    capsys.readouterr()
    assert ask(product, leaf).status == 200
    written = metrics(capsys.readouterr().out)
    assert (written["SessionTokenSize"], written["SessionTokenUtilization"]) == (
        (3_277, "Bytes"),
        (81, "Percent"),
    )
    assert "PackedPolicySize" not in written


@pytest.mark.parametrize(("size", "percent"), [(1_024, 50), (2_048, 100), (3_072, 150)])
def test_how_near_an_answer_is_to_its_limit_is_a_metric(
    product: Product, sts: Sts, capsys: pytest.CaptureFixture[str], size: int, percent: int
) -> None:
    """The percent that an answer has of its client's limit is a metric, also if the answer is refused."""
    leaf = product.identity("gw-1")
    sts.say(size - BESIDE)
    ask(product, leaf, AWSCRT)
    assert metrics(capsys.readouterr().out)["AnswerUtilization"] == (percent, "Percent")
