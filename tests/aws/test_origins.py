"""A device's record, its log line, lists and counts say under which trust anchor the device enrolled."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from firstboot.domain import sweep as counting
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Answer, Product
from tests.aws.sweeping import Sweeper
from tests.field.encode import own
from tests.fleets import group

SUBJECT = "CN=Factory CA"


@pytest.fixture
def second(product: Product) -> factories.Authority:
    """Publish a group with a second anchor, and return that anchor's CA."""
    other = factories.authority("Second CA")
    both = tuple(factories.pem(each.certificate) for each in (product.factory, other))
    product.publish(groups={"gateways": group("gateways", product.factory, trust=both)})
    return other


def key_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 (hex) of a certificate's key."""
    return own(certificate).spki_fingerprint()


def enroll(product: Product, factory: factories.Authority, name: str) -> Answer:
    """Enroll a device with a bootstrap certificate of a factory."""
    return product.enroll(factory.issue(name, product.boards.setdefault(name, factories.ec_key())))


def listed(product: Product, **parameters: str) -> list[str]:
    """Return the ids of the devices that a list has."""
    devices = product.operate("devices.list", **parameters)["result"]["devices"]
    return sorted(device["deviceId"] for device in devices)


def test_a_record_has_its_anchor(product: Product, logs: io.StringIO) -> None:
    """The record and the log line of an enrollment have the anchor's key and subject."""
    leaf = product.bootstrap("gw-1")
    product.enroll(leaf)
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    anchor = {"anchor": key_of(product.factory.certificate), "anchorSubject": SUBJECT}
    assert anchor.items() <= shown.items()
    assert shown["enrolledBy"] == own(leaf).identifier
    assert shown["bootstrapIds"] == sorted(own(each).fingerprint for each in (leaf, factories.twin(leaf)))
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    (issued,) = [line for line in lines if line["message"] == "certificate issued"]
    assert anchor.items() <= issued.items()


def test_an_enrollment_under_another_anchor_changes_the_record(
    product: Product, second: factories.Authority
) -> None:
    """The record has the anchor of the last enrollment."""
    leaf = product.identity("gw-1")
    assert product.call("POST", "/v1/certificates/commit", leaf, "{}").status == 200
    enroll(product, second, "gw-1")
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert (shown["anchor"], shown["anchorSubject"]) == (key_of(second.certificate), "CN=Second CA")


def test_a_renewal_keeps_the_anchor(product: Product) -> None:
    """A renewal changes nothing about where the device came from."""
    leaf = product.identity("gw-1")
    before = product.operate("devices.show", deviceId="gw-1")["result"]
    assert product.enroll(leaf).status == 201
    after = product.operate("devices.show", deviceId="gw-1")["result"]
    kept = ("enrolledBy", "bootstrapIds", "anchor", "anchorSubject")
    assert [after[name] for name in kept] == [before[name] for name in kept]


def test_devices_are_listed_by_anchor(product: Product, second: factories.Authority) -> None:
    """The list has the devices under that anchor and no others."""
    enroll(product, product.factory, "gw-1")
    enroll(product, second, "gw-2")
    assert listed(product, anchor=key_of(second.certificate)) == ["gw-2"]
    assert listed(product, anchor="0" * 64) == []
    assert product.operate("devices.list", anchor="AB")["problem"]["code"] == "malformed-request"


def test_every_form_finds_what_a_certificate_enrolled(product: Product) -> None:
    """The identifier and the id of either form find the device."""
    leaf = product.bootstrap("gw-1")
    product.enroll(factories.twin(leaf))
    product.identity("gw-2")
    for given in (own(leaf).identifier, own(leaf).fingerprint, own(factories.twin(leaf)).fingerprint):
        assert listed(product, enrolledBy=given) == ["gw-1"]


@pytest.mark.parametrize("form", ["file", "hex"])
def test_the_console_lists_by_anchor(
    product: Product, second: factories.Authority, run: Run, tmp_path: Path, form: str
) -> None:
    """An anchor is given as its PEM file or as the SHA-256 of its key."""
    enroll(product, product.factory, "gw-1")
    enroll(product, second, "gw-2")
    (tmp_path / "ca.pem").write_text(factories.pem(second.certificate))
    given = str(tmp_path / "ca.pem") if form == "file" else key_of(second.certificate)
    devices = json.loads(run("devices", "list", "--anchor", given, "--json").stdout)["devices"]
    assert [device["deviceId"] for device in devices] == ["gw-2"]


def test_a_group_shows_its_devices_by_anchor(
    product: Product, second: factories.Authority, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts are those of the last complete sweep, with its time; a removed anchor keeps its count."""
    first, other = (key_of(each.certificate) for each in (product.factory, second))
    sweeper = Sweeper(product)
    product.lambdas.clock = lambda: sweeper.now
    for number in range(3):
        enroll(product, second, f"gw-{number}")
    enroll(product, product.factory, "gw-3")
    product.operate("groups.expect", group="gateways", devices={"gw-4": {}})

    def shown() -> tuple[Any, list[tuple[Any, ...]]]:
        state = json.loads(run("groups", "show", "gateways", "--json").stdout)
        members = ("anchor", "subject", "trusted", "devices")
        return state["anchorsCountedAt"], [tuple(map(each.get, members)) for each in state["anchors"]]

    before = {(first, SUBJECT, True, None), (other, "CN=Second CA", True, None)}
    at, anchors = shown()
    assert (at, set(anchors)) == (None, before)
    sweeper.run()
    at, anchors = shown()
    assert at == f"{sweeper.now:%Y-%m-%dT%H:%M:%SZ}"
    assert anchors == [(other, "CN=Second CA", True, 3), (first, SUBJECT, True, 1)]
    product.publish(groups={"gateways": group("gateways", product.factory)})
    assert shown() == (at, [(other, None, False, 3), (first, SUBJECT, True, 1)])
    text = run("groups", "show", "gateways").stdout
    assert f"anchor       {other}\n             (removed from the fleet)\n             3 devices\n" in text


def test_counts_are_those_of_a_complete_sweep(
    product: Product, second: factories.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that is under way changes no shown count, and one that begins anew counts no device twice."""
    from firstboot.register import sweep  # noqa: PLC0415 - patched

    monkeypatch.setattr(sweep, "PAGE", 2)
    sweeper = Sweeper(product)
    product.lambdas.clock = lambda: sweeper.now
    for number in range(3):
        enroll(product, second, f"gw-{number}")
    sweeper.run()
    counts = {"gateways": {key_of(second.certificate): 3}}
    complete = sweeper.row().origins
    assert complete
    assert (complete.at, complete.devices, sweeper.row().counts) == (sweeper.now, counts, {})
    enroll(product, second, "gw-9")
    product.publish(rules=product.fleet.rules + "\n", groups=product.fleet.groups)
    sweeper.next_minute(pages=1)
    assert sweeper.row().finished_at is None
    assert sweeper.row().origins == complete
    for _ in range(9):
        sweeper.next_minute(pages=1)
    found = sweeper.row().origins
    assert found
    assert found.devices == {"gateways": {key_of(second.certificate): 4}}


def test_devices_of_older_records_are_counted_under_no_anchor(product: Product) -> None:
    """A record without an anchor is counted, and shown without a key."""
    sweeper = Sweeper(product)
    product.lambdas.clock = lambda: sweeper.now
    sweeper.device("gw-1", enrolledBy="f0")
    sweeper.device("gw-2")  # imported
    sweeper.run()
    state = product.operate("groups.show", group="gateways")["result"]
    unlisted = {"anchor": None, "subject": None, "trusted": False, "devices": 1}
    assert unlisted in state["anchors"]


def test_the_counts_are_bounded(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors beyond the bound are counted together."""
    monkeypatch.setattr(counting, "MAX_ANCHORS", 2)
    sweeper = Sweeper(product)
    product.lambdas.clock = lambda: sweeper.now
    for number in range(5):
        key = f"{number % 4:064x}"
        sweeper.device(f"gw-{number}", enrolledBy="f0", anchor=key, anchorSubject="CN=x")
    sweeper.run()
    origins = sweeper.row().origins
    assert origins
    assert sum(origins.devices["gateways"].values()) == 5
    assert len(origins.devices["gateways"]) == 3
    assert origins.devices["gateways"][counting.UNLISTED] >= 2
