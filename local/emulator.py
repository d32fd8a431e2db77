"""`python -m local.emulator PYTHON PUBLIC_URL`: run ministack with changes that its environment can't make.

Its environment is in `cloud.py`. docs/emulator.md lists where ministack differs from AWS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sys
import threading
from asyncio import BaseEventLoop
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.core.router import extract_access_key_id
from ministack.services import apigateway, iot, iot_data, lambda_svc, s3, sts
from ministack.services.cloudformation import changesets, provisioners

from firstboot.pki import path, sources
from firstboot.pki.certificate import COMMON_NAME, parse_text
from firstboot.pki.errors import CertificateMalformed
from local import shared_code, table_conditions

_create_server: Any = BaseEventLoop.create_server
_resource_arn: Any = iam_actions.extract_resource_arn
_iam_action: Any = iam_actions.extract_iam_action
_handle_data_plane: Any = iot_data.handle_request
_handle_s3: Any = s3.handle_request
_role_credentials: Any = lambda_runtime.execution_credentials
_policy_context: Any = iot._mqtt_policy_context  # noqa: SLF001
_CONNECTIONS = "/connections/"
_VARIABLES = {
    "iot:certificate.subject.serialnumber": "subject.serialNumber",
    "iot:certificate.subject.alternativename.uniformresourceidentifier": "san.uri",
}
"""Policy variables that ministack lacks, in lower case, and where a certificate has their values."""


async def _on_loopback(
    loop: BaseEventLoop, protocol: object, host: str | None = None, *rest: object, **options: object
) -> object:
    return await _create_server(loop, protocol, host and "127.0.0.1", *rest, **options)


def _resource(service: str, method: str, path: str, headers: object, body: bytes, *rest: object) -> str:
    """Return the resource on which AWS checks a call.

    AWS checks AttachPolicy and DetachPolicy on their target, ListTargetsForPolicy on its policy,
    DeleteConnection on its client, and GetShardIterator and GetRecords on their stream (service authorization
    reference, "AWS IoT" and "Amazon DynamoDB"). ministack would check them on `*`, so that roles would need
    wider policies than on AWS.
    """
    found = str(_resource_arn(service, method, path, headers, body, *rest))
    if service == "iot" and path.startswith("/target-policies/"):
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(body)["target"])
    if service.startswith("dynamodb"):
        with suppress(ValueError, KeyError, TypeError):
            return _stream(json.loads(body))
    for prefix, kind in {_CONNECTIONS: "client", "/policy-targets/": "policy"}.items():
        if service in ("iot", "iot-data") and path.startswith(prefix):
            return f"arn:aws:iot:{get_region()}:{get_account_id()}:{kind}/{path.removeprefix(prefix)}"
    return found


def _stream(call: dict[str, str]) -> str:
    """Return the ARN of the stream that a call names, itself or in ministack's shard iterator."""
    if "StreamArn" in call:
        return call["StreamArn"]
    return str(json.loads(base64.urlsafe_b64decode(call["ShardIterator"]))["arn"])


def _action(*request: object) -> str | None:
    """Return the IAM action by which AWS checks a call.

    AWS checks SendMessageBatch as sqs:SendMessage (Amazon SQS developer guide, "Amazon SQS API
    permissions"). ministack would check it under its own name, which no policy can allow.
    """
    found: str | None = _iam_action(*request)
    return "sqs:SendMessage" if found == "sqs:SendMessageBatch" else found


async def _data_plane(method: str, path: str, *rest: Any) -> Any:  # noqa: ANN401 - ministack's own
    """Handle a call of the AWS IoT data plane. ministack lacks DeleteConnection, but its broker can close a
    client's connection.
    """
    if method != "DELETE" or not path.startswith(_CONNECTIONS):
        return await _handle_data_plane(method, path, *rest)
    client_id = path.removeprefix(_CONNECTIONS)
    if await iot._force_disconnect_duplicate(get_account_id(), get_region(), client_id):  # noqa: SLF001
        return json_response({})
    return error_response_json("ResourceNotFoundException", f"{client_id} is not connected", 404)


async def _objects(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:  # noqa: ANN401
    """Handle a call of S3. A caller that may not list the bucket gets 403 for a missing object, not 404 (API
    reference, GetObject).
    """
    answer = await _handle_s3(method, path, headers, body, query)
    if answer[0] != HTTPStatus.NOT_FOUND or b"NoSuchKey" not in answer[2]:
        return answer
    bucket, key = f"arn:aws:s3:::{path.split('/')[1]}", extract_access_key_id(headers, query)
    denied = iam_evaluator.enforce(key, "s3:ListBucket", "s3", get_region(), resource_arn=bucket)
    return s3._error("AccessDenied", "Access Denied", 403) if denied else answer  # noqa: SLF001


def _session_token() -> str:
    """Return a new session token with the usual length of AWS's."""
    return _usual(os.urandom(16))


def _execution_credentials(config: dict[str, Any]) -> dict[str, str]:
    """Return the credentials of a Lambda function's role, with a session token of the usual length."""
    made: dict[str, str] = _role_credentials(config)
    # ministack gives all processes of a function the same access key, so they need the same token too.
    token = _usual(made["AWS_ACCESS_KEY_ID"].encode())
    sts._sessions[made["AWS_ACCESS_KEY_ID"]]["SessionToken"] = token  # noqa: SLF001
    return made | {"AWS_SESSION_TOKEN": token}


def _usual(seed: bytes) -> str:
    """Return a token of 1,000 characters, the usual length of AWS's; ministack's have 134 and 64.

    Answers with credentials and presigned URLs then have the sizes that they have on AWS.
    """
    return base64.b64encode(hashlib.shake_256(seed).digest(750)).decode()


def _is_signed_by(certificate_pem: str, authority_pem: str) -> bool:
    """Return whether an authority's key signed a certificate.

    ministack reads certificates with cryptography, and ignores those that cryptography refuses. What AWS IoT
    reads is not documented. The emulator reads what Firstboot reads, so that Firstboot decides on them.
    """
    try:
        return path.issued_by(parse_text(certificate_pem), parse_text(authority_pem))
    except CertificateMalformed:
        return False


def _common_name(certificate_pem: str) -> str | None:
    """Return the common name, which a policy variable gets, read as in `_is_signed_by`."""
    return next(iter(parse_text(certificate_pem).subject.values(COMMON_NAME)), None)


def _context(account: str, region: str, certificate_id: str, client_id: str) -> dict[str, str]:
    """Return the policy variables of a connection (developer guide, "X.509 Certificate AWS IoT Core policy
    variables"). A certificate that has more than one value for a variable gets none for it.
    """
    found: dict[str, str] = _policy_context(account, region, certificate_id, client_id)
    with iot.request_scope(account, region):
        pem = (iot._certificates.get(certificate_id) or {}).get("certificatePem")  # noqa: SLF001
    if pem:
        for variable, source in _VARIABLES.items():
            with suppress(CertificateMalformed):
                found[variable] = sources.value(parse_text(pem), source)
    return found


def _importable_global_tables() -> None:
    """Let CloudFormation import global tables as it imports tables (user guide, "Resource type support")."""
    table, global_table = "AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"
    lookups, handlers = changesets._IMPORT_LOOKUPS, provisioners._RESOURCE_HANDLERS  # noqa: SLF001
    lookups[global_table] = lookups[table]
    handlers[global_table]["import"] = handlers[table]["import"]


def _insight_rules() -> None:
    """Have CloudFormation accept Contributor Insights rules, which ministack lacks. They do nothing there."""
    provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::InsightRule"] = {  # noqa: SLF001
        "create": lambda _, properties, __: (properties["RuleName"], {}),
        "update": lambda physical_id, *_: (physical_id, {}),
        "delete": lambda *_: None,
    }


def _public_endpoint(url: str) -> None:
    """Give each API the endpoint `url`, where the public host of `local` serves it.

    The stack's outputs then name a host that answers. ministack's own names do not resolve on every machine,
    and its certificate has none of them.
    """
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]  # noqa: SLF001
    create = handlers["create"]

    def at_the_public_host(*arguments: object) -> tuple[str, dict[str, str]]:
        api_id, attributes = create(*arguments)
        apigateway._apis[api_id]["apiEndpoint"] = url  # noqa: SLF001
        return api_id, attributes | {"ApiEndpoint": url}

    handlers["create"] = at_the_public_host


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent ends, even if it is killed
    os.killpg(0, signal.SIGKILL)


def main(lambda_python: str, public_url: str) -> None:
    """Run ministack until the parent ends.

    `lambda_python` is the interpreter of Lambda functions, `public_url` the endpoint of each API.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.executable = lambda_python  # ministack starts Python Lambda functions with it
    BaseEventLoop.create_server = _on_loopback  # type: ignore[assignment,method-assign]
    iam_actions.extract_resource_arn = _resource
    iam_actions.extract_iam_action = _action
    iot_data.handle_request = _data_plane
    s3.handle_request = _objects
    sts._gen_session_token = _session_token  # noqa: SLF001
    for module in (lambda_runtime, lambda_svc):
        module.execution_credentials = _execution_credentials
    shared_code.install()
    table_conditions.install()
    iot.certificate_is_signed_by = _is_signed_by
    iot.certificate_common_name = _common_name
    iot._mqtt_policy_context = _context  # noqa: SLF001
    _importable_global_tables()
    _insight_rules()
    _public_endpoint(public_url)
    # A message that a topic rule sends has no HTTP request, and would count as sent without TLS.
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)
    app._port_is_bindable = lambda *_: False  # noqa: SLF001 - it would take port 443 as well
    app.main()


if __name__ == "__main__":
    lambda_python, public_url = sys.argv[1:]
    del sys.argv[1:]  # ministack reads them too
    main(lambda_python, public_url)
