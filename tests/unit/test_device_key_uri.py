"""The URIs of keys in hardware, and the references that stand in the place of keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from device import certificates, hardware, key_uri
from device.hardware import Reference
from device.store import Store
from tests import factories

CHAIN = factories.authority("Test")


def reference(key: factories.PrivateKey, uri: str = "pkcs11:token=t;object=o;id=firstboot-1") -> Reference:
    """Return the reference to a key."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Reference(key_uri.parse(uri), spki)


def test_attributes_are_decoded() -> None:
    """The attributes of a URI are read without their percent-encoding, an id as octets."""
    uri = key_uri.parse("pkcs11:token=My%20token;object=a%3Bb;id=%00%ff?pin-value=1%264&module-path=/m.so")
    assert uri.text("token") == "My token"
    assert uri.text("object") == "a;b"
    assert uri.octets("id") == b"\x00\xff"
    assert uri.text("pin-value") == "1&4"
    assert uri.text("module-path") == "/m.so"
    assert uri.text("serial") is None


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:token=a;token=b?pin-value=hidden",
        "pkcs11:unknown=a?pin-value=hidden",
        "pkcs11:token=a?unknown=b&pin-value=hidden",
        "pkcs11:token?pin-value=hidden",
        "pkcs11:token=%ff?pin-value=hidden",
        "pkcs11:token=a;type=public?pin-value=hidden",
        "pkcs11:token=a?pin-value=hidden&pin-source=file:/b",
        "pkcs11:token=a b?pin-value=hidden",
        "pkcs11:token=a?pin-value=hidden" + "x" * key_uri.LONGEST,
        "tpm2:handle=1;handle=2?tcti=hidden",
        "file:hidden",
    ],
    ids=range(11),
)
def test_a_uri_that_could_mean_another_key_is_refused(text: str) -> None:
    """A URI with an unknown, doubled or damaged attribute is refused, and the error shows no query."""
    with pytest.raises(ValueError, match=r".") as caught:
        key_uri.parse(text)
    assert "hidden" not in str(caught.value)


def test_no_text_of_a_uri_has_its_query() -> None:
    """The text and the repr of a URI, and the reference on the disk, leave out the query with the PIN."""
    made = reference(factories.ec_key(), "pkcs11:token=t;object=o;id=1?pin-value=hidden")
    assert "hidden" not in f"{made} {made.uri} {made.stored()!r}"
    assert hardware.parse(made.read_bytes()) == made


def test_only_a_uri_s_scheme_is_no_file_name() -> None:
    """A name with a known scheme is a URI, and every other name is a file's."""
    assert key_uri.is_key_uri("pkcs11:object=a")
    assert key_uri.is_key_uri("tpm2:")
    assert not any(map(key_uri.is_key_uri, ["/a/pkcs11:b", "key.pem", "tpm2", "a:b"]))


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b'{"uri": 1}', b'{"uri": "pkcs11:a=b"}'])
def test_a_damaged_reference_is_no_key(content: bytes) -> None:
    """A reference that is damaged, or that has no public key, counts as no usable key."""
    assert not certificates.usable(content)
    assert not certificates.usable(Reference(key_uri.parse("tpm2:")).read_bytes())


def test_a_key_in_a_file_becomes_one_in_hardware(tmp_path: Path) -> None:
    """A renewal that moves the key into hardware leaves no key file, also if a crash interrupts it."""
    old, new = factories.ec_key(), factories.ec_key()
    chains = [(factories.pem(CHAIN.issue("dev1", key))).encode() for key in (old, new)]
    place = key_uri.parse("pkcs11:token=t;object=o?pin-value=1")
    store = Store(tmp_path, place)
    with store.locked():
        store.keep_next(factories.key_pem(old).encode(), chains[0])
        store.promote()
        store.keep_next(reference(new).read_bytes(), chains[1])
        (tmp_path / "next.reference").replace(tmp_path / "device.reference")  # a crash came here
        live = store.live()
        assert live
        assert live.key == tmp_path / "device.key"
        store.settle()
    live = store.live()
    assert live
    assert isinstance(live.key, Reference)
    assert live.key.uri.query == place.query
    assert {path.name for path in tmp_path.iterdir()} == {"certificate.pem", "device.reference"}
