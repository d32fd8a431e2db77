"""A warm process of each Lambda function uses a newly published fleet within the refresh time.

Each test reads the old fleet, publishes a newer one without a restart, and compares the results just before
and after the refresh.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from cryptography import x509

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from tests import factories
from tests.aws.product import CONTEXT, Product, make_policies
from tests.aws.registering import GRANT, Registering
from tests.fleets import group

REFRESH = timedelta(seconds=60)
# The start is later than the fixtures' own requests, so that the first call reads the fleet anew.
START = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


def at(product: Product, moment: datetime) -> None:
    """Set the clock of every process."""
    product.lambdas.clock = lambda: moment


def before_and_after(
    product: Product, publish: Callable[[], None], look: Callable[[], object]
) -> list[object]:
    """Return the results of `look` before the publication, before the refresh, and after it."""
    seen = []
    at(product, START)
    seen.append(look())
    publish()
    at(product, START + REFRESH - timedelta(seconds=1))
    seen.append(look())
    at(product, START + REFRESH)
    seen.append(look())
    return seen


def test_vend_takes_up_a_newer_fleet(product: Product) -> None:
    """`vend` gives no credentials after the rule for them is removed."""
    leaf = product.identity("gw-1")
    assert before_and_after(
        product,
        lambda: product.publish_to_warm(rules=""),
        lambda: product.call("GET", "/role-aliases/telemetry/credentials", leaf).status,
    ) == [200, 200, 403]


def test_exchange_takes_up_a_newer_fleet(product: Product) -> None:
    """`exchange` admits no device after its trust anchor is removed."""
    other = {"gateways": group("gateways", factories.authority("Other"))}
    numbers = iter(range(9))
    assert before_and_after(
        product,
        lambda: product.publish_to_warm(groups=other),
        lambda: product.enroll(product.bootstrap(f"gw-{next(numbers)}")).status,
    ) == [201, 201, 401]


def test_register_takes_up_a_newer_fleet(registering: Registering) -> None:
    """`register` detaches a policy after the rule for it is removed."""
    product = registering.product
    identity = registering.enroll("gw-1")

    def policies() -> bool:
        assert registering.work("gw-1", slot=0) == {"batchItemFailures": []}
        return GRANT in registering.policies(identity.leaf)

    published = json.loads(
        boto3.client("s3").get_object(Bucket=product.bucket, Key=PUBLISHED_FLEET_KEY)["Body"].read()
    )

    def publish() -> None:
        body = json.dumps(published | {"rules": ""})
        boto3.client("s3").put_object(Bucket=product.bucket, Key=PUBLISHED_FLEET_KEY, Body=body)

    assert before_and_after(product, publish, policies) == [True, True, False]


def test_jitr_takes_up_a_newer_fleet(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """JITR leaves a certificate pending after its trust anchor is removed."""
    make_policies(product.fleet)
    other = {"gateways": group("gateways", factories.authority("Other"))}
    iot, numbers = boto3.client("iot"), iter(range(9))

    def status() -> str:
        leaf: x509.Certificate = product.bootstrap(f"gw-{next(numbers)}")
        made = iot.register_certificate_without_ca(
            certificatePem=factories.pem(leaf),
            status="PENDING_ACTIVATION",
        )
        body = json.dumps({"certificateId": made["certificateId"], "since": 0})
        product.lambdas.jitr({"Records": [{"messageId": "m", "body": body}]}, CONTEXT)
        known = iot.describe_certificate(certificateId=made["certificateId"])
        return str(known["certificateDescription"]["status"])

    assert before_and_after(product, lambda: product.publish_to_warm(groups=other), status) == [
        "ACTIVE",
        "ACTIVE",
        "PENDING_ACTIVATION",
    ]
