"""The counts of docs/deploy.md, "What it costs", are those of the flows over moto."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from tests.aws import test_jitr as jitr
from tests.aws.metered import SLOT, Meter
from tests.aws.mqtt import Client
from tests.aws.product import CONTEXT, Answer
from tests.aws.registering import Identity, Registering

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
PATH = "/role-aliases/telemetry/credentials"

METERED = {
    "API Gateway requests": "calls",
    "AWS IoT registry operations": "registry",
    "DynamoDB write units": "writes",
    "DynamoDB read units": "reads",
    "KMS signatures": "signatures",
    "S3 writes": "puts",
    "S3 reads": "gets",
}
"""The rows of a table that a flow over moto shows, each with its name in the meter."""

Counts = dict[str, Decimal]


def table(title: str) -> tuple[Counts, dict[str, Counts], Counts]:
    """Return a table of the page: the price of each row, the counts of each column, and the column's sum."""
    text = DEPLOY.read_text().partition(f"**{title}**")[2]
    lines = text[text.index("|") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip().replace(",", "") for cell in line.strip("|").split("|")] for line in lines]
    names, (*items, total) = rows[0][2:], rows[2:]
    prices = {row[0]: Decimal(row[1]) for row in items}
    counts = {name: {row[0]: Decimal(row[2 + at]) for row in items} for at, name in enumerate(names)}
    sums = {name: Decimal(total[2 + at].strip("*")) for at, name in enumerate(names)}
    return prices, counts, sums


TABLES = ("A million first boots and renewals", "A million credentials requests", "A month at rest")


@pytest.mark.parametrize("title", TABLES)
def test_each_sum_is_that_of_its_column(title: str) -> None:
    """The sum of a column is that of its counts, each multiplied by its row's price."""
    prices, counts, sums = table(title)
    assert len(counts) >= 2
    for name, column in counts.items():
        found = sum((prices[row] * count for row, count in column.items()), Decimal())
        assert sums[name] == found.quantize(Decimal("0.01")), (name, found)


def test_the_sums_are_those_of_the_text() -> None:
    """The figures of the text, which a reader sees first, are those of the tables."""
    text = " ".join(DEPLOY.read_text().partition("## What it costs")[2].partition("\n## ")[0].split())
    boots, vends, rest = (table(title)[2] for title in TABLES)
    assert f"${boots['HTTPS']:.0f} over HTTPS and ${boots['MQTT']:.0f} over MQTT" in text
    assert all(f"${value:.1f}" in text for value in vends.values())
    low, high = (round(value, -1) for value in rest.values())
    assert f"${low:.0f} to ${high:.0f} a month" in text
    hours, minutes = 24 * 365, 60 * 24 * 365
    year = vends["mTLS"] * hours + Decimal("0.08") * minutes + boots["renewal"]
    cents = re.search(r"(\d\.\d) cents for its connection.*?(\d\.\d) for.*?about (\d) cents a year", text)
    assert cents
    assert cents.groups() == (
        f"{minutes * 0.08 / 10_000:.1f}",
        f"{vends['mTLS'] * hours / 10_000:.1f}",
        f"{year / 10_000:.0f}",
    )


def check(title: str, column: str, found: Counter[str]) -> None:
    """Compare the metered counts of a column with those of the flow."""
    counts = table(title)[1][column]
    said = {row: counts[row] for row in METERED if row in counts}
    assert said == {row: Decimal(str(found[METERED[row]])) for row in said}


@pytest.fixture
def warm(registering: Registering, monkeypatch: pytest.MonkeyPatch) -> Registering:
    """Return `registering` with processes that have read the fleet, and the policies that the sweep makes."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    registering.publish()
    product, device = registering.product, registering.enroll("gw-w")
    registering.work("gw-w")
    device.commit()
    registering.work("gw-w")
    assert product.call("GET", PATH, device.leaf).status == 200
    Client(product, "gw-w", device.leaf).ask(topics.CREDENTIALS, roleAlias="telemetry")
    bootstrap = product.bootstrap("gw-v")
    client = Client(product, "gw-v", bootstrap)
    client.ask(topics.CERTIFICATES, csr=client.csr(), bootstrap=factories.pem(bootstrap))
    product.lambdas.presence({"clientId": "gw-v", "principalIdentifier": "0" * 64}, CONTEXT)
    jitr.admit(product, "0" * 64)
    return registering


def test_a_first_boot_over_https(warm: Registering, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first boot over mTLS costs what the table says: enrollment, download, reconciliation and commit."""
    meter = Meter(monkeypatch)
    device = warm.enroll("gw-1")
    warm.work("gw-1")
    device.commit()
    check(TABLES[0], "HTTPS", meter.counts + SLOT + Counter(calls=2))


def test_a_first_boot_over_mqtt(warm: Registering, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first boot over MQTT costs what the table says; JITR and two presence events are in it."""
    product, meter = warm.product, Meter(monkeypatch)
    bootstrap = product.bootstrap("gw-1")
    client = Client(product, "gw-1", bootstrap)
    jitr.admit(product, jitr.arrive(bootstrap))
    product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": client.principal}, CONTEXT)
    answer = client.ask(topics.CERTIFICATES, csr=client.csr(), bootstrap=factories.pem(bootstrap))
    leaf = product.certificate(Answer(201, {}, answer))
    warm.work("gw-1")
    product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": chain.fingerprint(leaf)}, CONTEXT)
    assert warm.row("gw-1")["active"]
    check(TABLES[0], "MQTT", meter.counts + SLOT + SLOT)


def test_a_renewal(warm: Registering, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal over mTLS costs what the table says, with the order that restricts the old certificate."""
    device = warm.enroll("gw-1")
    warm.work("gw-1")
    device.commit()
    meter = Meter(monkeypatch)
    new: Identity = device.renew()
    warm.work("gw-1")
    new.commit()
    warm.work("gw-1")
    check(TABLES[0], "renewal", meter.counts + SLOT + SLOT + Counter(calls=2))


@pytest.mark.parametrize("column", ["mTLS", "signed proof", "MQTT"])
def test_credentials(warm: Registering, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    """Credentials cost what the table says, by each path."""
    product, device = warm.product, warm.enroll("gw-1")
    device.commit()
    meter = Meter(monkeypatch)
    match column:
        case "mTLS":
            assert product.call("GET", PATH, device.leaf).status == 200
        case "signed proof":
            assert product.prove("GET", PATH, device.key, device.leaf, by_thumbprint=True).status == 200
        case _:
            Client(product, "gw-1", device.leaf).ask(topics.CREDENTIALS, roleAlias="telemetry")
    check(TABLES[1], column, meter.counts | Counter(calls=int(column != "MQTT")))
