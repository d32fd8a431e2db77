"""Dead letters: shown by `failures.show`, deleted by `failures.delete`, sent again by `failures.redrive`."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ConnectionClosedError

from firstboot.aws import clients
from firstboot.domain.dead_letters import Letter
from firstboot.operate import failures
from firstboot.operate.letters import described
from firstboot.pki import chain
from tests import factories
from tests.aws.invoked import Run
from tests.aws.mqtt import event, published
from tests.aws.product import CONTEXT, Product

ARN = "arn:aws:lambda:us-east-1:123456789012:function:ExchangeMqtt"
SECRET = base64.b64encode(b'{"csr": "secret"}').decode()
EVENT = event("gw-1", "a" * 64, "firstboot/gw-1/certificates/commit", b'{"csr": "secret"}')
CONNECTED = {"clientId": "gw-1", "principalIdentifier": "a" * 64}
SENT = datetime(2026, 11, 22, 10, 39, 39, tzinfo=UTC)


def failed(payload: Any = EVENT) -> dict[str, Any]:
    """Return the dead letter that Lambda writes for a failed asynchronous invocation."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-22T10:39:39.000Z",
        "requestContext": {
            "requestId": "e4b46cbf",
            "functionArn": f"{ARN}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 2,
        },
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "secret", "errorType": "InternalError", "stackTrace": ["secret"]},
    }


def lost(topic: str = "firstboot/gw-1/certificates/request", client_id: str = "gw-1") -> dict[str, Any]:
    """Return the dead letter that AWS IoT writes for a request that it could not deliver."""
    return {
        "ruleName": "CertificatesRequest",
        "topic": topic,
        "cloudwatchTraceId": "7e146a2c-95b5-6caf-98b9-50e3969734c7",
        "clientId": client_id,
        "base64OriginalPayload": SECRET,
        "failures": [{"failedAction": "LambdaAction", "failedResource": ARN, "errorMessage": "throttled"}],
    }


def put(queue: str, *bodies: object) -> None:
    """Put letters into a queue."""
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName=queue)["QueueUrl"]
    for body in bodies:
        client.send_message(QueueUrl=url, MessageBody=body if isinstance(body, str) else json.dumps(body))


def waiting(queue: str) -> list[str]:
    """Return the bodies of up to ten messages in a queue."""
    client = boto3.client("sqs")
    url = client.get_queue_url(QueueName=queue)["QueueUrl"]
    answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return sorted(each["Body"] for each in answer.get("Messages", []))


def told(body: object) -> dict[str, Any]:
    """Return the description of a letter without its time."""
    text = body if isinstance(body, str) else json.dumps(body)
    found = described(Letter("r", text, SENT))
    assert found.pop("sentAt") == "2026-11-22T10:39:39Z"
    return found


def test_letters_are_understood() -> None:
    """A letter is described by the client, the call and the reason, or by the id that it is about."""
    request = {"clientId": "gw-1", "call": "certificates/commit", "requestId": "e4b46cbf"}
    reason = {"reason": "RetriesExhausted: InternalError"}
    assert told(failed()) == request | reason
    assert told(failed(CONNECTED)) == request | reason | {"call": "connected"}
    aged = failed() | {"requestContext": {"condition": "EventAgeExceeded"}, "responsePayload": None}
    assert told(aged)["reason"] == "EventAgeExceeded"
    assert told(lost()) == {"clientId": "gw-1", "call": "certificates/request", "reason": "throttled"}
    assert told({"deviceId": "gw-1", "since": 1}) == {"deviceId": "gw-1"}
    assert told({"certificateId": "a" * 64}) == {"certificateId": "a" * 64}


@pytest.mark.parametrize(
    "body",
    ["", "{", "[" * 100_000, "[]", "{}", '{"deviceId": {}}', '{"topic": "t"}', '{"requestPayload": {}}'],
)
def test_an_odd_letter_is_described(body: str) -> None:
    """A letter that is none of the known ones is described as such."""
    assert told(body) == {"reason": "not a letter that Firstboot knows"}


def test_odd_members_of_a_letter_are_left_out() -> None:
    """A member of another type is left out, a long text is cut, and a foreign topic is no call."""
    odd = failed({"clientId": 7, "topic": []}) | {"requestContext": {"requestId": None}, "responsePayload": 7}
    assert told(odd) == {"reason": "not a letter that Firstboot knows"}
    assert told(lost(client_id="c" * 1_000)) == {"clientId": "c" * 200, "reason": "throttled"}
    assert told(lost() | {"failures": [7]}) == {"clientId": "gw-1", "call": "certificates/request"}


def test_letters_are_shown(product: Product) -> None:
    """`failures.show` shows the letters of a queue in the order of their times, and leaves them there."""
    put("requests", failed(), lost())
    assert product.operate("failures.show")["result"]["failures"]["requests"] == 2
    shown = product.operate("failures.show", failures="requests")["result"]
    assert (shown["failures"], shown["waiting"]) == ("requests", 2)
    assert {each["call"] for each in shown["letters"]} == {"certificates/commit", "certificates/request"}
    assert abs(datetime.fromisoformat(shown["letters"][0]["sentAt"]) - datetime.now(UTC)).seconds < 60
    assert product.operate("failures.show")["result"]["failures"]["requests"] == 2


def test_nothing_secret_is_shown(product: Product) -> None:
    """No payload, no message of an exception and no stack trace is shown."""
    put("requests", failed(), lost())
    shown = json.dumps(product.operate("failures.show", failures="requests"))
    assert "secret" not in shown
    assert SECRET not in shown


def test_an_answer_shows_fifty_letters(product: Product, run: Run) -> None:
    """One answer shows fifty letters, and the console says about how many more there are."""
    put("requests", *(lost(client_id=f"gw-{n}") for n in range(63)))
    shown = run("failures", "show", "requests").stdout.splitlines()
    assert len(shown) == 51
    assert shown[-1] == "and about 13 more"


def test_shown_letters_are_soon_back(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that was shown can be deleted as soon as its few seconds are over."""
    monkeypatch.setattr(failures, "_SHOWN_SECONDS", 0)
    monkeypatch.setattr(failures, "MOST_SHOWN", 1)
    put("requests", lost())
    assert len(product.operate("failures.show", failures="requests")["result"]["letters"]) == 1
    assert product.operate("failures.delete", failures="requests")["result"] == {"deleted": 1}
    assert product.operate("failures.delete", failures="requests")["result"] == {"deleted": 0}


def test_a_letter_writes_nothing_to_the_terminal(product: Product, run: Run) -> None:
    """The console shows control characters and those of other scripts of a letter as escapes."""
    put("requests", lost(client_id="gw\x1b[2J\u202e"))
    shown = run("failures", "show", "requests").stdout
    assert r'clientId="gw\u001b[2J\u202e"' in shown
    assert shown.isascii()
    assert "\x1b" not in shown


def test_a_forged_letter_enrolls_no_device(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter with another's bootstrap certificate and `principal()` gets its writer no certificate.

    It imitates Lambda's record of a failed invocation, which any sender to the queue can write.
    """
    victim, key = product.bootstrap("gw-1"), factories.ec_key()
    asks = {"csr": factories.pem(factories.csr(key)), "bootstrap": factories.pem(victim)}
    topic = "firstboot/gw-1/certificates/request"
    forged = failed(event("gw-1", chain.fingerprint(victim), topic, json.dumps(asks).encode()))
    put("requests", forged)
    put("dead", forged)
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def called(client: Any, operation: str, arguments: Any) -> Any:
        if operation != "Invoke":
            return call(client, operation, arguments)
        product.lambdas.exchange_mqtt(json.loads(arguments["Payload"]), CONTEXT)
        return {}

    monkeypatch.setattr(BaseClient, "_make_api_call", called)
    for name in ("requests", "registrations"):
        product.operate("failures.redrive", failures=name)
    assert product.objects() == []
    assert published() == []
    assert product.operate("devices.show", deviceId="gw-1")["problem"]["code"] == "device-not-found"


def test_requests_of_devices_are_not_redriven(product: Product, run: Run) -> None:
    """Requests of devices are not redriven, the refusal says why, and they stay until they are deleted."""
    put("requests", failed(), lost())
    problem = product.operate("failures.redrive", failures="requests")["problem"]
    assert problem["code"] == "malformed-request"
    assert "nothing in a letter proves which device" in problem["detail"]
    assert "nothing in a letter proves" in run("failures", "redrive", "requests").stderr
    assert published() == []
    deleted = run("failures", "delete", "requests", "--yes", "--json")
    assert json.loads(deleted.stdout) == {"failures": "requests", "deleted": 2}
    assert waiting("requests") == []


def test_a_failed_message_goes_back_to_its_queue(product: Product) -> None:
    """A failed message goes back to its queue unchanged."""
    put("dead", {"deviceId": "gw-1"})
    redriven = product.operate("failures.redrive", failures="registrations")["result"]
    assert redriven == {"redriven": 1, "failed": 0}
    assert waiting("work") == ['{"deviceId": "gw-1"}']
    assert waiting("dead") == []


def test_one_failure_does_not_stop_the_next_message(product: Product, run: Run) -> None:
    """A message that can't be sent stays, the others are sent, and the answer counts both."""
    put("dead", *({"deviceId": f"gw-{n}"} for n in range(4)))
    send, sqs = clients.sqs().send_message, clients.sqs()

    def sent(**arguments: Any) -> Any:
        if "gw-1" in arguments["MessageBody"]:
            arguments["QueueUrl"] += "-that-is-not-there"
        return send(**arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqs, "send_message", sent)
        done = run("failures", "redrive", "registrations", "--json")
    assert json.loads(done.stdout) == {"failures": "registrations", "redriven": 3, "failed": 1}
    assert done.exit_code == 3
    assert waiting("work") == [f'{{"deviceId": "gw-{n}"}}' for n in (0, 2, 3)]
    assert product.operate("failures.show")["result"]["failures"]["registrations"] == 1


def test_a_message_is_kept_until_it_was_sent(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is deleted from the dead letters only after it was sent."""
    monkeypatch.setattr(failures, "_HANDLED_SECONDS", 0)
    put("dead", {"deviceId": "gw-1"})

    def gone(**_: Any) -> None:
        raise ConnectionClosedError(endpoint_url="https://sqs")

    with monkeypatch.context() as patched:
        patched.setattr(clients.sqs(), "send_message", gone)
        kept = product.operate("failures.redrive", failures="registrations")["result"]
    assert kept == {"redriven": 0, "failed": 1}
    assert product.operate("failures.redrive", failures="registrations")["result"]["redriven"] == 1


@pytest.mark.parametrize("operation", ["failures.redrive", "failures.delete"])
@pytest.mark.parametrize("name", [None, "", "dead", 7, "https://example.com/queue"])
def test_only_our_own_queues(product: Product, operation: str, name: object) -> None:
    """The calls accept the name of a kind of failure, and never that of a queue."""
    problem = product.operate(operation, failures=name)["problem"]
    assert problem["code"] == "malformed-request"


def test_the_console_redrives_all_that_waited(product: Product, run: Run) -> None:
    """One command of the console handles all letters that were waiting, in any number of batches."""
    put("dead", *({"deviceId": f"gw-{n}"} for n in range(23)))
    shown = json.loads(run("failures", "show", "--json").stdout)
    assert shown == {"failures": {"requests": 0, "registrations": 23}}
    done = run("failures", "redrive", "registrations", "--json")
    assert json.loads(done.stdout) == {"failures": "registrations", "redriven": 23, "failed": 0}
    assert "registrations    0" in run("failures", "show").stdout
    assert "23 registrations" not in run("failures", "redrive", "registrations").stdout


def test_the_console_deletes_all_that_waited(product: Product, run: Run) -> None:
    """One command of the console deletes all letters that were waiting, in any number of batches."""
    put("requests", *(lost() for _ in range(23)))
    assert "23 requests deleted" in run("failures", "delete", "requests").stdout
    assert run("failures", "show", "requests").stdout == "none\n"


def test_the_console_asks_before_it_deletes(
    product: Product, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The console asks a person before it deletes letters, and deletes none after a "no"."""
    monkeypatch.setattr("console.output.can_ask", lambda: True)
    put("requests", lost())
    asked = run("failures", "delete", "requests", input="n\n")
    assert (asked.exit_code, "Delete 1 requests for good?" in asked.stderr) == (1, True)
    assert len(waiting("requests")) == 1


def test_the_console_refuses_an_unknown_kind(product: Product, run: Run) -> None:
    """The console refuses an unknown kind of failure."""
    for command in ("redrive", "show", "delete"):
        done = run("failures", command, "requsts")
        assert (done.exit_code, "malformed-request" in done.stderr) == (1, True)
