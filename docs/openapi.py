"""The OpenAPI document of the HTTPS calls (docs/openapi.json), from the declarations in the code.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from docs import calls, errors, schemas, texts
from docs.calls import HttpCall, Parameter, Success
from docs.security_schemes import security_schemes
from firstboot.domain.errors import Action, FirstbootError
from firstboot.exchange.dps_messages import DpsError
from firstboot.identity.errors import ProofStale
from firstboot.runtime.errors import MethodNotAllowed
from firstboot.runtime.http import NONCE_HEADER
from firstboot.runtime.problem import Problem
from firstboot.runtime.routes import CERTIFICATES, ROUTES, Route
from firstboot.vend.credential_provider import REFUSALS, UNFORESEEN, ProviderError

Json = dict[str, Any]

_JSON, _PROBLEM, _PKCS10 = "application/json", "application/problem+json", "application/pkcs10"
_CSR = {"type": "string", "description": "The CSR alone (RFC 5967): DER, its base64, or PEM"}
_ALWAYS_PROBLEMS = (401, 500)
"""Statuses that are problem+json on every path: those of a signed proof and of an unforeseen failure."""

_WAITING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_GATEWAY = {
    403: "The gateway refuses the client certificate",
    413: "The body exceeds the gateway's 10 MB",
    429: "The stage's throttle refuses the request",
    500: "The gateway or its Lambda function failed",
    503: "The gateway or its Lambda function failed",
    504: "The Lambda function did not answer in time",
}
"""API Gateway's own refusals, which every route may get, with API Gateway's own body."""

_HEADERS = {
    "Retry-After": ("integer", "Seconds to wait before the same request"),
    NONCE_HEADER: ("string", "A nonce for the next signed proof"),
    "Allow": ("string", "The methods that this path answers"),
    "x-amzn-ErrorType": ("string", "AWS IoT's name for the error"),
    "x-amzn-RequestId": ("string", "The id of the request in the operator's log"),
} | texts.HEADERS
_DESCRIPTION = """\
The calls of a device. docs/protocol.md explains them; this document is generated from the same
declarations and is not served.

Both hosts answer every call. On the mTLS host the proof is the TLS client certificate, on the public host a
signed proof. The answer to a path that is not listed here is `components/responses/Problem404`, the answer to
another method of a listed path is `components/responses/Problem405`."""


def text() -> str:
    """Return the document as the text of a file.

    Raises ValueError for a route without an entry in docs/calls.py.
    """
    calls.check()
    return json.dumps(_document(), indent=2) + "\n"


def _document() -> Json:
    paths: Json = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, calls.HTTP[route])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Firstboot",
            "version": "1",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": _servers(),
        "paths": paths,
        "components": {
            "securitySchemes": security_schemes(),
            "headers": {name: _header(*each) for name, each in _HEADERS.items()},
            "responses": {f"Problem{status}": _response([_problem(status)]) for status in (404, 405)},
            "schemas": _schemas(),
        },
    }


def _servers() -> list[Json]:
    return [
        {
            "url": "https://{domainName}",
            "description": "mTLS host. It demands a client certificate",
            "variables": {
                "domainName": {"default": "devices.example.com", "description": "The stack's custom domain"}
            },
        },
        {
            "url": "https://{apiId}.execute-api.{region}.amazonaws.com",
            "description": "Public host. It asks for no client certificate and accepts signed proofs",
            "variables": {
                "apiId": {"default": "a1b2c3d4e5", "description": "The id of the stack's HTTP API"},
                "region": {"default": "eu-central-1", "description": "The stack's region"},
            },
        },
    ]


def _operation(route: Route, call: HttpCall) -> Json:
    operation: Json = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "security": [] if route.proof == "none" else [{each: []} for each in call.proofs],
        "parameters": _parameters(route, call.parameters),
        "responses": _responses(call),
    }
    if call.request is not None:
        operation["requestBody"] = _request_body(call.request.__name__, csr=route == CERTIFICATES)
    if call.csr:
        operation["requestBody"] = {"required": True, "content": {_PKCS10: {"schema": _CSR}}}
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-zA-Z]+", route.path.removeprefix("/v1"))
    return route.method.lower() + "".join(word.capitalize() for word in words)


def _parameters(route: Route, declared: tuple[Parameter, ...]) -> list[Json]:
    in_path = set(re.findall(r"{(\w+)}", route.path))
    if in_path != {each.name for each in declared if each.where == "path"}:
        raise ValueError(f"docs/calls.py must describe exactly the path parameters of {route.key}")
    return [
        {
            "name": each.name,
            "in": each.where,
            "required": each.where == "path",
            "description": each.description,
            "schema": {"type": "string"},
        }
        for each in declared
    ]


def _request_body(name: str, *, csr: bool) -> Json:
    content = {_JSON: {"schema": schemas.reference(name)}}
    if csr:
        content[_PKCS10] = {"schema": _CSR}
    return {"required": True, "content": content}


def _responses(call: HttpCall) -> Json:
    found = {str(int(status)): _response([_success(each)]) for status, each in call.answers.items()}
    for status in sorted({*call.refusals, *call.texts, *_GATEWAY}):
        response, media_type = _response(_refusals(status, call)), call.texts.get(status)
        found[str(status)] = texts.added(status, media_type, response) if media_type else response
    return found


@dataclass(frozen=True)
class _Body:
    """One form that a response may have. `text` says when it has it."""

    text: str
    media_type: str
    schema: str
    headers: tuple[str, ...] = ()


def _response(bodies: list[_Body]) -> Json:
    content: Json = {}
    for media_type in dict.fromkeys(each.media_type for each in bodies):
        found = [schemas.reference(each.schema) for each in bodies if each.media_type == media_type]
        content[media_type] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
    headers = {name: {"$ref": f"#/components/headers/{name}"} for each in bodies for name in each.headers}
    return {
        "description": ". ".join(dict.fromkeys(each.text for each in bodies)),
        "content": content,
    } | ({"headers": headers} if headers else {})


def _success(success: Success) -> _Body:
    kind = success.members
    headers = (success.header,) if success.header else ()
    return _Body((kind.__doc__ or "").strip().partition("\n")[0].rstrip("."), _JSON, kind.__name__, headers)


def _refusals(status: int, call: HttpCall) -> list[_Body]:
    bodies = []
    if status in call.refusals and call.refusal:
        waits = ("Retry-After",) if status in _WAITING else ()
        headers = (*call.refusal_headers, *waits)
        bodies.append(_Body("A refusal in the protocol's own form", _JSON, call.refusal.__name__, headers))
    elif status in call.refusals:
        if call.problems or status in _ALWAYS_PROBLEMS:
            bodies.append(_problem(status))
        if not call.problems and status in _provider_messages():
            waits = ("Retry-After",) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
            headers = ("x-amzn-ErrorType", "x-amzn-RequestId", *waits)
            bodies.append(_Body("A refusal in AWS IoT's form", _JSON, f"Provider{status}", headers))
    if status in _GATEWAY:
        bodies.append(_Body(_GATEWAY[status], _JSON, "GatewayError"))
    return bodies


def _problem(status: int) -> _Body:
    found = _by_status()[status]
    headers = []
    if any(_waits(error) for error in found):
        headers.append("Retry-After")
    if ProofStale in found:
        headers.append(NONCE_HEADER)
    if MethodNotAllowed in found:
        headers.append("Allow")
    return _Body("A refusal", _PROBLEM, f"Problem{status}", tuple(headers))


def _header(kind: str, description: str) -> Json:
    return {"description": description, "schema": {"type": kind}}


def _schemas() -> Json:
    answers = {success.members: call for call in calls.HTTP.values() for success in call.answers.values()}
    requests = [call.request for call in calls.HTTP.values() if call.request]
    found = schemas.of([*requests, *answers, Problem, ProviderError, DpsError])
    for name in [kind.__name__ for kind, call in answers.items() if call.problems] + ["Problem"]:
        found[name] = schemas.timed(found[name])
    found["Problem"]["properties"]["code"] |= {"enum": [error.code for error in errors.for_devices()]}
    found |= {f"Problem{status}": _problem_schema(status, each) for status, each in _by_status().items()}
    found |= {f"Provider{status}": _provider_schema(each) for status, each in _provider_messages().items()}
    found["GatewayError"] = {
        "description": "A refusal of API Gateway's own",
        "type": "object",
        "properties": {"message": {"type": ["string", "null"]}},
        "required": ["message"],
    }
    return dict(sorted(found.items()))


def _problem_schema(status: int, found: list[type[FirstbootError]]) -> Json:
    """Return the schema of the problems of a status: each code with its title and its action."""
    return {
        "allOf": [schemas.reference("Problem")],
        "properties": {"status": {"const": status}},
        "oneOf": [
            {
                "description": error.title,
                "properties": {"code": {"const": error.code}, "action": {"const": error.action.value}},
            }
            | ({"required": ["retryAfter"]} if _waits(error) else {})
            for error in found
        ],
    }


def _provider_schema(messages: list[str]) -> Json:
    return {"allOf": [schemas.reference("ProviderError")], "properties": {"message": {"enum": messages}}}


def _by_status() -> dict[int, list[type[FirstbootError]]]:
    found: dict[int, list[type[FirstbootError]]] = {}
    for error in errors.for_devices():
        found.setdefault(error.status, []).append(error)
    return found


def _provider_messages() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for status, _, message in dict.fromkeys([*REFUSALS.values(), UNFORESEEN]):
        found.setdefault(status, []).append(message)
    return found


def _waits(error: type[FirstbootError]) -> bool:
    return error.action in (Action.RETRY, Action.WAIT)
