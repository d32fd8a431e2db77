"""Every call to S3 names the account that owns the bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firstboot.aws import clients
from firstboot.aws.s3.authority import AuthorityStore
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, PublishedFleet
from firstboot.domain.clock import utc_now
from firstboot.domain.names import DeviceId
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.fleets import fleet, group

DEVICE, SERIAL = DeviceId("gw-1"), "ab"
HEADER = "x-amz-expected-bucket-owner"


def _source(bucket: str) -> FleetSource:
    deployed = fleet(group("gateways", factories.authority()))
    return FleetSource(clients.s3(ACCOUNT), bucket, deployed, 0, print)


CALLS: dict[type, dict[str, Callable[[Any], object]]] = {
    S3CertificateStore: {
        "put": lambda store: store.put(DEVICE, SERIAL, b"chain"),
        "get": lambda store: store.get(DEVICE, SERIAL),
        "versions": lambda store: [store.put(DEVICE, SERIAL, b"chain"), *store.versions(DEVICE, SERIAL)],
        "serials": lambda store: store.serials(DEVICE, None),
    },
    AuthorityStore: {
        "certificate": lambda store: store.certificate(),
        "put_certificate": lambda store: store.put_certificate(b"pem"),
        "put_truststore": lambda store: store.put_truststore(b"pem"),
    },
    FleetSource: {
        "current": lambda source: source.current(utc_now()),
    },
    PublishedFleet: {
        "read": lambda published: published.read(),
        "write": lambda published: published.write(b"fleet", None),
    },
}
WITHOUT_A_CALL = {"url"}


@pytest.mark.parametrize(
    ("adapter", "method"), [(adapter, method) for adapter, methods in CALLS.items() for method in methods]
)
def test_a_call_names_the_owner_of_the_bucket(bucket: str, adapter: type, method: str) -> None:
    """Each request of each adapter has the header with the account that must own the bucket."""
    sent: list[Any] = []
    clients.s3(ACCOUNT).meta.events.register("before-send.s3", lambda request, **_: sent.append(request))
    made = _source(bucket) if adapter is FleetSource else adapter(clients.s3(ACCOUNT), bucket)
    CALLS[adapter][method](made)
    assert sent
    assert {str(request.headers[HEADER]) for request in sent} == {ACCOUNT}


@pytest.mark.parametrize("adapter", CALLS)
def test_every_method_is_called(adapter: type) -> None:
    """The calls above are those of every public method that makes a call."""
    public = {name for name, value in vars(adapter).items() if callable(value) and not name.startswith("_")}
    assert public - WITHOUT_A_CALL == CALLS[adapter].keys()


def test_a_presigned_url_has_no_owner(bucket: str) -> None:
    """A presigned URL names no owner, because the device would have to send it as a header."""
    url = S3CertificateStore(clients.s3(ACCOUNT), bucket).url(DEVICE, SERIAL, 300)
    assert "X-Amz-SignedHeaders=host&" in url
    assert "owner" not in url.lower()
