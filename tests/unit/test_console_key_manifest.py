"""Manifests of public keys are checked completely, one row at a time."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from console import key_manifest
from console.cloud import Refused
from console.key_manifest import Run
from firstboot.domain.fleet import Group
from firstboot.domain.names import ANY_FLEET
from firstboot.domain.plans import CertificatePlan
from tests import factories
from tests.production import base64_key, pem_key, public_key

GOOD, OTHER = base64_key(public_key()), base64_key(public_key())
PLAN = CertificatePlan(days=365, renew_at=0.66, grace_days=90)
GROUP = Group("gateways", (), "subject.CN", "replace", 10, PLAN, "registry")
RUN = Run(lambda _: None, GROUP, ANY_FLEET, lambda: False)
"""A new run on a disk that minds the case of names."""


def problems(file: Path, group: Group = GROUP) -> list[str]:
    """Return the problems for which a manifest is refused."""
    with pytest.raises(Refused) as caught:
        key_manifest.checked(file, replace(RUN, group=group))
    found: list[str] = caught.value.problem["problems"]
    assert caught.value.problem["code"] == "manifest-invalid"
    assert all(line in caught.value.problem["detail"] for line in found)
    return found


def manifest(folder: Path, *rows: str, header: str = "deviceId,publicKey") -> Path:
    """Write a manifest of these lines."""
    file = folder / "keys.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_an_id_that_the_attribute_cannot_hold_is_a_problem(tmp_path: Path) -> None:
    """An id with `_`, which no serialNumber may have, is a problem of its line."""
    named = replace(GROUP, device_id="subject.serialNumber")
    (problem,) = problems(manifest(tmp_path, f"gw-1,{GOOD}", f"gw_2,{OTHER}"), named)
    assert problem.startswith("line 3: column deviceId: the attribute serialNumber can't hold 'gw_2'")


def test_every_problem_is_reported_with_its_line(tmp_path: Path) -> None:
    """Invalid and repeated ids and keys are reported with the lines on which their rows begin."""
    pem = pem_key(public_key())
    weak: dict[str, factories.PrivateKey] = {
        "p521": factories.ec_key(ec.SECP521R1()),
        "k1": factories.ec_key(ec.SECP256K1()),
        "rsa": factories.rsa_key(1024),
        "ed": ed25519.Ed25519PrivateKey.generate(),
    }
    file = manifest(
        tmp_path,
        f"gw-1,{GOOD}",
        f'gw-2,"{pem}"',
        f"gw-*,{OTHER}",
        f"boot-1,{OTHER}",
        f"gw-1,{OTHER}",
        f"gw-3,{GOOD}",
        "gw-4,nonsense",
        "gw-5",
        *(f"gw-{name},{base64_key(key.public_key())}" for name, key in weak.items()),
    )
    after = 3 + pem.count("\n") + 1  # the PEM begins on line 3
    kinds = "the public key must be P-256, P-384 or RSA of 2048 to 4096 bits"
    assert problems(file) == [
        f"line {after}: column deviceId: 'gw-*' is no device id: {ANY_FLEET.words}",
        f"line {after + 1}: column deviceId: 'boot-1' is no device id: {ANY_FLEET.words}",
        f"line {after + 2}: column deviceId: device gw-1 is on line 2 already",
        f"line {after + 3}: column publicKey: device gw-3 has the key of line 2",
        f"line {after + 4}: column publicKey: device gw-4: the public key can't be parsed",
        f"line {after + 5}: there is no cell for column 'publicKey'",
        *(
            f"line {after + 6 + n}: column publicKey: device gw-{name}: {kinds}"
            for n, name in enumerate(weak)
        ),
    ]


def test_a_compressed_key_is_the_same_key(tmp_path: Path) -> None:
    """A key in compressed form is recognised as the same key."""
    key = public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    # SubjectPublicKeyInfo of P-256 (RFC 5480 section 2): id-ecPublicKey, prime256v1, the point's bits.
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    file = manifest(tmp_path, f"gw-1,{base64_key(key)}", f"gw-2,{factories.base64_text(head + point)}")
    assert problems(file) == ["line 3: column publicKey: device gw-2 has the key of line 2"]


@pytest.mark.parametrize("header", ["device,publicKey", "deviceId", ""])
def test_both_columns_must_be_there(tmp_path: Path, header: str) -> None:
    """A file without one of the columns is refused."""
    (problem,) = problems(manifest(tmp_path, f"gw-1,{GOOD}", header=header))
    assert "deviceId and publicKey" in problem


def test_an_id_of_another_group_is_reported(tmp_path: Path) -> None:
    """An id that the group's devices can't have is reported with its line."""
    file = manifest(tmp_path, f"gw-1,{GOOD}", f"dev-1,{OTHER}")
    (problem,) = problems(file, replace(GROUP, ids="gw-*"))
    assert problem == "line 3: column deviceId: group gateways has the ids gw-*, and dev-1 is another"


def test_a_manifest_without_a_row_is_a_mistake(tmp_path: Path) -> None:
    """A manifest without a row is refused."""
    assert problems(manifest(tmp_path)) == ["there is no row in it"]


@pytest.mark.parametrize("content", [b"gw-1,\xff\n", b'gw-1,"' + GOOD.encode() + b"\n", b'gw-1,"a"b\n'])
def test_a_file_that_is_not_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    """Bytes that are not UTF-8 and quotes that do not match are reported with their line."""
    file = tmp_path / "keys.csv"
    file.write_bytes(b"deviceId,publicKey\n" + content)
    (problem,) = problems(file)
    assert problem.startswith("line ")


def test_other_columns_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    """A byte order mark and further columns are ignored, because a vendor's list has columns of its own."""
    file = manifest(tmp_path, f"17,gw-1,{GOOD}", header="\ufefflot,deviceId,publicKey")
    assert key_manifest.checked(file, RUN) == 1
    assert [each.name for each in key_manifest.wanted(file, RUN.rule)] == ["gw-1"]


def test_a_manifest_that_changes_after_its_check_is_refused(tmp_path: Path) -> None:
    """Each row is checked again when it is issued."""
    file = manifest(tmp_path, f"gw-1,{GOOD}", "gw-*,nonsense")
    rows = key_manifest.wanted(file, RUN.rule)
    assert next(rows).name == "gw-1"
    with pytest.raises(Refused):
        next(rows)


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """The use of memory does not grow with the size of the rows."""
    rows = (f'gw-{n:05d},"{base64_key(public_key())}",{"x" * 20_000}' for n in range(500))
    file = manifest(tmp_path, *rows, header="deviceId,publicKey,remark")
    tracemalloc.start()
    try:
        assert key_manifest.checked(file, RUN) == sum(1 for _ in key_manifest.wanted(file, RUN.rule)) == 500
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size / 10


@given(st.text(alphabet=st.sampled_from('gw-1,"\n\r\x00\ufeff=+MFkw;é') | st.characters(codec="utf-8")))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Any text after the header is refused with a problem, and does not end in another error."""
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text("deviceId,publicKey\n" + text, newline="")
    assert problems(file)
