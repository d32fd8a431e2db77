"""`python -m local.emulator PYTHON`: ministack as `local` wants it, in a process group of its own.

Most of that is in its environment (`cloud.py`); here is what an environment can't say.
"""

from __future__ import annotations

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
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.core.router import extract_access_key_id
from ministack.services import iot, iot_data, s3
from ministack.services.cloudformation import changesets, provisioners

_create_server: Any = BaseEventLoop.create_server
_resource_arn: Any = iam_actions.extract_resource_arn
_iam_action: Any = iam_actions.extract_iam_action
_handle_data_plane: Any = iot_data.handle_request
_handle_s3: Any = s3.handle_request
_CONNECTIONS = "/connections/"


async def _on_loopback(
    loop: BaseEventLoop, protocol: object, host: str | None = None, *rest: object, **options: object
) -> object:
    return await _create_server(loop, protocol, host and "127.0.0.1", *rest, **options)


def _resource(service: str, method: str, path: str, headers: object, body: bytes, *rest: object) -> str:
    """AWS checks AttachPolicy and DetachPolicy on their target, ListTargetsForPolicy on its policy,
    DeleteConnection on its client (service authorization reference, "AWS IoT"). ministack would check
    them on `*`, for which a role would have to be wider than AWS's.
    """
    found = str(_resource_arn(service, method, path, headers, body, *rest))
    if service == "iot" and path.startswith("/target-policies/"):
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(body)["target"])
    for prefix, kind in {_CONNECTIONS: "client", "/policy-targets/": "policy"}.items():
        if service in ("iot", "iot-data") and path.startswith(prefix):
            return f"arn:aws:iot:{get_region()}:{get_account_id()}:{kind}/{path.removeprefix(prefix)}"
    return found


def _action(*request: object) -> str | None:
    """AWS checks SendMessageBatch as sqs:SendMessage (Amazon SQS developer guide, "Amazon SQS API
    permissions"). ministack checks it by its own name, which is no action that a policy can have.
    """
    found: str | None = _iam_action(*request)
    return "sqs:SendMessage" if found == "sqs:SendMessageBatch" else found


async def _data_plane(method: str, path: str, *rest: Any) -> Any:  # noqa: ANN401 - ministack's own
    """The data plane with DeleteConnection: ministack lacks it, but its broker can drop a client."""
    if method != "DELETE" or not path.startswith(_CONNECTIONS):
        return await _handle_data_plane(method, path, *rest)
    client_id = path.removeprefix(_CONNECTIONS)
    if await iot._force_disconnect_duplicate(get_account_id(), get_region(), client_id):  # noqa: SLF001
        return json_response({})
    return error_response_json("ResourceNotFoundException", f"{client_id} is not connected", 404)


async def _objects(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:  # noqa: ANN401
    """S3, which tells only who may list the bucket that it has no such object (API reference, GetObject)."""
    answer = await _handle_s3(method, path, headers, body, query)
    if answer[0] != HTTPStatus.NOT_FOUND or b"NoSuchKey" not in answer[2]:
        return answer
    bucket, key = f"arn:aws:s3:::{path.split('/')[1]}", extract_access_key_id(headers, query)
    denied = iam_evaluator.enforce(key, "s3:ListBucket", "s3", get_region(), resource_arn=bucket)
    return s3._error("AccessDenied", "Access Denied", 403) if denied else answer  # noqa: SLF001


def _importable_global_tables() -> None:
    """CloudFormation imports global tables as it does tables (user guide, "Resource type support")."""
    table, global_table = "AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"
    lookups, handlers = changesets._IMPORT_LOOKUPS, provisioners._RESOURCE_HANDLERS  # noqa: SLF001
    lookups[global_table] = lookups[table]
    handlers[global_table]["import"] = handlers[table]["import"]


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent ends, however that ends
    os.killpg(0, signal.SIGKILL)


def main(lambda_python: str) -> None:
    """Run ministack until the parent ends; `lambda_python` is the Lambdas' interpreter."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.executable = lambda_python  # what it starts a Python Lambda with
    BaseEventLoop.create_server = _on_loopback  # type: ignore[assignment,method-assign]
    iam_actions.extract_resource_arn = _resource
    iam_actions.extract_iam_action = _action
    iot_data.handle_request = _data_plane
    s3.handle_request = _objects
    _importable_global_tables()
    # What the broker's rules send is no one's request, and would count as sent without TLS.
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)
    app._port_is_bindable = lambda *_: False  # noqa: SLF001 - or it would take port 443 as well
    app.main()


if __name__ == "__main__":
    main(sys.argv.pop())
