"""Test how makers' bootstrap certificates name their devices, and which names a group allows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from firstboot.domain import patterns
from firstboot.domain.errors import DeviceIdInvalid, DeviceNotExpected, Reason
from firstboot.domain.fleet import Group
from firstboot.domain.names import ANY_FLEET, IdRule
from firstboot.identity import naming
from firstboot.pki import certificate, der
from firstboot.pki.certificate import Certificate, Extension
from firstboot.pki.errors import CertificateMalformed
from tests import factories
from tests.field import corpus
from tests.field.encode import own
from tests.unit.fleet_folders import fleet

FACTORY = factories.authority()
KEY = factories.ec_key()
GROUP = fleet().groups["gateways"]
FIELD = {str(case): case.leaf() for case in corpus.cases("chain") if case.is_good}


def group(**changes: Any) -> Group:
    """Return a per-device group with changes."""
    return replace(GROUP, **changes)


def made(*names: x509.GeneralName, **attributes: str) -> Certificate:
    """Return a certificate with these attributes in its subject, and these names in its subjectAltName."""
    oids = {"cn": NameOID.COMMON_NAME, "serial": NameOID.SERIAL_NUMBER, "o": NameOID.ORGANIZATION_NAME}
    parts = [x509.NameAttribute(oids[name.rstrip("2")], value) for name, value in attributes.items()]
    extra: Any = [(x509.SubjectAlternativeName(names), False)] if names else None
    return own(FACTORY.issue("", KEY, subject=x509.Name(parts), extra=extra))


URN = x509.UniformResourceIdentifier("urn:dev:ops:32473-Fridge-5002")
HOST = x509.DNSName("GW-1.Acme.example")
MIXED = (HOST, x509.UniformResourceIdentifier("gw-1"), x509.RFC822Name("a@b.example"))
SERIAL = "subject.serialNumber"
MAKERS: dict[str, tuple[Certificate, dict[str, Any], str]] = {
    "common name": (FIELD["plain-p256"], {}, "SN-40011"),
    "common name in Latin-1": (FIELD["teletex-latin-1"], {}, "SN-40088"),
    "prefix": (FIELD["element-eui48-san"], {"strip_prefix": "sn"}, "0123A1B2C3D4E5F601"),
    "suffix": (FIELD["element-cn-with-space"], {"strip_suffix": " LUMEN"}, "0123A1B2C3D4E5F601"),
    "both ends": (
        FIELD["element-cn-with-space"],
        {"strip_prefix": "0123", "strip_suffix": "01 LUMEN"},
        "A1B2C3D4E5F6",
    ),
    "pattern": (FIELD["element-cn-with-space"], {"pattern": "([0-9A-F]{18}) .*"}, "0123A1B2C3D4E5F601"),
    "IDevID": (FIELD["idevid-serial-number-only"], {"device_id": SERIAL}, "FX0017A3"),
    "IDevID with its product": (
        FIELD["idevid-9999"],
        {"device_id": SERIAL, "pattern": r".* SN:(\w+)"},
        "FX0017A2",
    ),
    "one common name for all": (FIELD["shared-cn-serial-number"], {"device_id": SERIAL}, "4001A2B3"),
    "two attributes in one part": (FIELD["rdn-set-order"], {"device_id": SERIAL}, "40171"),
    "MAC address": (FIELD["mac-address-cn"], {"pattern": "70:B3:D5:00:40:(.+)"}, "17"),
    "URN": (
        made(URN, cn="Fridge"),
        {"device_id": "san.uri", "strip_prefix": "urn:dev:ops:32473-"},
        "Fridge-5002",
    ),
    "URN by pattern": (
        made(URN, cn="Fridge"),
        {"device_id": "san.uri", "pattern": r"urn:dev:ops:\d+-(.+)"},
        "Fridge-5002",
    ),
    "URI beside other names": (made(*MIXED, cn="x"), {"device_id": "san.uri"}, "gw-1"),
    "DNS name": (
        made(HOST, cn="x"),
        {"device_id": "san.dns", "strip_suffix": ".acme.example"},
        "gw-1",
    ),
}


@pytest.mark.parametrize("style", MAKERS)
def test_a_maker_s_certificate_names_its_device(style: str) -> None:
    """A certificate of each maker's style gives its device the id that its group's keys take out of it."""
    leaf, rules, name = MAKERS[style]
    assert naming.certified(leaf, group(**rules), ANY_FLEET) == name


def test_a_key_names_its_device() -> None:
    """With `key.sha256` the id is the SHA-256 of the bootstrap key in lower-case hex."""
    leaf = made(cn="any")
    assert naming.certified(leaf, group(device_id="key.sha256"), ANY_FLEET) == leaf.spki_fingerprint()


@pytest.mark.parametrize("kind", ["UTF8String", "PrintableString", "T61String", "BMPString"])
@pytest.mark.parametrize("source", ["subject.CN", "subject.serialNumber"])
def test_each_string_type_is_read(kind: str, source: str) -> None:
    """An id is read from each type of string that makers use in a subject."""
    oid = NameOID.COMMON_NAME if source == "subject.CN" else NameOID.SERIAL_NUMBER
    encoded = "FX-17".encode("utf-16-be") if kind == "BMPString" else b"FX-17"
    name = der.encode(0x30, der.encode(0x06, oid_bytes(oid)), der.encode(_ASN1Type[kind].value, encoded))
    element = der.read(der.encode(0x30, der.encode(0x31, name)))
    leaf = replace(made(cn="x"), subject=certificate.distinguished_name(element))
    assert naming.certified(leaf, group(device_id=source), ANY_FLEET) == "FX-17"


def oid_bytes(oid: x509.ObjectIdentifier) -> bytes:
    """Return the content of an OBJECT IDENTIFIER below 2.5.4, whose last number is small."""
    return bytes([0x55, 4, int(oid.dotted_string.rsplit(".", 1)[1])])


FEWER_OR_MORE = [
    (made(o="Acme"), "subject.CN", "The certificate's subject must have one common name, and has 0"),
    (made(cn="a", cn2="b"), "subject.CN", "must have one common name, and has 2: 'a', 'b'"),
    (made(cn="a"), "subject.serialNumber", "subject must have one serialNumber, and has 0"),
    (made(serial="a", serial2="b"), "subject.serialNumber", "one serialNumber, and has 2: 'a', 'b'"),
    (made(cn="a"), "san.uri", "The certificate's subjectAltName must have one URI, and has 0"),
    (made(URN, x509.UniformResourceIdentifier("b"), cn="a"), "san.uri", "one URI, and has 2: 'b', 'urn:dev"),
    (made(URN, cn="a"), "san.dns", "must have one DNS name, and has 0"),
    (made(cn="a" * 41, cn2="b"), "subject.CN", f"has 2: '{'a' * 40}', 'b'"),
    (made(*map(x509.DNSName, "abcd"), cn="a"), "san.dns", "one DNS name, and has 4: 'a', 'b', 'c'"),
]


@pytest.mark.parametrize(("leaf", "source", "detail"), FEWER_OR_MORE)
def test_a_source_has_exactly_one_value(leaf: Certificate, source: str, detail: str) -> None:
    """A certificate with no or several values at the source is refused, and the refusal says what it has."""
    with pytest.raises(CertificateMalformed) as refused:
        naming.certified(leaf, group(device_id=source), ANY_FLEET)
    assert detail in refused.value.detail
    assert refused.value.reason is Reason.CERTIFICATE_NAME


@pytest.mark.parametrize("value", [b"", b"\x04\x00", der.encode(0x30, der.encode(0x86, b"gw-\xe9"))])
def test_a_malformed_alternative_name_is_refused(value: bytes) -> None:
    """A subjectAltName that is no DER, no sequence or not ASCII is refused as malformed."""
    leaf = made(cn="a")
    broken = replace(leaf, extensions=leaf.extensions | {"2.5.29.17": Extension(critical=False, value=value)})
    with pytest.raises(CertificateMalformed) as refused:
        naming.certified(broken, group(device_id="san.uri"), ANY_FLEET)
    assert refused.value.detail.startswith("The certificate's subjectAltName is not as RFC 5280")
    assert refused.value.log.startswith(("NotDer(", "UnicodeDecodeError("))
    assert refused.value.reason is Reason.CERTIFICATE_NAME


UNFIT = [
    ("gw-1", {"strip_prefix": "sn"}, "must begin with 'sn', and is 'gw-1'"),
    ("gw-1", {"strip_suffix": " X"}, "must end with ' X', and is 'gw-1'"),
    ("aba", {"strip_prefix": "ab", "strip_suffix": "ba"}, "must begin with 'ab' and end with 'ba'"),
    ("gw-1", {"pattern": "sn(.+)"}, "pattern does not match 'gw-1'"),
    ("xsn1", {"pattern": "sn(.+)"}, "pattern does not match"),
    ("sn1\n", {"pattern": r"sn(\d+)"}, "pattern does not match"),
    ("dev-1", {"ids": "gw-*"}, "Group gateways has the ids gw-*, and the certificate names dev-1"),
    ("gw-1", {"ids": "gw-1-*"}, "has the ids gw-1-*"),
]


@pytest.mark.parametrize(("value", "rules", "detail"), UNFIT)
def test_a_value_that_the_group_does_not_take_is_refused(
    value: str, rules: dict[str, Any], detail: str
) -> None:
    """A value without the group's prefix, suffix, pattern or ids is refused, and the refusal says which."""
    with pytest.raises(DeviceIdInvalid) as refused:
        naming.certified(made(cn=value), group(**rules), ANY_FLEET)
    assert detail in refused.value.detail
    assert refused.value.reason is Reason.CERTIFICATE_NAME


def test_a_value_has_a_longest_length() -> None:
    """A value of 256 characters is read, and a longer one is refused before a pattern sees it."""
    by_uri = group(device_id="san.uri", pattern="x*(gw-1)")
    longest = "gw-1".rjust(naming.LONGEST, "x")
    assert (
        naming.certified(made(x509.UniformResourceIdentifier(longest), cn="a"), by_uri, ANY_FLEET) == "gw-1"
    )
    with pytest.raises(DeviceIdInvalid, match="has 257 characters; 256 are read"):
        naming.certified(made(x509.UniformResourceIdentifier("x" + longest), cn="a"), by_uri, ANY_FLEET)


@pytest.mark.parametrize("text", ["", "boot-1", "firstboot", "a/b", "a*", "x" * 65, "held"])
def test_what_is_taken_out_must_be_a_device_id(text: str) -> None:
    """The id that a pattern takes out of a certificate is judged as any other, reserved words included."""
    leaf = made(x509.UniformResourceIdentifier(f"urn:{text}"), cn="a")
    with pytest.raises(DeviceIdInvalid):
        naming.certified(leaf, group(device_id="san.uri", pattern="urn:(.*)"), IdRule(("held",)))


@pytest.mark.parametrize("pattern", ["((a|aa|a*)*)*b", "(a*)*b", "(a*a*a*a*a*a*a*b)", "(?:a?){100}(a{100})b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """A pattern on which Python's `re` would try exponentially many ways takes RE2 a few milliseconds."""
    groups = pattern if patterns.fault(pattern) is None else f"(?:{pattern.replace('(', '(?:')})(x)?"
    begun = time.perf_counter()
    assert patterns.extract(groups, "a" * patterns.LONGEST) is None
    assert time.perf_counter() - begun < 0.5


IDS = [
    ("*", "gw-1", True),
    ("gw-*", "gw-1", True),
    ("gw-*", "gw-", True),
    ("gw-*", "gw", False),
    ("*-gw", "a-gw", True),
    ("*-gw", "a-gw2", False),
    ("ab*ba", "aba", False),
    ("ab*ba", "abba", True),
    ("gw-1", "gw-1", True),
    ("gw-1", "gw-11", False),
]


@pytest.mark.parametrize(("ids", "name", "fits"), IDS)
def test_the_ids_of_a_group_are_a_pattern_with_one_star(ids: str, name: str, fits: bool) -> None:  # noqa: FBT001
    """The `*` in a group's `ids` stands for any characters of an id, and the rest for itself."""
    assert group(ids=ids).may_name(name) is fits
    shared = group(ids=ids, device_id="request.deviceId")
    assert shared.may_name(name) is fits


def test_a_claim_s_holder_learns_nothing_of_the_ids() -> None:
    """A request with a claim certificate for an id outside of the group's gets the answer of any other id."""
    shared = group(ids="gw-*", device_id="request.deviceId")
    assert naming.requested("gw-1", shared, ANY_FLEET) == "gw-1"
    with pytest.raises(DeviceNotExpected) as refused:
        naming.requested("dev-1", shared, ANY_FLEET)
    assert refused.value.detail == refused.value.title


def test_the_log_of_a_refused_request_has_the_ids_of_the_group() -> None:
    """The log of an id that the group does not have says which it has; the answer does not."""
    shared = group(device_id="request.deviceId", ids="gw-*")
    with pytest.raises(DeviceNotExpected) as refused:
        naming.requested("dev-1", shared, ANY_FLEET)
    assert refused.value.log == "group gateways has the ids gw-*, and was asked for dev-1"
    assert refused.value.detail == DeviceNotExpected.title


def test_a_group_named_by_dns_has_ids_in_lower_case() -> None:
    """A group whose ids are DNS names has no id with an upper-case letter, and says so."""
    assert group(device_id="san.dns").may_name("gw-1")
    assert not group(device_id="san.dns").may_name("GW-1")
    assert group(device_id="subject.CN").may_name("GW-1")
    assert group(device_id="san.dns", ids="gw-*").space == "the ids gw-* in lower case"


@pytest.mark.parametrize(
    ("ids", "name", "fits"),
    [
        ("gw-*", "gw-", True),
        ("*-gw", "a-gw", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a", "ab", False),
    ],
)
def test_a_group_bounds_its_ids(ids: str, name: str, *, fits: bool) -> None:
    """An id is the group's if it begins and ends as `ids` says, with no letter counted for both."""
    assert group(ids=ids).may_name(name) is fits
