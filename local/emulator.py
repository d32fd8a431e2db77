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
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator

_create_server: Any = BaseEventLoop.create_server
_iot_resources: Any = iam_actions.iot_resource_arns


async def _on_loopback(
    loop: BaseEventLoop, protocol: object, host: str | None = None, *rest: object, **options: object
) -> object:
    return await _create_server(loop, protocol, host and "127.0.0.1", *rest, **options)


def _with_targets(method: str, path: str, body: bytes, *where: str) -> list[str]:
    """AttachPolicy and DetachPolicy are authorised on their target (Service Authorization Reference).
    ministack would want a role to have them on `*`.
    """
    if path.startswith("/target-policies/"):
        return [json.loads(body)["target"]]
    found: list[str] = _iot_resources(method, path, body, *where)
    return found


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent ends, however that ends
    os.killpg(0, signal.SIGKILL)


def main(lambda_python: str) -> None:
    """Run ministack until the parent ends; `lambda_python` is the Lambdas' interpreter."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.executable = lambda_python  # what it starts a Python Lambda with
    BaseEventLoop.create_server = _on_loopback  # type: ignore[assignment,method-assign]
    iam_actions.iot_resource_arns = _with_targets
    # What the broker's rules send is no one's request, and would count as sent without TLS.
    iam_evaluator.pin_request_origin("127.0.0.1", secure_transport=True)
    app._port_is_bindable = lambda *_: False  # noqa: SLF001 - or it would take port 443 as well
    app.main()


if __name__ == "__main__":
    main(sys.argv.pop())
