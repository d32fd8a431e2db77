"""Test the renewal, which is the same call with an operational certificate, and its two phases."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, time, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.clock import epoch
from tests import factories
from tests.aws.product import Answer, Product
from tests.aws.test_issuance import Recorder
from tests.fleets import group

PATH = "/v1/certificates"
DAY = timedelta(days=1)


class Device:
    """A device with an active certificate, with its keys and calls."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.bootstrap = product.bootstrap("gw-1")
        self.key = factories.ec_key()
        self.leaf = product.certificate(product.enroll(self.bootstrap, self.key))
        assert self.log_in(self.leaf).status == 200

    def log_in(self, leaf: x509.Certificate) -> Answer:
        """Commit a certificate by its first login, over mTLS."""
        return self.product.call("POST", f"{PATH}/commit", leaf)

    def renew(
        self, key: factories.PrivateKey, leaf: x509.Certificate | None = None, **members: Any
    ) -> Answer:
        """Ask over mTLS for a certificate of `key`."""
        return self.product.enroll(leaf or self.leaf, key, **members)

    def prove(self, key: factories.PrivateKey) -> Answer:
        """Ask with a signed proof for a certificate of `key`."""
        body = json.dumps({"csr": factories.pem(factories.csr(key))})
        claims = {"iat": epoch(self.product.lambdas.now())}
        return self.product.prove("POST", PATH, self.key, self.leaf, body, claims=claims)


@pytest.fixture
def device(product: Product) -> Device:
    """Return a device that has logged in."""
    return Device(product)


def _at(product: Product, moment: datetime) -> None:
    product.lambdas.clock = lambda: moment


def _code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


def test_the_old_one_is_valid_until_the_new_one_logs_in(product: Product, device: Device) -> None:
    """The old certificate stays valid until the new one's first login, and is superseded by it."""
    answer = device.renew(factories.ec_key())
    assert answer.status == 201
    new = product.certificate(answer)
    assert product.call("GET", "/v1/device", device.leaf).status == 200
    record = product.call("GET", "/v1/device", new)
    assert (record.body["certificateId"], record.body["generation"]) == (answer.body["certificateId"], 2)
    assert _code(product.call("GET", "/v1/device", device.leaf)) == (403, "certificate-not-current")


def test_a_renewal_without_a_login_changes_nothing(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewed certificate that is never used lapses, and the old one stays valid and can renew again."""
    lost = product.certificate(device.renew(factories.ec_key()))
    assert _code(device.renew(factories.ec_key())) == (409, "enrollment-in-progress")
    _at(product, datetime.now(UTC) + timedelta(seconds=901))
    again = device.renew(factories.ec_key())
    assert again.status == 201
    assert _code(device.log_in(lost)) == (403, "certificate-not-current")
    assert device.log_in(device.leaf).status == 200


def test_a_repeat_gives_the_same_certificate(product: Product, device: Device) -> None:
    """A repeated renewal gives the same certificate, so that a lost answer costs nothing."""
    key = factories.ec_key()
    answers = [device.renew(key) for _ in range(3)]
    assert len({answer.body["certificateId"] for answer in answers}) == 1


def test_the_same_key_renews_when_it_is_due(product: Product, device: Device) -> None:
    """A renewal with the same key gives the present certificate before `renewAfter`, then the next one."""
    first = device.renew(device.key)
    assert (first.status, first.body["serial"]) == (201, f"{device.leaf.serial_number:x}")
    due = datetime.fromisoformat(first.body["renewAfter"])
    _at(product, due)
    second = device.renew(device.key)
    assert second.status == 201
    assert second.body["serial"] != first.body["serial"]
    assert device.product.certificate(second).public_key() == device.key.public_key()


def test_the_first_use_of_a_new_certificate_may_be_a_renewal(product: Product, device: Device) -> None:
    """A renewal with the pending certificate is a login, which commits it, and then renews it."""
    pending = product.certificate(device.renew(factories.ec_key()))
    assert device.renew(factories.ec_key(), pending).status == 201
    assert _code(device.log_in(device.leaf)) == (403, "certificate-not-current")


def test_a_superseded_certificate_can_fetch_its_successor(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superseded certificate can fetch its successor for the same key, until its grace ends.

    A device needs this if it lost power right after the commit.
    """
    key = factories.ec_key()
    answer = device.renew(key)
    assert device.log_in(product.certificate(answer)).status == 200
    again = device.renew(key)
    assert (again.status, again.body["serial"]) == (201, answer.body["serial"])
    assert _code(device.renew(factories.ec_key())) == (403, "certificate-not-current")
    _at(product, datetime.now(UTC) + 91 * DAY)
    assert _code(device.renew(key)) == (403, "certificate-not-current")


def test_a_revoked_device_gets_nothing(product: Product, device: Device) -> None:
    """A revoked device is refused its renewal, a repeated one, and its successor."""
    key = factories.ec_key()
    assert device.log_in(product.certificate(device.renew(key))).status == 200
    product.operate("devices.revoke", deviceId="gw-1")
    for asked in (key, device.key, factories.ec_key()):
        assert _code(device.renew(asked)) == (403, "device-revoked")


def test_an_expired_certificate_renews_its_own_key_by_proof(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired certificate can renew for its own key with a signed proof, until its grace ends."""
    _at(product, device.leaf.not_valid_after_utc + 89 * DAY)
    assert _code(device.prove(factories.ec_key())) == (401, "certificate-expired")
    answer = device.prove(device.key)
    assert answer.status == 201
    assert device.log_in(product.certificate(answer)).status == 200


def test_an_expired_certificate_cannot_log_in(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired certificate cannot log in, renew over mTLS, or renew after its grace."""
    _at(product, device.leaf.not_valid_after_utc + DAY)
    claims = {"iat": epoch(product.lambdas.now())}
    login = product.prove("GET", "/v1/device", device.key, device.leaf, claims=claims)
    assert _code(login) == (401, "certificate-expired")
    assert _code(device.renew(device.key)) == (401, "certificate-expired")
    _at(product, device.leaf.not_valid_after_utc + 90 * DAY)
    late = device.prove(device.key)
    assert (*_code(late), late.body["action"]) == (401, "certificate-expired", "reenroll")


def test_a_lapsed_identity_does_not_block_a_new_one(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group that refuses to replace, a device can enroll again after its old identity's grace."""
    refusing = {"gateways": group("gateways", product.factory, reenroll="refuse", budget=None)}
    product.publish(groups=refusing)
    long = product.factory.issue("gw-1", product.boards["gw-1"], days=3_000)
    _at(product, device.leaf.not_valid_after_utc + 89 * DAY)
    assert _code(product.enroll(long)) == (409, "already-enrolled")
    _at(product, device.leaf.not_valid_after_utc + 90 * DAY)
    assert product.enroll(long).status == 201


def test_a_renewal_needs_possession_of_the_new_key(device: Device) -> None:
    """A renewal with a CSR that the new key did not sign is refused."""
    good = factories.csr(factories.ec_key())
    der = good.public_bytes(Encoding.DER)
    forged = factories.base64_text(der[:-1] + bytes([der[-1] ^ 1]))
    answer = device.renew(factories.ec_key(), csr=forged)
    assert _code(answer) == (400, "csr-signature-invalid")
    assert len(device.product.objects()) == 1


def test_a_revoked_device_commits_nothing_by_renewing(product: Product, device: Device) -> None:
    """A revoked device that renews with its pending certificate does not commit it."""
    pending = product.certificate(device.renew(factories.ec_key()))
    product.operate("devices.revoke", deviceId="gw-1")
    assert _code(device.renew(factories.ec_key(), pending)) == (403, "device-revoked")
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["pending"]["serial"] == f"{pending.serial_number:x}"


def _claims(product: Product) -> tuple[Any, Any]:
    """Return a device's claims, and those that are pending."""
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    return shown["claims"], shown["pendingClaims"]


def test_claims_change_at_the_commit(product: Product, device: Device) -> None:
    """Claims that a renewal sends count from the first login with its certificate on."""
    key = factories.ec_key()
    answer = device.renew(key, claims={"model": "x2"})
    assert _claims(product) == ({}, {"model": "x2"})
    device.log_in(product.certificate(answer))
    assert _claims(product) == ({"model": "x2"}, None)


def test_a_renewal_without_claims_keeps_them(product: Product, device: Device) -> None:
    """A renewal that says nothing about claims keeps them, and one with no claims in it removes them."""
    said = product.certificate(device.renew(factories.ec_key(), claims={"model": "x2"}))
    device.log_in(said)
    renewed = product.certificate(device.renew(factories.ec_key(), said))
    device.log_in(renewed)
    assert _claims(product) == ({"model": "x2"}, None)
    empty = device.renew(factories.ec_key(), renewed, claims={})
    assert _claims(product) == ({"model": "x2"}, {})
    device.log_in(product.certificate(empty))
    assert _claims(product) == ({}, None)


def test_a_repeat_keeps_the_first_claims(product: Product, device: Device) -> None:
    """A repeated request gets the recorded certificate, with the claims of the first request."""
    key = factories.ec_key()
    first = device.renew(key, claims={"model": "x2"})
    again = device.renew(key, claims={"model": "x3"})
    assert again.body["serial"] == first.body["serial"]
    device.log_in(product.certificate(again))
    assert _claims(product) == ({"model": "x2"}, None)


def test_a_new_enrollment_keeps_the_claims_until_its_commit(product: Product, device: Device) -> None:
    """Claims of another enrollment count from its commit on, and stay if it says nothing about them."""
    device.log_in(product.certificate(device.renew(factories.ec_key(), claims={"model": "x2"})))
    silent = product.enroll(device.bootstrap)
    assert _claims(product) == ({"model": "x2"}, None)
    device.log_in(product.certificate(silent))
    assert _claims(product) == ({"model": "x2"}, None)
    said = product.enroll(device.bootstrap, claims={"model": "x3"})
    assert _claims(product) == ({"model": "x2"}, {"model": "x3"})
    device.log_in(product.certificate(said))
    assert _claims(product) == ({"model": "x3"}, None)


def test_the_claims_of_a_first_enrollment_count_at_once(product: Product) -> None:
    """A device without an active certificate has the claims of its pending one."""
    product.enroll(product.bootstrap("gw-1"), claims={"model": "x1"})
    assert _claims(product) == ({"model": "x1"}, None)
    _at(product, datetime.now(UTC) + timedelta(seconds=901))
    product.enroll(product.bootstrap("gw-1"), claims={"model": "x2"})
    assert _claims(product) == ({"model": "x2"}, None)


def test_a_renewal_is_the_devices_own(device: Device) -> None:
    """A renewal with another device's id in its body is refused."""
    assert _code(device.renew(factories.ec_key(), deviceId="gw-2")) == (403, "device-id-mismatch")


def test_a_group_that_is_gone_renews_no_device(product: Product, device: Device) -> None:
    """A device cannot renew after its group was removed from the fleet definition."""
    product.publish(groups={"others": group("others", product.factory)})
    assert _code(device.renew(factories.ec_key())) == (403, "enrollment-closed")


def test_a_replaced_device_renews_no_more(product: Product, device: Device) -> None:
    """After a device enrolled anew with another key, its old certificate cannot renew."""
    new = product.certificate(product.enroll(device.bootstrap))
    assert device.log_in(new).status == 200
    assert _code(device.renew(factories.ec_key())) == (403, "certificate-not-current")


def test_renewals_are_spread(product: Product) -> None:
    """Devices that enroll at the same time become due for renewal on different days, well before the end."""
    answers = [product.enroll(product.bootstrap(f"gw-{number}")) for number in range(8)]
    assert len({answer.body["renewIn"] // 86_400 for answer in answers}) > 4
    for answer in answers:
        assert 0.65 < answer.body["renewIn"] / (365 * 86_400) < 0.76


def test_renewals_have_a_limit(
    product: Product, device: Device, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device renews 20 times in a day of UTC and is then told to wait until the next one.

    A repeat of the last request gets its certificate. The record and the log have the device's count.
    """
    morning = datetime.combine(datetime.now(UTC).date() + DAY, time(1), UTC)
    _at(product, morning)
    leaf = device.leaf
    for _ in range(20):
        key = factories.ec_key()
        answer = device.renew(key, leaf)
        assert answer.status == 201
        leaf = product.certificate(answer)
        assert device.log_in(leaf).status == 200
    assert device.renew(key, leaf).body["serial"] == answer.body["serial"]
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["renewals"] == {"day": f"{morning:%Y-%m-%d}", "count": 20}
    capsys.readouterr()
    refused = device.renew(factories.ec_key(), leaf)
    assert (*_code(refused), refused.body["action"]) == (429, "renewal-rate-exceeded", "wait")
    left = 23 * 3_600
    assert left <= refused.body["retryAfter"] <= left + 60
    assert int(refused.headers["retry-after"]) == refused.body["retryAfter"]
    assert "gw-1 has renewed 20 times on" in logs.getvalue()
    assert '"RenewalRateExceeded":[1' in capsys.readouterr().out.replace(" ", "")
    assert product.operate("devices.show", deviceId="gw-1")["result"]["pending"] is None
    _at(product, morning + timedelta(seconds=refused.body["retryAfter"]))
    assert device.renew(factories.ec_key(), leaf).status == 201


def test_the_first_renewal_of_a_day_is_one_call(
    product: Product, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day's first renewal claims in one transaction, a further one in two, and a repeat asks once."""
    recorder = Recorder(monkeypatch)
    key = factories.ec_key()
    device.renew(key)
    assert recorder.take().count("TransactWriteItems") == 1
    device.renew(key)
    assert recorder.take().count("TransactWriteItems") == 1
    device.log_in(pending := product.certificate(device.renew(key)))
    recorder.take()
    device.renew(factories.ec_key(), pending)
    assert recorder.take().count("TransactWriteItems") == 2


def test_an_unknown_device_renews_nothing(product: Product) -> None:
    """A certificate of our CA whose device has no record cannot renew."""
    leaf = product.identity("gw-1")
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-1"}})
    assert _code(product.enroll(leaf)) == (403, "certificate-not-current")
