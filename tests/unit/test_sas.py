"""Test shared access signatures against Microsoft's documented vector and by their own laws."""

from __future__ import annotations

import base64
import hmac
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.pki import sas
from firstboot.pki.sas import SasMalformed

ENDS = datetime(2026, 11, 28, 13, tzinfo=UTC)
KEY = b"k" * 64


def test_a_device_key_is_that_of_microsofts_example() -> None:
    """A derived key equals the one in Microsoft's documentation of symmetric key attestation."""
    group = base64.b64decode(
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
    )
    device = sas.derived(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
    assert base64.b64encode(device).decode() == "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="


@given(
    st.text(min_size=1, max_size=60),
    st.binary(min_size=1, max_size=64),
    st.none() | st.text(min_size=1, max_size=20),
)
def test_what_is_made_is_read(resource: str, key: bytes, policy: str | None) -> None:
    """A signature that was made is parsed to what it was made of, and only its key verifies it."""
    found = sas.parse(sas.make(resource, key, ENDS, policy))
    assert (found.resource, found.policy, found.ends) == (resource, policy, int(ENDS.timestamp()))
    assert found.is_by(key)
    assert not found.is_by(key + b"x")


def test_a_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature is compared by `hmac.compare_digest` alone."""
    compared: list[bool] = []
    compare = hmac.compare_digest

    def record(one: bytes, other: bytes) -> bool:
        compared.append(compare(one, other))
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", record)
    found = sas.parse(sas.make("dev1", KEY, ENDS))
    assert [found.is_by(KEY), found.is_by(b"other")] == [True, False]
    assert compared == [True, False]


def test_the_resource_is_verified_as_it_was_sent() -> None:
    """A client that does not encode the resource has signed the plain text, and is verified with it."""
    plain = "0ne000/registrations/dev1"
    signature = base64.b64encode(sas._hmac(KEY, f"{plain}\n1795870800".encode())).decode()
    text = (
        f"SharedAccessSignature sr={plain}&sig={signature.replace('+', '%2B')}&se=1795870800&skn=registration"
    )
    found = sas.parse(text)
    assert found.is_by(KEY)
    assert (found.resource, found.policy) == (plain, "registration")
    assert not sas.parse(text.replace(plain, "0ne000%2Fregistrations%2Fdev1")).is_by(KEY)


@pytest.mark.parametrize("change", [("dev1", "dev2"), ("se=1", "se=2")])
def test_a_changed_signature_is_refused(change: tuple[str, str]) -> None:
    """Resource and end are signed."""
    assert not sas.parse(sas.make("dev1", KEY, ENDS).replace(*change)).is_by(KEY)


GOOD = sas.make("hub/devices/dev1", KEY, ENDS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer x",
        GOOD.replace("sr=", "rs="),
        GOOD.replace("&se=", "&es="),
        f"{GOOD}&se=1",
        f"{GOOD}&x=1",
        GOOD.replace("se=", "se=-"),
        GOOD.replace("se=", "se=1234567"),
        GOOD.replace("se=", "se=\u0661"),
        GOOD.replace("sig=", "sig=*"),
        f"{GOOD}{'x' * 2_048}",
        GOOD.replace("hub", "h\xfcb"),
    ],
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    """A text of another form is refused with a reason."""
    with pytest.raises(SasMalformed, match=r"\w"):
        sas.parse(text)


@given(st.text().map("SharedAccessSignature {}".format) | st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    """Each text is parsed, or refused as malformed."""
    with suppress(SasMalformed):
        sas.parse(text)
