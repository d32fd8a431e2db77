"""AWS in this process (moto), and the product's Lambda functions wired to it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aws_lambda_powertools import Logger
from cryptography import x509
from moto import mock_aws
from typer.testing import CliRunner

from console import cloud
from console.__main__ import app
from firstboot.aws.sts import StsSessions
from firstboot.domain.fleet import Fleet
from firstboot.domain.session import Credentials, SessionRequest
from tests import factories
from tests.aws import cheap_clients, deployed
from tests.aws.invoked import InProcess, Run
from tests.aws.product import Product
from tests.aws.registering import CONFIGURATION, Calls, Registering
from tests.aws.rows_touched import checked
from tests.fleets import fleet, group

REGION = "us-east-1"
ACCOUNT = "123456789012"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start an empty account."""
    deployed.prepare(monkeypatch)
    cheap_clients.install(monkeypatch)
    with mock_aws(config=deployed.MOTO):
        deployed.forget_clients()
        with checked():
            yield
    deployed.forget_clients()


@pytest.fixture
def table(aws: None) -> str:
    """Make the table, and return its name."""
    return deployed.make_table()


@pytest.fixture
def bucket(aws: None) -> str:
    """Make the bucket for certificates, and return its name."""
    return deployed.make_bucket()


@pytest.fixture
def ca_key(aws: None) -> str:
    """Make the CA's key in KMS, and return its ARN."""
    return deployed.make_ca_key()


@pytest.fixture
def issuing_ca(ca_key: str) -> x509.Certificate:
    """Return the issuing CA's certificate, self-signed by the key in KMS."""
    return deployed.make_ca(ca_key)


@pytest.fixture
def product_of(
    table: str,
    bucket: str,
    ca_key: str,
    issuing_ca: x509.Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[factories.Authority, Fleet], Product]:
    """Return a function that configures the Lambda functions for a factory's fleet, as a deployment does."""

    def configure(factory: factories.Authority, small: Fleet) -> Product:
        deployed.configure(monkeypatch, tmp_path, small, table, bucket, ca_key, issuing_ca)
        made = Product(factory, small, issuing_ca, table, bucket)
        made.records.make_nonce_key()
        made.records.make_password_key()
        return made

    return configure


@pytest.fixture
def product(product_of: Callable[[factories.Authority, Fleet], Product]) -> Product:
    """Return the Lambda functions of a small fleet."""
    factory = factories.authority()
    return product_of(factory, fleet(group("gateways", factory)))


@pytest.fixture
def assumed(product: Product, monkeypatch: pytest.MonkeyPatch) -> list[SessionRequest]:
    """Record the requests to STS, which moto answers."""
    asked: list[SessionRequest] = []
    assume = StsSessions.assume

    def record(sessions: StsSessions, request: SessionRequest) -> Credentials:
        asked.append(request)
        return assume(sessions, request)

    monkeypatch.setattr(StsSessions, "assume", record)
    return asked


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Yield the log of the Lambda functions during the test."""
    buffer = io.StringIO()
    handlers = [
        cast("logging.StreamHandler[Any]", Logger(service=service).registered_handler)
        for service in ("assign", "authority", "exchange", "operate", "register", "vend")
    ]
    streams = [handler.setStream(buffer) for handler in handlers]
    yield buffer
    for handler, stream in zip(handlers, streams, strict=True):
        handler.setStream(stream)


@pytest.fixture
def run(product: Product, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the console, without a terminal as its standard input."""
    monkeypatch.setattr(cloud, "client", lambda _: InProcess(product))
    return lambda *arguments, **options: CliRunner().invoke(app, arguments, **options)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the record of every AWS call of `register`."""
    return Calls().patch(monkeypatch)


@pytest.fixture
def registering(product: Product, calls: Calls) -> Registering:
    """Return the product with `register`, a fleet that it has read, and one registered device."""
    made = Registering(product, calls)
    made.publish(configuration=CONFIGURATION)
    made.enroll("gw-0")
    assert made.work("gw-0") == {"batchItemFailures": []}
    return made
