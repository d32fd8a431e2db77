"""Run a CONNECT relay on loopback that leads every host and port to one address, for clients with a fixed
port.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer


@contextmanager
def relaying(host: str, port: int) -> Iterator[int]:
    """Run a relay to `host`:`port` and yield its port."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            """Read the request's head, answer 200, and relay both ways (RFC 9110 section 9.3.6)."""
            while self.rfile.readline().strip():
                pass
            with socket.create_connection((host, port)) as target:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(target, self.connection))
                back.start()
                _pump(self.connection, target)
                back.join()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
