"""Failed requests and messages are handled again by `failures.redrive`, and listed by `failures.show`."""

from __future__ import annotations

import base64
import json
from typing import Any

import boto3
import pytest

from firstboot.aws import clients
from firstboot.aws.sqs import dead_letters
from firstboot.domain import topics
from firstboot.domain.dead_letters import Failed, Lost
from firstboot.operate.failures import understood
from tests.aws.invoked import Run
from tests.aws.mqtt import event, published
from tests.aws.product import Product

ARN = "arn:aws:lambda:us-east-1:123456789012:function:ExchangeMqtt"
EVENT = event("gw-1", "a" * 64, "firstboot/gw-1/certificates/commit", b"{}")


def failed() -> dict[str, Any]:
    """Return the dead letter that Lambda writes for a failed asynchronous invocation."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-22T10:39:39.000Z",
        "requestContext": {
            "requestId": "r",
            "functionArn": f"{ARN}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 2,
        },
        "requestPayload": EVENT,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "division by zero"},
    }


def lost(topic: str = "firstboot/gw-1/certificates/request", client_id: str = "gw-1") -> dict[str, Any]:
    """Return the dead letter that AWS IoT writes for a request that it could not deliver."""
    return {
        "ruleName": "CertificatesRequest",
        "topic": topic,
        "cloudwatchTraceId": "7e146a2c-95b5-6caf-98b9-50e3969734c7",
        "clientId": client_id,
        "base64OriginalPayload": base64.b64encode(b"{}").decode(),
        "failures": [{"failedAction": "LambdaAction", "failedResource": ARN, "errorMessage": "throttled"}],
    }


def put(queue: str, *bodies: object) -> None:
    """Put letters into a queue."""
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName=queue)["QueueUrl"]
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body if isinstance(body, str) else json.dumps(body))


def test_letters_are_understood() -> None:
    """Each of the two kinds of letter is understood, and any other text is not."""
    assert understood(json.dumps(failed())) == Failed(ARN, EVENT)
    assert understood(json.dumps(lost())) == Lost(topics.CERTIFICATES, "gw-1")
    for odd in ("", "{", "[" * 100_000, "[]", "{}", json.dumps(lost(client_id="gw-2"))):
        assert understood(odd) is None


def test_a_client_whose_request_was_lost_asks_again(product: Product) -> None:
    """The client of a lost request is asked to repeat it, as the letter does not name the certificate."""
    put("requests", lost(), lost("firstboot/gw-2/credentials/request", "gw-2"))
    assert product.operate("failures.show")["result"]["failures"]["requests"] == 2
    assert product.operate("failures.redrive", failures="requests")["result"] == {"redriven": 2}
    assert {(topic, problem["action"]) for topic, problem in published()} == {
        ("firstboot/gw-1/certificates/rejected", "retry"),
        ("firstboot/gw-2/credentials/rejected", "retry"),
    }
    assert product.operate("failures.redrive", failures="requests")["result"] == {"redriven": 0}


def test_a_failed_request_goes_to_its_function_again(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed request is invoked again asynchronously, with the event that AWS IoT delivered."""
    invoked: list[dict[str, Any]] = []

    class Functions:
        def invoke(self, **arguments: Any) -> None:
            invoked.append(arguments)

    put("requests", failed())
    with monkeypatch.context() as patched:
        patched.setattr("firstboot.aws.clients.lambda_", Functions)
        assert product.operate("failures.redrive", failures="requests")["result"] == {"redriven": 1}
    (call,) = invoked
    assert (call["FunctionName"], call["InvocationType"]) == (ARN, "Event")
    assert json.loads(call["Payload"]) == EVENT
    assert not published()


def test_a_failed_message_goes_back_to_its_queue(product: Product) -> None:
    """A failed message goes back to its queue unchanged."""
    put("dead", {"deviceId": "gw-1"})
    assert product.operate("failures.redrive", failures="registrations")["result"] == {"redriven": 1}
    url = boto3.client("sqs").get_queue_url(QueueName="work")["QueueUrl"]
    (message,) = boto3.client("sqs").receive_message(QueueUrl=url)["Messages"]
    assert json.loads(message["Body"]) == {"deviceId": "gw-1"}


def test_a_letter_is_kept_until_it_was_handled(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter stays in the queue until it was handled, even if the client cannot be notified at first."""
    monkeypatch.setattr(dead_letters, "_HELD_SECONDS", 0)
    put("requests", lost())
    with monkeypatch.context() as patched:
        patched.setattr(clients.iot_data(), "publish", lambda **_: 1 / 0)
        assert "problem" in product.operate("failures.redrive", failures="requests")
    assert product.operate("failures.redrive", failures="requests")["result"] == {"redriven": 1}


@pytest.mark.parametrize("name", [None, "", "dead", 7, "https://example.com/queue"])
def test_only_our_own_queues(product: Product, name: object) -> None:
    """The call accepts the name of a kind of failure, and never that of a queue."""
    problem = product.operate("failures.redrive", failures=name)["problem"]
    assert problem["code"] == "malformed-request"


def test_the_console_redrives_all_that_waited(product: Product, run: Run) -> None:
    """One command of the console handles all letters that were waiting, in any number of batches."""
    put("dead", *({"deviceId": f"gw-{n}"} for n in range(23)))
    shown = json.loads(run("failures", "show", "--json").stdout)
    assert shown == {"failures": {"requests": 0, "registrations": 23}}
    done = run("failures", "redrive", "registrations", "--json")
    assert json.loads(done.stdout) == {"failures": "registrations", "redriven": 23}
    assert "registrations    0" in run("failures", "show").stdout
    assert "23 registrations" not in run("failures", "redrive", "registrations").stdout


def test_the_console_refuses_an_unknown_kind(product: Product, run: Run) -> None:
    """The console refuses an unknown kind of failure."""
    done = run("failures", "redrive", "requsts")
    assert (done.exit_code, "malformed-request" in done.stderr) == (1, True)
