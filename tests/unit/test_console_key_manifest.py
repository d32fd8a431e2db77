"""Manifests of public keys: all that is wrong with one is told at once, and no row is kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from console import key_manifest
from console.cloud import Refused
from tests import factories
from tests.production import base64_key, pem_key, public_key

GOOD, OTHER = base64_key(public_key()), base64_key(public_key())


def problems(file: Path) -> list[str]:
    """What is wrong with a manifest."""
    with pytest.raises(Refused) as caught:
        key_manifest.checked(file, lambda _: None)
    found: list[str] = caught.value.problem["problems"]
    assert caught.value.problem["code"] == "manifest-invalid"
    assert all(line in caught.value.problem["detail"] for line in found)
    return found


def manifest(folder: Path, *rows: str, header: str = "deviceId,publicKey") -> Path:
    """A manifest of these lines."""
    file = folder / "keys.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_all_that_is_wrong_is_told_by_line(tmp_path: Path) -> None:
    """Ids that are none or come twice, keys that are none, weak, or another's; PEM counts its lines."""
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
        f"line {after}: 'gw-*' is no device id",
        f"line {after + 1}: 'boot-1' is no device id",
        f"line {after + 2}: device gw-1 is on line 2 already",
        f"line {after + 3}: device gw-3 has the key of line 2",
        f"line {after + 4}: device gw-4: the public key can't be parsed",
        f"line {after + 5}: device gw-5: the public key can't be parsed",
        *(f"line {after + 6 + n}: device gw-{name}: {kinds}" for n, name in enumerate(weak)),
    ]


def test_a_compressed_key_is_the_same_key(tmp_path: Path) -> None:
    """The same point written another way is a duplicate."""
    key = public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    # SubjectPublicKeyInfo of P-256 (RFC 5480 section 2): id-ecPublicKey, prime256v1, the point's bits.
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    file = manifest(tmp_path, f"gw-1,{base64_key(key)}", f"gw-2,{factories.base64_text(head + point)}")
    assert problems(file) == ["line 3: device gw-2 has the key of line 2"]


@pytest.mark.parametrize("header", ["device,publicKey", "deviceId", ""])
def test_both_columns_must_be_there(tmp_path: Path, header: str) -> None:
    """A file without them is no manifest."""
    (problem,) = problems(manifest(tmp_path, f"gw-1,{GOOD}", header=header))
    assert "deviceId and publicKey" in problem


def test_a_manifest_without_a_row_is_a_mistake(tmp_path: Path) -> None:
    """Nothing to do is not what a production run means."""
    assert problems(manifest(tmp_path)) == ["there is no row in it"]


@pytest.mark.parametrize("content", [b"gw-1,\xff\n", b'gw-1,"' + GOOD.encode() + b"\n", b'gw-1,"a"b\n'])
def test_what_is_no_csv_is_told(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no text, quotes that don't close or close too soon."""
    file = tmp_path / "keys.csv"
    file.write_bytes(b"deviceId,publicKey\n" + content)
    (problem,) = problems(file)
    assert problem.startswith("line ")


def test_other_columns_and_a_byte_order_mark_are_no_matter(tmp_path: Path) -> None:
    """As spreadsheets and element makers write them."""
    file = manifest(tmp_path, f"17,gw-1,{GOOD},x,y", header="\ufefflot,deviceId,publicKey")
    assert key_manifest.checked(file, lambda _: None) == 1
    assert [each.name for each in key_manifest.wanted(file)] == ["gw-1"]


def test_a_manifest_that_changes_after_its_check_is_refused(tmp_path: Path) -> None:
    """What is issued is checked again, row by row."""
    file = manifest(tmp_path, f"gw-1,{GOOD}", "gw-*,nonsense")
    rows = key_manifest.wanted(file)
    assert next(rows).name == "gw-1"
    with pytest.raises(Refused):
        next(rows)


def test_rows_are_not_kept(tmp_path: Path) -> None:
    """Memory grows with the number of devices, not with the size of what is said about them."""
    rows = (f'gw-{n:05d},"{base64_key(public_key())}",{"x" * 20_000}' for n in range(500))
    file = manifest(tmp_path, *rows, header="deviceId,publicKey,remark")
    tracemalloc.start()
    try:
        assert key_manifest.checked(file, lambda _: None) == sum(1 for _ in key_manifest.wanted(file)) == 500
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size / 10


@given(st.text(alphabet=st.sampled_from('gw-1,"\n\r\x00\ufeff=+MFkw;é') | st.characters(codec="utf-8")))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever follows the header is told to be wrong, or is nothing."""
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text("deviceId,publicKey\n" + text, newline="")
    assert problems(file)
