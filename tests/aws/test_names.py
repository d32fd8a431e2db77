"""A group says where its devices' ids are in their bootstrap certificates, and which ids there may be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.field.encode import own
from tests.fleets import group
from tests.unit.fleet_folders import source

MAKER = factories.authority("Maker CA")
SERIAL = "subject.serialNumber"


def element(serial: str, *names: x509.GeneralName) -> x509.Certificate:
    """Return a certificate with the common name of all elements, a serialNumber and alternative names."""
    parts = [(NameOID.COMMON_NAME, "Element"), (NameOID.SERIAL_NUMBER, serial)]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    extra: Any = [(x509.SubjectAlternativeName(names), False)] if names else None
    return MAKER.issue("", factories.ec_key(), subject=subject, extra=extra)


def publish(product: Product, **changes: Any) -> None:
    """Publish the fleet with a group of elements."""
    product.publish(groups=product.fleet.groups | {"elements": group("elements", MAKER, **changes)})


URN = x509.UniformResourceIdentifier("urn:dev:ops:32473-Fridge-5002")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"device_id": SERIAL}, "PID7-0017"),
        ({"device_id": SERIAL, "strip_prefix": "PID7-"}, "0017"),
        ({"device_id": SERIAL, "pattern": r"PID\d-(\d+)"}, "0017"),
        ({"device_id": "san.uri", "strip_prefix": "urn:dev:ops:32473-"}, "Fridge-5002"),
        ({"device_id": "san.dns"}, "gw.acme.example"),
    ],
)
def test_a_device_enrolls_under_the_id_that_its_maker_wrote(
    product: Product, changes: dict[str, Any], name: str
) -> None:
    """A device gets an operational certificate for the id at its group's source, and logs in with it."""
    publish(product, **changes)
    answer = product.enroll(element("PID7-0017", URN, x509.DNSName("GW.Acme.example")))
    assert (answer.status, answer.body["deviceId"]) == (201, name)
    assert product.call("GET", "/v1/device", product.certificate(answer)).body["deviceId"] == name


def test_a_key_is_a_name(product: Product) -> None:
    """With `key.sha256` two certificates of one key are one device, and each other key is another."""
    publish(product, device_id="key.sha256")
    leaf = element("1")
    answer = product.enroll(leaf, key=(key := factories.ec_key()))
    assert answer.status == 201
    assert answer.body["deviceId"] == own(leaf).spki_fingerprint()
    again = MAKER.issue("Another name", factories.ec_key())
    assert product.enroll(again).body["deviceId"] == own(again).spki_fingerprint() != answer.body["deviceId"]
    assert product.enroll(leaf, key=key).body["deviceId"] == answer.body["deviceId"]


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"device_id": "san.uri"}, "certificate-malformed", "subjectAltName must have one URI, and has 0"),
        (
            {"device_id": SERIAL, "pattern": "SN(.+)"},
            "device-id-invalid",
            "pattern does not match 'PID7-0017'",
        ),
        ({"device_id": SERIAL, "strip_suffix": "X"}, "device-id-invalid", "must end with 'X', and is 'PID7-"),
    ],
)
def test_a_refusal_says_what_was_found(
    product: Product, changes: dict[str, Any], code: str, detail: str
) -> None:
    """A certificate that names no device of its group is refused with what it has, and nothing is written."""
    publish(product, **changes)
    answer = product.enroll(element("PID7-0017"))
    assert (answer.body["code"], answer.body["reason"]) == (code, "certificate-name")
    assert detail in answer.body["detail"]
    assert not [row for row in product.rows() if row["pk"]["S"].startswith("DEV#")]


def test_a_factory_names_no_device_of_another_group(product: Product) -> None:
    """A factory's certificate for an id of another group's space is refused, before and after it is taken."""
    gateways = replace(product.fleet.groups["gateways"], ids="gw-*")
    elements = group("elements", MAKER, ids="element-*")
    product.publish(groups={"gateways": gateways, "elements": elements})
    for is_first in (True, False):
        answer = product.enroll(MAKER.issue("gw-1", factories.ec_key()))
        assert (answer.status, answer.body["code"]) == (400, "device-id-invalid")
        assert answer.body["detail"].startswith("Group elements has the ids element-*, and the certificate")
        if is_first:
            product.identity("gw-1")
    assert product.enroll(MAKER.issue("element-1", factories.ec_key())).status == 201


def test_a_claim_s_holder_gets_one_answer_for_each_id(product: Product) -> None:
    """An id outside of a shared group's `ids` is refused like any that is not expected."""
    shared: dict[str, Any] = {"device_id": "request.deviceId", "reenroll": "refuse"}
    publish(product, **shared)
    product.operate("groups.expect", group="elements", devices={"sn-1": {}})
    publish(product, **shared, ids="element-*", shares_ids_with=("gateways",))
    claim = MAKER.issue("all", factories.ec_key())
    answers = [product.enroll(claim, deviceId=name).body for name in ("sn-1", "sn-2", "element-1")]
    assert {(each["code"], each["detail"]) for each in answers} == {
        ("device-not-expected", "The group does not expect a device with this id")
    }


def test_the_check_of_a_fleet_says_how_devices_connect(run: Run, tmp_path: Path) -> None:
    """`fleet check` says for each group under which client id its devices connect to enroll over MQTT."""
    anchors = {name: factories.pem(factories.authority(name).certificate) for name in ("a", "b")}
    groups = (f'[groups.{name}]\ntrust = ["trust/{name}.pem"]\n' for name in anchors)
    files = source(
        toml="".join(groups) + 'strip_prefix = "sn"\n[role_aliases.telemetry]\n',
        trust={f"{name}.pem": pem.encode() for name, pem in anchors.items()},
        rules='@id("all") permit (principal, action == Action::"hold", resource == Grant::"telemetry");',
    )
    for name, content in files.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = json.loads(run("fleet", "check", str(tmp_path), "--json").stdout)
    assert found["clientIds"] == {"a": "{deviceId}", "b": "boot-{deviceId}"}, found
    line = "group b: with their bootstrap certificates, devices connect over MQTT as boot-{deviceId}"
    assert line in " ".join(run("fleet", "check", str(tmp_path)).stdout.split())
