"""Test the login with an operational certificate, and who may connect with which over MQTT."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import (
    CertificateExpired,
    CertificateNotCurrent,
    DeviceRevoked,
    FirstbootError,
)
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.domain.proof_id import ProofId
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.errors import (
    CertificateForged,
    DeviceIdMismatch,
    OperationalCertificateRequired,
    PrincipalMismatch,
    ProofRequired,
    ProofStale,
    WayNotAllowed,
)
from firstboot.identity.login import LogIn, check_issued, stored
from firstboot.identity.possession import OverMqtt, OverTls, Presented, Proven, Recorded
from firstboot.pki import chain, nonce
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateNotYetValid, CertificateUsageWrong
from tests import factories
from tests.field.encode import own
from tests.unit.fleet_folders import TOML, device, fleet

NOW = datetime.now(UTC).replace(microsecond=0)
CA = factories.authority("Firstboot CA")
KEY = factories.ec_key()
NAME = DeviceId("gw-1")
LEAF = CA.issue(NAME, KEY)
NEXT = CA.issue(NAME, factories.ec_key())
ID = own(LEAF).fingerprint


def record(leaf: x509.Certificate, **changes: Any) -> CertificateRecord:
    """Return what the device record holds of a certificate."""
    values: dict[str, Any] = {
        "serial": f"{leaf.serial_number:x}",
        "spki": own(leaf).spki_fingerprint(),
        "not_before": leaf.not_valid_before_utc,
        "not_after": leaf.not_valid_after_utc,
        "renew_after": NOW + timedelta(days=9),
    }
    return CertificateRecord(**values | changes)


ACTIVE = record(LEAF, certificate_id=ID)


@dataclass
class World:
    """The storage of a login, in memory."""

    found: Device | None = field(default_factory=lambda: replace(device(), active=ACTIVE))
    certificates: dict[str, bytes] = field(default_factory=dict)
    spent: list[ProofId] = field(default_factory=list)
    commits: list[tuple[Device, x509.Certificate]] = field(default_factory=list)
    in_force: Fleet = field(default_factory=fleet)

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record."""
        assert device_id == NAME
        return self.found

    def commit(self, committed: Device, leaf: x509.Certificate) -> Device:
        """Record a commit."""
        self.commits.append((committed, leaf))
        return committed

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return a stored chain."""
        assert device_id == NAME
        return self.certificates.get(serial)

    def spend(self, proof: ProofId) -> bool:
        """Record the use of a proof."""
        self.spent.append(proof)
        return True

    def certificate(self, thumbprint: str) -> Certificate | None:
        """Return no certificate, because these proofs have theirs."""
        raise NotImplementedError(thumbprint)

    def nonce_key(self) -> bytes:
        """Return a key."""
        return bytes(32)

    def current(self, now: datetime) -> Fleet:
        """Return a fleet."""
        assert now == NOW
        return self.in_force

    def store(self, leaf: x509.Certificate, serial: str | None = None) -> None:
        """Store a certificate, followed by the CA's."""
        chained = factories.pem(leaf) + factories.pem(CA.certificate)
        self.certificates[serial or f"{leaf.serial_number:x}"] = chained.encode()

    def login(self, presented: Presented) -> Any:
        """Log in."""
        return LogIn(CA.certificate, self, self, self, self)(presented, NOW)

    def connected(self, shown: str | None = None, principal: str = ID, client_id: str = NAME) -> Any:
        """Return the certificate of a connection."""
        return Connected(self, self)(Connection(client_id, principal), shown)


def test_the_active_certificate_logs_in() -> None:
    """A login with the active certificate has the record and the certificate's id, and commits nothing."""
    world = World()
    identity = world.login(OverTls(own(LEAF)))
    assert (identity.device, identity.certificate_id) == (world.found, ID)
    assert not world.commits
    assert not world.spent


def test_only_our_certificates_log_in() -> None:
    """A certificate of another CA doesn't log in."""
    with pytest.raises(OperationalCertificateRequired):
        World().login(OverTls(own(factories.authority().issue(NAME, KEY))))


def test_another_devices_client_id_is_refused() -> None:
    """A device over MQTT logs in under its own client id only."""
    assert World().login(OverMqtt(own(LEAF), NAME)).certificate_id == ID
    for presented in (OverMqtt(own(LEAF), "gw-2"), Recorded(own(LEAF), "gw-2", NAME)):
        with pytest.raises(DeviceIdMismatch):
            World().login(presented)


def test_a_proof_is_used_after_the_verification() -> None:
    """A login by proof records the proof's use, but not before the certificate was accepted."""
    proof = ProofId("p", NOW, has_nonce=False)
    world = World()
    world.login(Proven(own(LEAF), (), proof))
    assert world.spent == [proof]
    forged = World(found=replace(device(), active=record(NEXT)))
    with pytest.raises(CertificateForged):
        forged.login(Proven(own(LEAF), (), proof))
    assert not forged.spent


UNVERIFIED: dict[str, tuple[x509.Certificate, type[FirstbootError]]] = {
    "expired": (CA.issue(NAME, KEY, not_before=NOW - timedelta(days=400)), CertificateExpired),
    "early": (CA.issue(NAME, KEY, not_before=NOW + timedelta(days=1)), CertificateNotYetValid),
    "ca": (CA.issue(NAME, KEY, ca=True), CertificateUsageWrong),
    "of another CA": (
        factories.authority("Firstboot CA").issue(NAME, KEY),
        OperationalCertificateRequired,
    ),
}


@pytest.mark.parametrize(("leaf", "error"), UNVERIFIED.values(), ids=UNVERIFIED)
def test_a_certificate_is_verified_before_anything_else(
    leaf: x509.Certificate, error: type[FirstbootError]
) -> None:
    """A certificate that does not verify is refused before any record is read or written."""
    nothing = cast("Any", None)
    log_in = LogIn(CA.certificate, nothing, nothing, nothing, nothing)
    with pytest.raises(error):
        log_in(Proven(own(leaf), (), ProofId("p", NOW, has_nonce=False)), NOW)


def test_the_way_is_checked_before_a_proof_is_used() -> None:
    """A login in a way that the device's group does not allow uses no proof up."""
    world = World(in_force=fleet(toml=TOML.replace("trust =", 'ways = ["mtls"]\ntrust =')))
    with pytest.raises(WayNotAllowed):
        world.login(Proven(own(LEAF), (), ProofId("p", NOW, has_nonce=False)))
    assert not world.spent


@pytest.mark.parametrize("was_active", [True, False])
def test_a_pending_certificate_is_committed_as_it_was_stored(*, was_active: bool) -> None:
    """The first login commits the stored certificate, also if its twin is presented."""
    world = World(replace(device(), active=ACTIVE if was_active else None, pending=record(NEXT)))
    world.store(NEXT)
    identity = world.login(OverTls(own(factories.twin(NEXT))))
    assert identity.certificate_id == chain.fingerprint(NEXT)
    assert world.commits == [(identity.device, NEXT)]
    assert identity.device.active.certificate_id == chain.fingerprint(NEXT)
    assert identity.device.pending is None


def test_a_recorded_certificate_is_the_stored_one() -> None:
    """The certificate of an MQTT connection was read from the storage, and is not read again."""
    assert stored(Recorded(own(LEAF), NAME, NAME), NAME, World()) == LEAF
    world = World(replace(device(), pending=record(NEXT)))
    assert world.login(Recorded(own(NEXT), NAME, NAME)).certificate_id == chain.fingerprint(NEXT)


def test_a_pending_certificate_that_is_not_stored_is_not_committed() -> None:
    """A pending certificate without a stored one is refused, and the log names both ids."""
    with pytest.raises(CertificateNotCurrent) as caught:
        World(replace(device(), pending=record(NEXT))).login(OverTls(own(NEXT)))
    assert caught.value.log == f"gw-1's certificate {NEXT.serial_number:x} is not stored"


@pytest.mark.parametrize("place", ["active", "pending", "superseded"])
def test_a_recorded_serial_has_its_key(place: str) -> None:
    """A certificate with a recorded serial number and another key is forged."""
    found = replace(device(), **cast("Any", {place: record(LEAF)}))
    check_issued(own(LEAF), NAME, found, World())
    forged = CA.issue(NAME, factories.ec_key(), serial=LEAF.serial_number)
    with pytest.raises(CertificateForged) as caught:
        check_issued(own(forged), NAME, found, World())
    assert caught.value.log == f"gw-1's certificate {LEAF.serial_number:x} has another key"


def test_a_key_that_is_never_certified_is_no_recorded_one() -> None:
    """A certificate with a recorded serial number and a key that Firstboot doesn't certify is forged."""
    found = replace(device(), active=record(LEAF))
    key = factories.ec_key(ec.SECP256K1())
    forged = own(CA.issue(NAME, key, serial=LEAF.serial_number))
    with pytest.raises(CertificateForged):
        check_issued(forged, NAME, found, World())


@pytest.mark.parametrize("found", [None, replace(device(), active=ACTIVE)], ids=["none", "another"])
def test_a_certificate_without_a_record_must_be_stored(found: Device | None) -> None:
    """A certificate of our CA that no record has is forged, unless it was stored as it is."""
    world = World()
    with pytest.raises(CertificateForged) as caught:
        check_issued(own(NEXT), NAME, found, world)
    assert caught.value.log == f"gw-1's certificate {NEXT.serial_number:x} was never issued"
    world.store(LEAF, f"{NEXT.serial_number:x}")
    with pytest.raises(CertificateForged) as caught:
        check_issued(own(NEXT), NAME, found, world)
    assert caught.value.log == f"gw-1's stored certificate {NEXT.serial_number:x} is another"
    world.store(NEXT)
    check_issued(own(factories.twin(NEXT)), NAME, found, world)


def test_a_stored_certificate_is_current_if_the_record_says_so() -> None:
    """A certificate that was issued, but is neither active nor pending, doesn't log in."""
    world = World()
    world.store(NEXT)
    with pytest.raises(CertificateNotCurrent):
        world.login(OverTls(own(NEXT)))


def test_a_revoked_device_does_not_log_in() -> None:
    """A revoked device's certificate is refused as revoked."""
    revoked = replace(device(), active=ACTIVE, status=Status.REVOKED)
    with pytest.raises(DeviceRevoked):
        World(revoked).login(OverTls(own(LEAF)))


@pytest.mark.parametrize(
    "principal",
    ["", ID[:-1], ID + "0", "A" * 64, "AROA" + "x" * 90],
    ids=["none", "short", "long", "upper-case", "role"],
)
def test_a_connection_needs_a_certificate(principal: str) -> None:
    """A connection whose principal is no certificate id is refused; the log has the principal's beginning."""
    with pytest.raises(ProofRequired) as caught:
        World().connected(principal=principal)
    assert caught.value.log == f"principal {principal[:80]!r}"


def test_a_shown_certificate_is_the_connections() -> None:
    """The certificate in a request over MQTT has the id of the connection's certificate, or is refused."""
    assert World().connected(factories.pem(LEAF)) == OverMqtt(own(LEAF), NAME)
    with pytest.raises(PrincipalMismatch) as caught:
        World().connected(factories.pem(NEXT))
    assert caught.value.log == f"{ID} sent {own(NEXT).fingerprint}"


@pytest.mark.parametrize("place", ["active", "pending", "superseded"])
@pytest.mark.parametrize("known", [ID, None], ids=["with-id", "without-id"])
def test_a_connections_certificate_is_in_the_record(place: str, known: str | None) -> None:
    """The certificate of a connection is found in the record, with or without its id there."""
    others = {"active": record(NEXT), "pending": record(NEXT)}
    found = replace(device(), **cast("Any", others | {place: record(LEAF, certificate_id=known)}))
    world = World(found)
    world.store(NEXT)
    world.store(LEAF)
    assert world.connected() == Recorded(own(LEAF), NAME, NAME)


@pytest.mark.parametrize(
    "found",
    [
        None,
        device(),
        replace(device(), active=record(NEXT)),
        replace(device(), active=record(LEAF, certificate_id="0" * 64)),
        replace(device(), active=record(factories.authority().issue(NAME, KEY))),
    ],
    ids=["no-device", "no-certificate", "another", "another-id", "not-stored"],
)
def test_a_connection_with_another_certificate_is_refused(found: Device | None) -> None:
    """A connection whose certificate the record of its client id doesn't have is refused."""
    world = World(found)
    world.store(NEXT)
    world.store(LEAF)
    with pytest.raises(CertificateNotCurrent) as caught:
        world.connected()
    assert caught.value.log == f"gw-1's record has no certificate {ID}"


def test_a_login_may_need_the_nonce() -> None:
    """A login by a proof without the nonce, in a group that demands it, is answered with a fresh nonce."""
    world = World()
    demanding = fleet(toml=TOML.replace("trust =", 'proof = "nonce"\ntrust ='))
    world.in_force = demanding
    with pytest.raises(ProofStale) as caught:
        world.login(Proven(own(LEAF), (), ProofId("p", NOW, has_nonce=False)))
    assert nonce.is_good(caught.value.nonce, bytes(32), NOW)
