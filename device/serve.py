"""Serve AWS credentials to the programs on this device, as the container credentials endpoint of AWS SDKs.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html. An SDK sends the token of
AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, which it reads for each request. The endpoint is on 127.0.0.1, where
every user of the device can connect, so the token's file is readable for its owner only. A page in a browser
on the device can make the browser send requests here under a host name of the page's own (DNS rebinding), so
the Host header must be this endpoint's.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .credentials import Cache
from .refusal import Action, Refused

ADDRESS = "127.0.0.1"
PORT = 9310
_LOOK_SECONDS = 10.0
"""How often is looked whether credentials are due."""

_SILENCE_SECONDS = 5.0
"""After this time without a byte a connection is closed."""

_CONNECTIONS = 64
"""The most connections at a time. Without a bound any user could use up the device's memory."""


class Server(ThreadingHTTPServer):
    """The endpoint. `caches` are the credentials by path, `token` is what a program must send."""

    daemon_threads = True

    def __init__(self, port: int, caches: Mapping[str, Cache], token: str) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.caches, self.token = caches, token
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        self._room = threading.BoundedSemaphore(_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - its types are private
        """Handle a connection in a thread of its own, or close it if there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Handle a connection, and make room for another one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a program that closed its connection too early."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        """Answer with credentials, or with the refusal."""
        if self.headers.get("Host") not in self.server.hosts:
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, _error("the host is not this endpoint's"))
        shown = self.headers.get("Authorization", "")
        # The comparison takes the same time for each wrong token. It takes bytes, because a header need not
        # be ASCII.
        if not hmac.compare_digest(shown.encode(), self.server.token.encode()):
            return self._answer(HTTPStatus.UNAUTHORIZED, _error("the token is not that of the file"))
        cache = self.server.caches.get(self.path)
        if cache is None:
            return self._answer(HTTPStatus.NOT_FOUND, _error("no such role alias is served"))
        try:
            found = cache.get()
        except Refused as refusal:
            passes = refusal.action in (Action.RETRY, Action.WAIT)
            status = HTTPStatus.SERVICE_UNAVAILABLE if passes else HTTPStatus.FORBIDDEN
            return self._answer(status, _error(refusal.detail, refusal.code))
        return self._answer(HTTPStatus.OK, _container(found))

    def log_message(self, *_: object) -> None:
        """Log nothing: a request is no news, and its refusal is the program's to report."""

    def _answer(self, status: HTTPStatus, members: dict[str, str]) -> None:
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)


def path(role_alias: str) -> str:
    """Return the endpoint's path of a role alias."""
    return f"/role-aliases/{quote(role_alias, safe='=,@')}/credentials"


@contextmanager
def serving(port: int, caches: Mapping[str, Cache], token_file: Path) -> Iterator[Server]:
    """Open the endpoint, and write a new token into `token_file`, which is deleted at the end.

    `caches` has the credentials by role alias. Raises OSError if the port is in use or the file can't be
    written.
    """
    token = secrets.token_urlsafe(32)
    stopped = threading.Event()
    with Server(port, {path(alias): cache for alias, cache in caches.items()}, token) as server:
        _write(token_file, token)
        refresher = threading.Thread(target=_refresh, args=(list(caches.values()), stopped), daemon=True)
        refresher.start()
        try:
            yield server
        finally:
            stopped.set()
            token_file.unlink(missing_ok=True)


def run(port: int, caches: Mapping[str, Cache], token_file: Path, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `say` gets the environment variables of programs, as JSON, at the start.

    Raises OSError as `serving` does.
    """
    # Without this the token's file would be left behind when systemd stops the program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), serving(port, caches, token_file) as server:
        say(json.dumps(environment(server, token_file)))
        server.serve_forever()


def environment(server: Server, token_file: Path) -> dict[str, dict[str, str]]:
    """Return the environment variables of a program, by the path of its role alias."""
    return {
        each: {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{ADDRESS}:{server.server_port}{each}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token_file.absolute()),
        }
        for each in server.caches
    }


def _refresh(caches: list[Cache], stopped: threading.Event) -> None:
    while not stopped.wait(_LOOK_SECONDS):
        for cache in caches:
            # The cache remembers the refusal. A program that asks gets it, once the old credentials end.
            with suppress(Refused):
                cache.refresh()


def _container(members: Mapping[str, str]) -> dict[str, str]:
    return {
        "AccessKeyId": members["AccessKeyId"],
        "SecretAccessKey": members["SecretAccessKey"],
        "Token": members["SessionToken"],
        "Expiration": members["Expiration"],
    }


def _error(message: str, code: str | None = None) -> dict[str, str]:
    return {"code": code or "credentials", "message": message}


def _write(file: Path, token: str) -> None:
    # An older file may belong to another user or be readable for others, so it is not reused.
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(token)
