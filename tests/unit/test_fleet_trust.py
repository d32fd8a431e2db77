"""Trust anchors are CA certificates only, and no CA serves two groups."""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.pki.certificate import parse_text
from tests import factories
from tests.field.encode import own
from tests.unit.fleet_folders import TOML, fleet, problems

FACTORY = factories.authority()
OTHER = factories.authority("Other CA")
TWO_GROUPS = TOML + '[groups.sensors]\ntrust = ["trust/other.pem"]\n'


def _bytes(*authorities: factories.Authority) -> bytes:
    return "".join(factories.pem(each.certificate) for each in authorities).encode()


def test_every_certificate_of_a_file_is_an_anchor() -> None:
    """Every certificate in a trust file becomes an anchor, and text around the certificates is ignored."""
    trust = fleet(trust={"factory.pem": b"# ours\n" + _bytes(FACTORY, OTHER)}).groups["gateways"].trust
    assert [parse_text(pem) for pem in trust] == [own(FACTORY.certificate), own(OTHER.certificate)]
    assert all(pem.startswith("-----BEGIN CERTIFICATE-----") for pem in trust)


def test_groups_may_trust_different_cas() -> None:
    """Groups with unrelated CAs compile, and so does one group with a CA and its sub-CA."""
    compiled = fleet(toml=TWO_GROUPS, trust={"factory.pem": _bytes(FACTORY), "other.pem": _bytes(OTHER)})
    assert set(compiled.groups) == {"gateways", "sensors"}
    assert fleet(trust={"factory.pem": _bytes(FACTORY, FACTORY.intermediate("Line 1"))})


def test_an_expired_anchor_compiles() -> None:
    """An expired anchor compiles, so that a folder compiles on every day; the verifier checks dates."""
    key = factories.ec_key()
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    expired = FACTORY.issue("Old CA", key, ca=True, not_before=long_ago, days=1)
    assert fleet(trust={"factory.pem": factories.pem(expired).encode()})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "there is no such file"),
        (b"nothing", "not a PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a PEM certificate"),
        (factories.key_pem(factories.ec_key()).encode() + _bytes(FACTORY), "holds a private key"),
        (
            factories.pem(FACTORY.issue("leaf", factories.ec_key(), usage=None)).encode(),
            "not a CA certificate",
        ),
        (
            factories.pem(
                FACTORY.issue(
                    "x", factories.ec_key(), ca=True, usage=None, extra=[(factories.CLIENT_USAGE, True)]
                )
            ).encode(),
            "may not sign certificates",
        ),
        (_bytes(factories.authority(key=factories.ec_key(ec.SECP256K1()))), "not on P-256 or P-384"),
        (_bytes(factories.authority(key=factories.rsa_key(1024))), "not one of 2048 to 4096"),
    ],
)
def test_an_invalid_trust_file_is_reported(content: bytes, problem: str) -> None:
    """A trust file is refused unless it holds CA certificates with strong keys and nothing else."""
    found = problems(trust={"factory.pem": content})
    assert len(found) == 1
    assert "factory.pem" in found[0]
    assert problem in found[0]


@pytest.mark.parametrize(
    "file", ["trust/absent.pem", "grants/telemetry.json", "/etc/ssl/cert.pem", "factory.pem"]
)
def test_anchors_come_from_the_trust_folder(file: str) -> None:
    """A trust anchor that is not a file in trust/ is a problem, even if the file exists elsewhere."""
    assert "there is no such file" in problems(toml=TOML.replace("trust/factory.pem", file))[0]


def test_groups_cannot_share_a_ca() -> None:
    """Two groups with the same CA key are a problem, even if its certificates differ."""
    renamed = factories.authority("Renamed", FACTORY.key)
    for other in (FACTORY, renamed):
        found = problems(toml=TWO_GROUPS, trust={"factory.pem": _bytes(FACTORY), "other.pem": _bytes(other)})
        assert len(found) == 1
        assert "are the same CA" in found[0]


def test_a_ca_cannot_hang_under_another_groups_through_others() -> None:
    """A CA below another group's CA is found through the anchors between them."""
    line = FACTORY.intermediate("Line 1")
    station = line.intermediate("Station 1")
    found = problems(
        toml=TWO_GROUPS, trust={"factory.pem": _bytes(FACTORY, line), "other.pem": _bytes(station)}
    )
    pair = "gateways's trust/factory.pem and sensors's trust/other.pem: the CA of gateways issued"
    assert [pair in problem for problem in found] == [True, True]  # the factory's CA and the line's


def test_a_ca_cannot_hang_under_another_groups_key() -> None:
    """A CA is below another CA also if the anchor is another certificate of that CA's key."""
    renamed = factories.authority("Renamed", FACTORY.key)
    line = FACTORY.intermediate("Line 1")
    crossed = factories.Authority(FACTORY.issue("Crossed", OTHER.key, ca=True), OTHER.key)
    below = OTHER.intermediate("Line 2")
    for first, second in ((renamed, line), (crossed, below), (FACTORY, crossed)):
        for upper, lower in ((first, second), (second, first)):
            found = problems(
                toml=TWO_GROUPS, trust={"factory.pem": _bytes(upper), "other.pem": _bytes(lower)}
            )
            assert len(found) == 1
            assert "issued the CA of" in found[0]


def test_a_ca_cannot_hang_under_another_groups_second_certificate() -> None:
    """The issuer of one certificate of a key is above every other certificate of that key."""
    crossed = factories.Authority(FACTORY.issue("Crossed", OTHER.key, ca=True), OTHER.key)
    found = problems(
        toml=TWO_GROUPS, trust={"factory.pem": _bytes(FACTORY), "other.pem": _bytes(OTHER, crossed)}
    )
    assert len(found) == 2  # the key's both certificates


def test_many_anchors_of_one_name_compile_in_time() -> None:
    """Anchors that sign themselves are compared by their keys, which takes no pairs of signatures."""
    roots = [factories.authority("Factory CA") for _ in range(200)]
    begun = perf_counter()
    trust = {"factory.pem": _bytes(*roots[:100]), "other.pem": _bytes(*roots[100:])}
    assert set(fleet(toml=TWO_GROUPS, trust=trust).groups) == {"gateways", "sensors"}
    assert perf_counter() - begun < 10


def test_a_ca_cannot_hang_under_another_groups() -> None:
    """A sub-CA cannot be the anchor of another group than its root's, in either order of the groups."""
    line = FACTORY.intermediate("Line 1")
    for first, second in ((FACTORY, line), (line, FACTORY)):
        found = problems(toml=TWO_GROUPS, trust={"factory.pem": _bytes(first), "other.pem": _bytes(second)})
        assert len(found) == 1
        assert "issued the CA of" in found[0]
