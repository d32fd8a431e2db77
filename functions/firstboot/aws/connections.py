"""The connections of all clients to AWS: one pool, and one TLS context.

botocore makes a context for each client, and loads the CA certificates again for each connection, which takes
13 to 28 ms of CPU each time.
"""

from __future__ import annotations

import os
import socket
import ssl
from functools import cache
from io import BytesIO
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session, create_urllib3_context, get_cert_path

TIMEOUT_SECONDS = (1.0, 3.0)
"""How long a client waits for a connection, and for the next bytes of an answer."""

_BODILESS = frozenset({204, 304})
"""The statuses whose answers have no body, and need no length (RFC 9112, section 6.3)."""


@cache
def connections() -> Connections:
    """Return the connections of this process."""
    # A request is two writes. Without this the second one waits up to 40 ms for the host to acknowledge
    # the first one. URLLib3Session would set no option.
    options: Any = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    timeout: Any = TIMEOUT_SECONDS
    return Connections(timeout=timeout, socket_options=options)


class Connections(URLLib3Session):
    """botocore's pool of connections, with one TLS context that has the CA certificates already."""

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = create_urllib3_context()
        # AWS SDKs and tools reference guide, "AWS_CA_BUNDLE".
        context.load_verify_locations(os.environ.get("AWS_CA_BUNDLE") or get_cert_path(verify=True))
        return context

    def _setup_ssl_cert(self, conn: object, url: str, verify: object) -> None:
        """Let a connection verify with the context as it is."""

    def send(self, request: Any) -> AWSResponse:  # noqa: ANN401 - botocore has two types of requests
        """Return the answer to a request, read to its end.

        Raises ConnectionClosedError for an answer that breaks off, and botocore's other errors.
        """
        # Our streams are small: certificates, fleets and shadows. What breaks off here is repeated.
        request.stream_output = False
        answer = super().send(request)
        answer.raw = BytesIO(answer.content)
        # Without a length, what was cut off looks like the end. AWS gives one to each body.
        lengths = {"content-length", "transfer-encoding"} & {name.lower() for name in answer.headers}
        if not lengths and answer.status_code not in _BODILESS:
            raise ConnectionClosedError(endpoint_url=request.url, error="the answer has no length")
        return answer
