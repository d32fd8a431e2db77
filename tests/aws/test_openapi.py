"""The requests and answers of the Lambda functions conform to docs/openapi.json and docs/calls.py."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from jsonschema import Draft202012Validator

import firstboot.exchange.build
import firstboot.vend.build
from docs import calls
from firstboot.aws import clients
from firstboot.domain import topics
from firstboot.exchange.settings import ExchangeSettings
from firstboot.runtime.guard import Guard
from firstboot.runtime.mqtt import MqttEndpoint
from firstboot.runtime.routes import ROUTES
from firstboot.vend.settings import VendSettings
from tests import factories
from tests.aws.mqtt import Client
from tests.aws.product import Answer, Product

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
CREDENTIALS = "/role-aliases/telemetry/credentials"
ROUTINE_HEADERS = {"cache-control", "content-type"}


def _closed(document: Any) -> Any:
    """Return the document with schemas that refuse members they do not name.

    A client must ignore unknown members, so the document allows them; here they would be undocumented ones.
    """
    closed = copy.deepcopy(document)
    for schema in closed["components"]["schemas"].values():
        if schema.get("properties") and schema.get("type") == "object":
            schema["additionalProperties"] = False
    return closed


CLOSED = _closed(DOCUMENT)


def check(response: Mapping[str, Any], answer: Answer) -> None:
    """Check an answer's media type, members and headers against a response of the document."""
    body = response["content"][answer.headers["content-type"]]["schema"]
    Draft202012Validator(CLOSED | body).validate(answer.body)
    documented = {name.lower() for name in response.get("headers", {})}
    assert answer.headers.keys() - ROUTINE_HEADERS <= documented


def documented(method: str, path: str, answer: Answer) -> Answer:
    """Check that an answer conforms to the document's response for its call and status, and return it."""
    (route,) = [each for each in ROUTES if each.method == method and each.match(path) is not None]
    responses = DOCUMENT["paths"][route.path][method.lower()]["responses"]
    check(responses[str(answer.status)], answer)
    return answer


def _call(product: Product, method: str, path: str, *arguments: Any, **more: Any) -> Answer:
    return documented(method, path, product.call(method, path, *arguments, **more))


def _request(**members: Any) -> str:
    """Return a request body that was checked against the document's schema of requests."""
    body = {"csr": factories.pem(factories.csr(factories.ec_key()))} | members
    Draft202012Validator(DOCUMENT | {"$ref": "#/components/schemas/CertificateRequest"}).validate(body)
    return json.dumps(body)


@pytest.mark.parametrize("deliver", ["url", "inline"])
def test_an_exchange(product: Product, deliver: str) -> None:
    """The answers of an enrollment, a commit, the device's record and vending conform to the document."""
    leaf = product.bootstrap("gw-1")
    request = _request(deliver=deliver, deviceId="gw-1", claims={"model": "m"}, configuration=True)
    issued = _call(product, "POST", "/v1/certificates", leaf, request)
    assert issued.status == 201
    operational = product.certificate(issued)
    for method, path in (
        ("POST", "/v1/certificates/commit"),
        ("GET", "/v1/device"),
        ("GET", CREDENTIALS),
        ("GET", "/v1/nonce"),
        ("GET", "/healthz"),
    ):
        assert _call(product, method, path, operational).status == 200, path


def test_a_csr_alone(product: Product) -> None:
    """The answer to an application/pkcs10 body, with the device id in the query, conforms to the document."""
    csr = factories.pem(factories.csr(factories.ec_key()))
    answer = _call(
        product,
        *("POST", "/v1/certificates", product.bootstrap("gw-1"), csr),
        headers={"content-type": "application/pkcs10"},
        query={"deviceId": "gw-1"},
    )
    assert answer.status == 201


def _fail(monkeypatch: pytest.MonkeyPatch, client: Any, method: str) -> None:
    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalError", "Message": ""}}, method)

    monkeypatch.setattr(client, method, fail)


def test_a_delayed_certificate(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 202 of a delayed certificate has its documented members and header."""
    _fail(monkeypatch, clients.kms(), "sign")
    answer = _call(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), _request())
    assert answer.status == 202
    assert answer.headers["retry-after"] == str(answer.body["retryAfter"])


def _revoked(product: Product, method: str, path: str) -> Answer:
    leaf = product.identity("gw-1")
    _call(product, "POST", "/v1/certificates/commit", leaf)
    product.operate("devices.revoke", deviceId="gw-1")
    return _call(product, method, path, leaf)


def _stale(product: Product, method: str, path: str) -> Answer:
    key = factories.ec_key()
    leaf = product.factory.issue("gw-1", key)
    return documented(method, path, product.prove(method, path, key, leaf, claims={"iat": 1}))


REFUSED: dict[str, tuple[int, str, Callable[[Product], Answer]]] = {
    "malformed JSON": (
        400,
        "malformed-json",
        lambda product: _call(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), "{"),
    ),
    "a wrong member": (
        400,
        "malformed-request",
        lambda product: _call(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), "{}"),
    ),
    "no proof": (401, "proof-required", lambda product: _call(product, "GET", "/v1/device")),
    "a stale proof": (401, "proof-stale", lambda product: _stale(product, "POST", "/v1/certificates/commit")),
    "a stale proof for credentials": (
        401,
        "proof-stale",
        lambda product: _stale(product, "GET", CREDENTIALS),
    ),
    "another device's id": (
        403,
        "device-id-mismatch",
        lambda product: _call(
            *(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), _request(deviceId="gw-2"))
        ),
    ),
    "a bootstrap certificate": (
        403,
        "operational-certificate-required",
        lambda product: _call(product, "GET", "/v1/device", product.bootstrap("gw-1")),
    ),
    "a revoked device": (403, "device-revoked", lambda product: _revoked(product, "GET", "/v1/device")),
    "another media type": (
        415,
        "unsupported-media-type",
        lambda product: _call(
            *(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), "x"),
            headers={"content-type": "text/plain"},
        ),
    ),
    "a large body": (
        413,
        "body-too-large",
        lambda product: _call(
            *(product, "POST", "/v1/certificates", product.bootstrap("gw-1"), " " * 16_385)
        ),
    ),
}


@pytest.mark.parametrize(("status", "code", "refused"), REFUSED.values(), ids=REFUSED.keys())
def test_problems(product: Product, status: int, code: str, refused: Callable[[Product], Answer]) -> None:
    """A refusal is the problem that the document has for its status."""
    answer = refused(product)
    assert (answer.status, answer.body["code"]) == (status, code)


def test_an_unavailable_service(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 conforms to the document in both forms, with the time to wait in ours."""
    leaf = product.identity("gw-1")
    _fail(monkeypatch, clients.dynamodb(), "get_item")
    assert _call(product, "GET", "/v1/device", leaf).status == 503
    assert _call(product, "GET", CREDENTIALS, leaf).status == 503


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (403, lambda product: _call(product, "GET", CREDENTIALS)),
        (403, lambda product: _revoked(product, "GET", CREDENTIALS)),
        (
            404,
            lambda product: _call(
                product, "GET", "/role-aliases/other/credentials", product.identity("gw-1")
            ),
        ),
    ],
)
def test_the_credential_providers_refusals(
    product: Product, status: int, refused: Callable[[Product], Answer]
) -> None:
    """A refusal of the credentials call has AWS IoT's form, as documented."""
    answer = refused(product)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert "x-amzn-errortype" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/other", 404), ("DELETE", "/v1/certificates", 405)]
)
def test_other_paths_and_methods(product: Product, method: str, path: str, status: int) -> None:
    """A path or method without a route gets the document's shared response."""
    answer = product.call(method, path)
    assert answer.status == status
    check(DOCUMENT["components"]["responses"][f"Problem{status}"], answer)


def test_an_undocumented_member_is_found() -> None:
    """`check` refuses an answer with a member, a header or a media type that the document lacks."""
    response = DOCUMENT["paths"]["/healthz"]["get"]["responses"]["200"]
    headers = {"content-type": "application/json"}
    body = {"status": "ok", "time": "2026-11-22T10:39:39Z"}
    check(response, Answer(200, headers, body))
    with pytest.raises(Exception, match="other"):
        check(response, Answer(200, headers, body | {"other": 1}))
    with pytest.raises(AssertionError):
        check(response, Answer(200, headers | {"allow": "GET"}, body))
    with pytest.raises(KeyError):
        check(response, Answer(200, {"content-type": "text/plain"}, body))


def test_mqtt_requests(product: Product) -> None:
    """The functions behind the topic rules read requests of the declared types."""
    guard = Guard("test")
    found: dict[topics.Call, MqttEndpoint] = {
        **firstboot.exchange.build.mqtt(ExchangeSettings.read(), guard).by_call,
        **firstboot.vend.build.mqtt(VendSettings.read(), guard).by_call,
    }
    assert {call: endpoint.request for call, endpoint in found.items()} == {
        call: declared.request for call, declared in calls.MQTT.items()
    }


def test_mqtt_answers(product: Product) -> None:
    """Answers over MQTT have the members of the declared types, and `time`."""
    bootstrap = product.bootstrap("gw-1")
    client = Client(product, "gw-1", bootstrap)
    issued = client.ask(topics.CERTIFICATES, csr=client.csr(), bootstrap=factories.pem(bootstrap))
    _one_of(topics.CERTIFICATES, issued)
    leaf = product.certificate(Answer(201, {}, issued))
    client = Client(product, "gw-1", leaf)
    _one_of(topics.COMMIT, client.ask(topics.COMMIT))
    vended = client.ask(topics.CREDENTIALS, roleAlias="telemetry")
    assert vended.pop("time")
    _one_of(topics.CREDENTIALS, vended)


def _one_of(call: topics.Call, members: dict[str, Any]) -> None:
    """Check an answer over MQTT against the schemas of its call's answers."""
    kinds = [kind.__name__ for kind in calls.MQTT[call].answers]
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{kind}"} for kind in kinds]}
    Draft202012Validator(CLOSED | schema).validate(members)
