"""Test the freshness and the single use of signed proofs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from firstboot.domain.clock import SKEW, from_epoch
from firstboot.domain.proof_id import ProofId
from firstboot.identity.errors import CertificateUnknown, DeviceIdMismatch, ProofReplayed, ProofStale
from firstboot.identity.possession import OverMqtt, OverTls, Proven, check_client_id, proof_of
from firstboot.identity.proof import Prove, spend
from firstboot.pki import nonce
from firstboot.pki.certificate import Certificate
from firstboot.pki.proof import Call, VerifiedProof
from tests import factories, proofs
from tests.field.encode import own
from tests.unit.fleet_folders import fleet

NOW = from_epoch(1_700_000_000)
NOW_SECONDS = 1_700_000_000
FACTORY = factories.authority()
LINE = FACTORY.intermediate("Line")
KEY = factories.ec_key()
LEAF = LINE.issue("gw-1", KEY)
URL = "https://api.example.com/v1/certificates"
GROUP = fleet().groups["gateways"]


@dataclass
class Storage:
    """Proofs in memory."""

    known: dict[str, Certificate] = field(default_factory=dict)
    spent: set[ProofId] = field(default_factory=set)

    def spend(self, proof: ProofId) -> bool:
        """Record a proof."""
        is_new = proof not in self.spent
        self.spent.add(proof)
        return is_new

    def certificate(self, thumbprint: str) -> Certificate | None:
        """Return a known certificate."""
        return self.known.get(thumbprint)

    def nonce_key(self) -> bytes:
        """Return a key."""
        return bytes(32)


def prove(storage: Storage | None = None, **changes: Any) -> Proven:
    """Verify a proof with changed claims, or by thumbprint."""
    by_thumbprint = changes.pop("by_thumbprint", False)
    claims = {"iat": NOW_SECONDS, "jti": "1"} | changes
    token = proofs.sign(
        KEY, LEAF, "POST", URL, "{}", above=(LINE.certificate,), by_thumbprint=by_thumbprint, claims=claims
    )
    return Prove(storage or Storage())(token, Call("POST", URL, b"{}"), NOW)


@pytest.mark.parametrize("age", [-300, -1, 0, 299, 300])
def test_a_proof_by_time_holds_for_five_minutes(age: int) -> None:
    """A proof whose time is at most 300 s off is fresh; it is remembered until it is certainly stale."""
    proven = prove(iat=NOW_SECONDS - age)
    assert proven.proof.expires_at == NOW + timedelta(seconds=301 - age) + SKEW
    assert not proven.proof.has_nonce


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (301, "iat is 301 s before now"),
        (-301, "iat is -301 s before now"),
        (366 * 86_400 - 1, "iat is 31622399 s before now"),
        (366 * 86_400, "iat is years off"),
        (-(10**5000), "iat is years off"),
    ],
    ids=["late", "early", "a-year", "a-year-and-more", "endless"],
)
def test_a_stale_proof_is_answered_with_a_nonce(age: int, reason: str) -> None:
    """A proof whose time is more than 300 s off is stale, and its answer has a fresh nonce."""
    with pytest.raises(ProofStale) as caught:
        Prove(Storage())._end(_verified(NOW_SECONDS - age), NOW)
    assert nonce.is_good(caught.value.nonce, bytes(32), NOW)
    assert caught.value.log == reason


def _verified(issued_at: int) -> VerifiedProof:
    return VerifiedProof(jti="1", issued_at=issued_at, nonce=None)


def test_a_proof_with_a_nonce_holds_as_long_as_the_nonce() -> None:
    """A proof with a nonce of ours is remembered until the nonce is no longer good."""
    made = NOW - timedelta(minutes=4)
    proven = prove(iat=None, nonce=nonce.make(bytes(32), made))
    assert proven.proof.has_nonce
    assert proven.proof.expires_at == made + nonce.LIFETIME + timedelta(seconds=1) + SKEW


@pytest.mark.parametrize(
    "given",
    [nonce.make(b"other", NOW), nonce.make(bytes(32), NOW - timedelta(minutes=6)), "guess"],
    ids=["another-key", "old", "no-nonce"],
)
def test_a_bad_nonce_is_stale(given: str) -> None:
    """A proof with a nonce that is old or not ours is answered with a fresh nonce."""
    with pytest.raises(ProofStale) as caught:
        prove(iat=None, nonce=given)
    assert caught.value.log == "the nonce is too old or not ours"
    assert caught.value.nonce == Prove(Storage()).fresh_nonce(NOW) == nonce.make(bytes(32), NOW)


def test_the_proofs_certificates_are_the_callers() -> None:
    """A proof proves its first certificate, and hands on the others."""
    proven = prove()
    assert (proven.leaf, proven.intermediates) == (own(LEAF), (own(LINE.certificate),))


def test_a_thumbprint_names_a_stored_certificate() -> None:
    """A proof with a thumbprint is that of the stored certificate, and refused if none is stored."""
    known = Storage({own(LEAF).fingerprint: own(LEAF)})
    proven = prove(known, by_thumbprint=True)
    assert (proven.leaf, proven.intermediates) == (own(LEAF), ())
    with pytest.raises(CertificateUnknown):
        prove(by_thumbprint=True)


def test_a_jti_is_unique_for_its_certificate() -> None:
    """Two proofs are one if their certificate and jti are equal, and two if one of them differs."""
    first, again, other = prove().proof, prove().proof, prove(jti="2").proof
    assert first == again
    assert first.digest != other.digest
    neighbour = factories.ec_key()
    token = proofs.sign(
        neighbour,
        LINE.issue("gw-2", neighbour),
        "POST",
        URL,
        "{}",
        claims={"jti": "1", "iat": NOW_SECONDS},
    )
    assert Prove(Storage())(token, Call("POST", URL, b"{}"), NOW).proof.digest != first.digest


def test_a_proof_is_used_once() -> None:
    """The first use of a proof is recorded, and the second refused."""
    storage, proof = Storage(), prove().proof
    spend(proof, GROUP, storage, NOW)
    assert storage.spent == {proof}
    with pytest.raises(ProofReplayed):
        spend(proof, GROUP, storage, NOW)


def test_a_connection_uses_no_proof() -> None:
    """A caller whose connection proved possession has no use to record."""
    storage = Storage()
    spend(None, None, storage, NOW)
    assert not storage.spent
    assert proof_of(OverTls(own(LEAF))) is None
    assert proof_of(prove()) == prove().proof


@pytest.mark.parametrize("group", [None, replace(GROUP, proof="nonce")], ids=["lost", "nonce"])
def test_a_group_may_demand_the_nonce(group: Any) -> None:
    """A group that demands the nonce accepts no proof by time, and neither does a lost group."""
    storage, proof = Storage(), prove().proof
    with pytest.raises(ProofStale) as caught:
        spend(proof, group, storage, NOW)
    assert caught.value.detail == "A proof of this group's devices must have the server's nonce"
    assert caught.value.nonce == nonce.make(bytes(32), NOW)
    assert not storage.spent
    spend(replace(proof, has_nonce=True), group, storage, NOW)
    assert storage.spent


def test_a_client_id_is_the_devices() -> None:
    """An MQTT client whose id is not the device's is refused, and other callers have no client id."""
    check_client_id(OverMqtt(own(LEAF), "gw-1"), "gw-1")
    check_client_id(OverTls(own(LEAF)), "gw-1")
    with pytest.raises(DeviceIdMismatch) as caught:
        check_client_id(OverMqtt(own(LEAF), "x" * 200), "gw-1")
    assert caught.value.log == f"gw-1 connected as '{'x' * 128}'"
