"""Renewing: the same call with an operational certificate, in two phases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.clock import epoch
from tests import factories
from tests.aws.product import Answer, Product, group

PATH = "/v1/certificates"
DAY = timedelta(days=1)


class Device:
    """A device with an active certificate, by its own means."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.bootstrap = product.bootstrap("gw-1")
        self.key = factories.ec_key()
        self.leaf = product.certificate(product.enroll(self.bootstrap, self.key))
        assert self.log_in(self.leaf).status == 200

    def log_in(self, leaf: x509.Certificate) -> Answer:
        """The first login, over mTLS."""
        return self.product.call("POST", f"{PATH}/commit", leaf)

    def renew(
        self, key: factories.PrivateKey, leaf: x509.Certificate | None = None, **members: Any
    ) -> Answer:
        """Ask over mTLS for a certificate of `key`."""
        return self.product.enroll(leaf or self.leaf, key, **members)

    def prove(self, key: factories.PrivateKey) -> Answer:
        """Ask by signed proof for a certificate of `key`."""
        body = json.dumps({"csr": factories.pem(factories.csr(key))})
        claims = {"iat": epoch(self.product.lambdas.now())}
        return self.product.prove("POST", PATH, self.key, self.leaf, body, claims=claims)


@pytest.fixture
def device(product: Product) -> Device:
    """A device that has logged in."""
    return Device(product)


def _at(product: Product, moment: datetime) -> None:
    product.lambdas.clock = lambda: moment


def _code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


def test_both_are_good_until_the_new_one_logs_in(product: Product, device: Device) -> None:
    """Two phases: nothing changes before the first login, and then at once."""
    answer = device.renew(factories.ec_key())
    assert answer.status == 201
    new = product.certificate(answer)
    assert product.call("GET", "/v1/device", device.leaf).status == 200
    record = product.call("GET", "/v1/device", new)
    assert (record.body["certificateId"], record.body["generation"]) == (answer.body["certificateId"], 2)
    assert _code(product.call("GET", "/v1/device", device.leaf)) == (403, "certificate-not-current")


def test_a_renewal_that_no_one_logs_in_with_changes_nothing(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never committed, the new one lapses; the old one stays good and renews again with another key."""
    lost = product.certificate(device.renew(factories.ec_key()))
    assert _code(device.renew(factories.ec_key())) == (409, "enrollment-in-progress")
    _at(product, datetime.now(UTC) + timedelta(seconds=901))
    again = device.renew(factories.ec_key())
    assert again.status == 201
    assert _code(device.log_in(lost)) == (403, "certificate-not-current")
    assert device.log_in(device.leaf).status == 200


def test_a_repeat_gives_the_same_certificate(product: Product, device: Device) -> None:
    """A lost answer costs nothing here either."""
    key = factories.ec_key()
    answers = [device.renew(key) for _ in range(3)]
    assert len({answer.body["certificateId"] for answer in answers}) == 1


def test_the_same_key_renews_when_it_is_due(product: Product, device: Device) -> None:
    """Before `renewAfter` it gets the certificate it has, from then on the next."""
    first = device.renew(device.key)
    assert (first.status, first.body["serial"]) == (201, f"{device.leaf.serial_number:x}")
    due = datetime.fromisoformat(first.body["renewAfter"])
    _at(product, due)
    second = device.renew(device.key)
    assert second.status == 201
    assert second.body["serial"] != first.body["serial"]
    assert device.product.certificate(second).public_key() == device.key.public_key()


def test_the_first_use_of_a_new_certificate_may_be_a_renewal(product: Product, device: Device) -> None:
    """Asking with the pending certificate is a login: it commits, and is then renewed."""
    pending = product.certificate(device.renew(factories.ec_key()))
    assert device.renew(factories.ec_key(), pending).status == 201
    assert _code(device.log_in(device.leaf)) == (403, "certificate-not-current")


def test_after_the_commit_the_old_one_may_ask_for_its_successor(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power lost right after the commit: with the new key on disk, the new certificate comes again."""
    key = factories.ec_key()
    answer = device.renew(key)
    assert device.log_in(product.certificate(answer)).status == 200
    again = device.renew(key)
    assert (again.status, again.body["serial"]) == (201, answer.body["serial"])
    assert _code(device.renew(factories.ec_key())) == (403, "certificate-not-current")
    _at(product, datetime.now(UTC) + 91 * DAY)
    assert _code(device.renew(key)) == (403, "certificate-not-current")


def test_a_revoked_device_gets_nothing(product: Product, device: Device) -> None:
    """Neither renewal, nor repeat, nor its successor."""
    key = factories.ec_key()
    assert device.log_in(product.certificate(device.renew(key))).status == 200
    product.operate("devices.revoke", deviceId="gw-1")
    for asked in (key, device.key, factories.ec_key()):
        assert _code(device.renew(asked)) == (403, "device-revoked")


def test_an_expired_certificate_renews_its_own_key_by_proof(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off for longer than it lives: for the grace, the same key gets a new certificate."""
    _at(product, device.leaf.not_valid_after_utc + 89 * DAY)
    assert _code(device.prove(factories.ec_key())) == (401, "certificate-expired")
    answer = device.prove(device.key)
    assert answer.status == 201
    assert device.log_in(product.certificate(answer)).status == 200


def test_what_an_expired_certificate_can_not_do(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log in, renew over mTLS, or renew when its grace is over."""
    _at(product, device.leaf.not_valid_after_utc + DAY)
    claims = {"iat": epoch(product.lambdas.now())}
    login = product.prove("GET", "/v1/device", device.key, device.leaf, claims=claims)
    assert _code(login) == (401, "certificate-expired")
    assert _code(device.renew(device.key)) == (401, "certificate-expired")
    _at(product, device.leaf.not_valid_after_utc + 90 * DAY)
    late = device.prove(device.key)
    assert (*_code(late), late.body["action"]) == (401, "certificate-expired", "reenroll")


def test_a_lapsed_identity_stands_in_nobodys_way(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a group refuses to replace, a device is shut out until its identity is over, not for good."""
    refusing = {"gateways": group("gateways", product.factory, reenroll="refuse", budget=None)}
    product.publish(groups=refusing)
    long = product.factory.issue("gw-1", factories.ec_key(), days=3_000)
    _at(product, device.leaf.not_valid_after_utc + 89 * DAY)
    assert _code(product.enroll(long)) == (409, "already-enrolled")
    _at(product, device.leaf.not_valid_after_utc + 90 * DAY)
    assert product.enroll(long).status == 201


def test_a_renewal_needs_possession_of_the_new_key(device: Device) -> None:
    """A CSR with another's key, signed by no one who has it, is refused here too."""
    good = factories.csr(factories.ec_key())
    der = good.public_bytes(Encoding.DER)
    forged = factories.base64_text(der[:-1] + bytes([der[-1] ^ 1]))
    answer = device.renew(factories.ec_key(), csr=forged)
    assert _code(answer) == (400, "csr-signature-invalid")
    assert len(device.product.objects()) == 1


def test_a_revoked_device_commits_nothing_by_renewing(product: Product, device: Device) -> None:
    """Not even a pending certificate's first use."""
    pending = product.certificate(device.renew(factories.ec_key()))
    product.operate("devices.revoke", deviceId="gw-1")
    assert _code(device.renew(factories.ec_key(), pending)) == (403, "device-revoked")
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["pending"]["serial"] == f"{pending.serial_number:x}"


def test_claims_are_renewed_when_they_are_sent(product: Product, device: Device) -> None:
    """What the device says of itself is kept until it says something else."""
    key = factories.ec_key()
    device.renew(key, claims={"model": "x2"})
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["claims"] == {"model": "x2"}
    device.log_in(product.certificate(device.renew(key)))
    assert product.operate("devices.show", deviceId="gw-1")["result"]["claims"] == {"model": "x2"}


def test_a_renewal_is_the_devices_own(device: Device) -> None:
    """A foreign name in the body is refused."""
    assert _code(device.renew(factories.ec_key(), deviceId="gw-2")) == (403, "device-id-mismatch")


def test_a_group_that_is_gone_renews_no_one(product: Product, device: Device) -> None:
    """Who takes a group out of the fleet definition lets its certificates end."""
    product.publish(groups={"others": group("others", product.factory)})
    assert _code(device.renew(factories.ec_key())) == (403, "enrollment-closed")


def test_a_replaced_device_renews_no_more(product: Product, device: Device) -> None:
    """Enrolled anew with another key: the old identity can't even ask for its successor."""
    new = product.certificate(product.enroll(device.bootstrap))
    assert device.log_in(new).status == 200
    assert _code(device.renew(factories.ec_key())) == (403, "certificate-not-current")


def test_renewals_are_spread(product: Product) -> None:
    """Devices that boot together do not renew together, and all do well before the end."""
    answers = [product.enroll(product.bootstrap(f"gw-{number}")) for number in range(8)]
    assert len({answer.body["renewIn"] // 86_400 for answer in answers}) > 4
    for answer in answers:
        assert 0.65 < answer.body["renewIn"] / (365 * 86_400) < 0.76


def test_an_unknown_device_renews_nothing(product: Product) -> None:
    """A certificate of our CA without a device record is refused."""
    leaf = product.identity("gw-1")
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-1"}})
    assert _code(product.enroll(leaf)) == (403, "certificate-not-current")
