"""A device never has two identities and can always recover, after any sequence of events.

The events are boots, renewals, repeated requests, losses, crashes and jumps of the clock, and calls of an
attacker who copied the bootstrap certificate or an operational one. The device is `device/boot.py` itself,
and the service the real Lambda functions. lifecycle_watch.py checks every call. At the end of each run the
device gets its identity, or it is revoked and gets nothing.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from device import certificates
from device.boot import Device
from device.hosts import MutualTls, SignedProofs
from device.patience import Patience
from device.refusal import Action, Refused
from device.service import Service
from device.store import FileIdentity, Identity, Store
from firstboot.aws import clients
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.lifecycle_watch import Claims, Watch
from tests.aws.lifecycle_wire import Clock, Fault, Loss, PowerLost, Wire
from tests.aws.product import HOST, Product
from tests.aws.test_issuance import Recorder
from tests.fleets import group

DAY = 86_400
GRACE = 90 * DAY
# Certificates last 365 days and are due after 240 to 273. No sum of these jumps falls between.
JUMPS = [120, 901, 95 * DAY, 275 * DAY]
YEARS = 6 * 365 * DAY
OPERATIONS = ["TransactWriteItems", "Sign", "PutObject", "GetObject", "GetItem", "UpdateItem"]
BOOTS = 6
EXAMPLES = 25
STEPS = 12
_numbers = itertools.count()

losses = st.none() | st.builds(Loss, st.integers(1, 5), st.booleans(), st.booleans())
faults = st.none() | st.builds(Fault, st.sampled_from(OPERATIONS), st.booleans())
hosts = st.sampled_from([MutualTls, SignedProofs])
picks = st.integers(0, 7)


class Devices(RuleBasedStateMachine):
    """One device id, with the device and the copies of its certificates."""

    def __init__(
        self, product: Product, recorder: Recorder, clock: Clock, folder: Path, reenroll: str
    ) -> None:
        super().__init__()
        self.name = f"gw-{next(_numbers)}"
        self.product = product
        self.clock = clock
        self.began = clock.now
        self.folder = folder / self.name
        self.replaces = reenroll == "replace"
        self.watch = Watch(product.records, self.name, replaces=self.replaces, grace=timedelta(seconds=GRACE))
        self.wire = Wire(product, recorder, clock, self.watch)
        self.store = Store(self.folder / "state")
        self.folder.mkdir()
        key = factories.ec_key()
        leaf = product.factory.issue(self.name, key, days=3_650)
        self.bootstrap = self.saved(
            "bootstrap", factories.key_pem(key).encode(), factories.pem(leaf).encode()
        )
        self.keys: list[bytes] = []
        self.issued: dict[str, Identity] = {}

    @initialize(host=hosts, revoked=st.sampled_from([False, False, False, True]))
    def start(self, host: type[MutualTls | SignedProofs], *, revoked: bool) -> None:
        """Choose the device's host, and whether it is revoked in the end."""
        self.service = self.connected(host)
        self.ends_revoked = revoked

    @rule(loss=losses, fault=faults)
    def boots(self, loss: Loss | None, fault: Fault | None) -> None:
        """Boot the device, possibly with a loss or a fault."""
        self.acts(lambda: self.boot(2), loss, fault)

    @rule(same_key=st.booleans(), loss=losses, fault=faults)
    def renews(self, *, same_key: bool, loss: Loss | None, fault: Fault | None) -> None:
        """Renew the certificate before it is due."""
        self.acts(lambda: self.renew(same_key=same_key), loss, fault)

    @rule(claims=st.sampled_from([None, {}, {"model": "x1"}, {"model": "x2"}]))
    def says(self, claims: Claims | None) -> None:
        """Choose what requests over mTLS say about the device from now on."""
        self.wire.claims = claims

    @rule()
    def loses_its_disk(self) -> None:
        """Leave the device only its bootstrap certificate."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)

    @rule(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: int) -> None:
        """Move the clock forward, within the life of the CAs."""
        if (self.clock.now - self.began).total_seconds() < YEARS:
            self.clock.wait(seconds)

    @rule(new=st.booleans(), key=picks, host=hosts, fault=faults)
    def bootstrap_enrolls(self, *, new: bool, key: int, host: type[MutualTls], fault: Fault | None) -> None:
        """Enroll with the bootstrap certificate, as an attacker or as a repetition by the device."""
        used = self.some_key(key, new=new)
        service = self.connected(host)
        self.tried(
            lambda: self.got(used, service.enroll(self.bootstrap, certificates.csr(used), None).chain), fault
        )

    @rule(new=st.booleans(), key=picks, identity=picks, host=hosts, fault=faults)
    def any_certificate_renews(
        self, *, new: bool, key: int, identity: int, host: type[MutualTls], fault: Fault | None
    ) -> None:
        """Renew with any certificate that was ever issued, for any key."""
        used, service = self.some_key(key, new=new), self.connected(host)
        caller = self.some_identity(identity)
        self.tried(lambda: self.got(used, service.renew(caller, certificates.csr(used)).chain), fault)

    @rule(identity=picks, host=hosts, fault=faults)
    def any_certificate_logs_in(self, identity: int, host: type[MutualTls], fault: Fault | None) -> None:
        """Log in with any certificate that was ever issued."""
        caller, service = self.some_identity(identity), self.connected(host)
        self.tried(lambda: service.commit(caller), fault)

    def teardown(self) -> None:
        """Check that only the device's certificate can log in, or none if the device is revoked."""
        self.wire.fail()
        if self.ends_revoked and self.watch.device:
            self.product.operate("devices.revoke", deviceId=self.name)
            with pytest.raises(Refused):
                self.boot(BOOTS)
        else:
            self.recovers()
        for identity in self.issued.values():
            self.tried(lambda identity=identity: self.service.commit(identity), None)  # type: ignore[misc]
        listed = clients.s3(ACCOUNT).list_objects_v2(
            Bucket=self.product.bucket, Prefix=f"certificates/{self.name}/"
        )
        assert {Path(each["Key"]).stem for each in listed.get("Contents", [])} <= set(self.watch.recorded)
        _empty(self.product)

    def recovers(self) -> None:
        """Boot the device until it succeeds, and wait between boots as long as the refusals say."""
        for _ in range(BOOTS):
            try:
                answer = self.boot(BOOTS)
            except Refused as refusal:
                self.clock.wait(self.patience_for(refusal))
            else:
                assert answer["status"] == "active"
                self.remember()
                return
        raise AssertionError("the device cannot recover")

    def patience_for(self, refusal: Refused) -> float:
        """Return the time in seconds until the device tries again."""
        if refusal.action is not Action.STOP:
            return refusal.retry_after or 10
        assert (refusal.code, self.replaces) == ("already-enrolled", False), refusal.to_json()
        active = self.watch.active
        assert active
        return (active.not_after - self.clock.now).total_seconds() + GRACE

    def boot(self, tries: int) -> dict[str, Any]:
        """Run `python -m device boot`."""
        with self.store.locked():
            return self.device(tries).boot(self.bootstrap)

    def renew(self, *, same_key: bool) -> dict[str, Any]:
        """Run `python -m device renew`."""
        with self.store.locked():
            return self.device(2).renew(same_key=same_key)

    def device(self, tries: int) -> Device:
        """Return the device as it is after a start."""
        patience = Patience(tries=tries, sleep=self.clock.wait, jitter=lambda: 0)
        return Device(self.store, self.service, patience)

    def connected(self, host: type[MutualTls | SignedProofs]) -> Service:
        """Return a connection to the service's host of this kind."""
        return Service(host(f"https://{HOST}", self.wire), self.wire, inline=True)

    def acts(self, act: Callable[[], object], loss: Loss | None, fault: Fault | None) -> None:
        """Let the device act, until it ends or loses power."""
        with suppress(PowerLost):
            self.tried(act, fault, loss)
        self.remember()

    def tried(self, act: Callable[[], object], fault: Fault | None, loss: Loss | None = None) -> None:
        """Act with these failures. A refusal is allowed, because `watch` checks every call."""
        self.wire.fail(loss, fault)
        try:
            with suppress(Refused):
                act()
        finally:
            self.wire.fail()

    def remember(self) -> None:
        """Copy the device's keys and certificates, for later calls by an attacker."""
        if key := self.store.next_key():
            self.keys.append(key)
        for identity in filter(None, (self.store.next(), self.store.live())):
            self.got(identity.key.read_bytes(), identity.certificate.read_bytes())

    def got(self, key: bytes, chain: bytes) -> None:
        """Record a certificate and its key as known to an attacker."""
        serial = f"{x509.load_pem_x509_certificates(chain)[0].serial_number:x}"
        self.keys.append(key)
        self.issued.setdefault(serial, self.saved(serial, key, chain))

    def saved(self, name: str, key: bytes, chain: bytes) -> Identity:
        """Save an identity outside the device's directory."""
        identity = FileIdentity(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        identity.certificate.write_bytes(chain)
        identity.key.write_bytes(key)
        return identity

    def some_key(self, pick: int, *, new: bool) -> bytes:
        """Return a new key, or one that was used before, counted from the latest."""
        if new or not self.keys:
            self.keys.append(certificates.new_key())
            return self.keys[-1]
        return self.keys[-1 - pick % len(self.keys)]

    def some_identity(self, pick: int) -> Identity:
        """Return one of the identities that were issued, counted from the latest."""
        known = list(self.issued.values()) or [self.bootstrap]
        return known[-1 - pick % len(known)]


def _empty(product: Product) -> None:
    """Delete every device's rows, because moto copies its tables with each transaction."""
    keys = [{"pk": row["pk"]} for row in product.rows()]
    for some in (keys[at : at + 25] for at in range(0, len(keys), 25)):
        requests: Any = {product.table: [{"DeleteRequest": {"Key": key}} for key in some]}
        clients.dynamodb().batch_write_item(RequestItems=requests)


@pytest.mark.parametrize("reenroll", ["replace", "refuse"])
def test_no_two_identities_and_always_a_way_in(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reenroll: str
) -> None:
    """After any sequence of events, one identity at most is valid, and the device can recover.

    In a group that refuses to replace, it recovers after the old identity's grace.
    """
    product.publish(groups={"gateways": group("gateways", product.factory, reenroll=reenroll, budget=None)})
    monkeypatch.setattr(os, "fsync", lambda _: None)  # power is lost only where the machine says so
    clock = Clock(product)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", str(10**9))  # read the fleet once
    product.lambdas.restart()
    product.warm_exchange()
    recorder = Recorder(monkeypatch)
    start = clock.now

    def devices() -> Devices:
        clock.now = start
        product.lambdas.restart()  # no process may keep anything of the run before
        product.warm_exchange()
        return Devices(product, recorder, clock, tmp_path, reenroll)

    run_state_machine_as_test(
        devices,  # type: ignore[arg-type] # a function is a factory, too
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
