"""The acts of devices that speak the protocols of other services, each with the repeats of its clients."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from cryptography import x509

from firstboot.exchange.dps_messages import VERSIONS
from firstboot.pki import sas
from tests import factories, signed_requests
from tests.aws import est
from tests.aws.product import HOST, Answer
from tests.aws.test_hub_signatures import HUB, PATH, signature
from tests.aws.test_roles_anywhere import ARNS
from tests.faults.world import ID_SCOPE, KEYS, World, device_key

NAME = "gw-1"
_TRIES = 5


def until(world: World, call: Callable[[], int], *done: int) -> bool:
    """Make a call until it has one of the statuses, with a minute between two tries.

    Return whether it had. The world's outcomes get the last status, and each 500.
    """
    status: Any = 0
    for _ in range(_TRIES):
        status = world.invoke(call)
        if status in done:
            return True
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            world.outcomes.append("internal error")
        world.wait(60)
    world.outcomes.append(f"refused: {status}")
    return False


def register_by_key(world: World) -> None:
    """Register the device by Azure DPS's protocol, with its symmetric key."""
    resource = f"{ID_SCOPE}/registrations/{NAME}"
    csr = factories.pem(factories.csr(device_key(1)))
    body = json.dumps({"registrationId": NAME, "payload": {"csr": csr}})

    def call() -> int:
        token = sas.make(resource, sas.derived(KEYS.primary, NAME), world.now + timedelta(hours=1))
        headers = {"content-type": "application/json", "authorization": token}
        path, version = f"/{resource}/register", {"api-version": VERSIONS[0]}
        return world.product.call("PUT", path, None, body, headers, version).status

    until(world, call, 202)


def enroll_by_password(world: World, password: str) -> None:
    """Enroll the device by EST with its one-time password."""
    body = est.csr(device_key(1))

    def call() -> int:
        authorization = est.basic(NAME, password)
        return est.send(world.product, est.ENROLL, body, authorization=authorization).status

    until(world, call, 200)


def session(world: World, leaf: x509.Certificate, key: factories.PrivateKey) -> None:
    """Ask for a session by the protocol of IAM Roles Anywhere, signed anew each time."""
    body = json.dumps(ARNS)

    def call() -> int:
        headers = signed_requests.sign(key, leaf, f"https://{HOST}/sessions", body.encode(), world.now)
        return world.product.call("POST", "/sessions", None, body, headers).status

    until(world, call, 201)


def sign_for_hub(world: World, leaf: x509.Certificate) -> None:
    """Ask over mTLS for a shared access signature for the IoT hub, which is the device's own."""

    def call() -> int:
        answer = world.product.call("GET", PATH, leaf)
        if answer.status == HTTPStatus.OK:
            assert answer.body["token"] == _own_signature(answer)
        return answer.status

    until(world, call, 200)


def _own_signature(answer: Answer) -> str:
    """Return the signature for the device at the hub by the primary key, made without the product's code."""
    resource = quote(f"{HUB}/devices/{NAME}", safe="")
    ends = int(datetime.fromisoformat(answer.body["expiresAt"]).timestamp())
    signed = signature(KEYS.primary, f"{resource}\n{ends}")
    return f"SharedAccessSignature sr={resource}&sig={signed}&se={ends}&skn=device"
