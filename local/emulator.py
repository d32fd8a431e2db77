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
from typing import Any

from ministack import app
from ministack.core import iam_actions

_create_server: Any = BaseEventLoop.create_server
_resource_arn: Any = iam_actions.extract_resource_arn


async def _on_loopback(
    loop: BaseEventLoop, protocol: object, host: str | None = None, *rest: object, **options: object
) -> object:
    return await _create_server(loop, protocol, host and "127.0.0.1", *rest, **options)


def _attached_to(service: str, method: str, path: str, headers: object, body: bytes, *rest: object) -> str:
    """AWS checks AttachPolicy and DetachPolicy on their target (service authorization reference, "AWS
    IoT"). ministack checks them on `*`, which would take a wider role than AWS's.
    """
    if service == "iot" and path.startswith("/target-policies/"):
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(body)["target"])
    return str(_resource_arn(service, method, path, headers, body, *rest))


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the parent ends, however that ends
    os.killpg(0, signal.SIGKILL)


def main(lambda_python: str) -> None:
    """Run ministack until the parent ends; `lambda_python` is the Lambdas' interpreter."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.executable = lambda_python  # what it starts a Python Lambda with
    BaseEventLoop.create_server = _on_loopback  # type: ignore[assignment,method-assign]
    iam_actions.extract_resource_arn = _attached_to
    app._port_is_bindable = lambda *_: False  # noqa: SLF001 - or it would take port 443 as well
    app.main()


if __name__ == "__main__":
    main(sys.argv.pop())
