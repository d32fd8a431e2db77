"""Keys in Secrets Manager are read once in five minutes, and no log shows them."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from firstboot.aws import clients
from firstboot.aws.secrets import KEPT, SecretKeys
from firstboot.domain.errors import Unavailable
from firstboot.domain.secret_keys import KeyPair

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEYS = KeyPair(b"p" * 64, b"s" * 64)
OTHERS = KEYS.rolled(b"n" * 64)
SECRET = "Firstboot/groups/sensors"


class Watched:
    """A client that counts its calls."""

    def __init__(self) -> None:
        self.client = clients.secrets_manager()
        self.calls = 0

    def get_secret_value(self, **parameters: Any) -> Any:
        """Return the value of a secret."""
        self.calls += 1
        return self.client.get_secret_value(**parameters)


@pytest.fixture
def watched(aws: None) -> Watched:
    """Return a client of an account without secrets."""
    return Watched()


@pytest.fixture
def keys(watched: Any) -> SecretKeys:
    """Return the groups' keys."""
    return SecretKeys(watched, "Firstboot/groups")


def make(text: str) -> None:
    """Make the secret of the group sensors."""
    boto3.client("secretsmanager").create_secret(Name=SECRET, SecretString=text)


def test_a_secret_has_two_keys(keys: SecretKeys) -> None:
    """The primary and the secondary key of a secret are read."""
    make(KEYS.to_json())
    assert keys.pair("sensors", NOW) == KEYS


def test_keys_are_read_once_in_five_minutes(keys: SecretKeys, watched: Watched) -> None:
    """A process uses rolled keys five minutes after it has read the keys before, and not later."""
    make(KEYS.to_json())
    assert keys.pair("sensors", NOW) == KEYS
    boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=OTHERS.to_json())
    assert keys.pair("sensors", NOW + KEPT - timedelta(seconds=1)) == KEYS
    assert watched.calls == 1
    assert timedelta(minutes=5) == KEPT
    assert keys.pair("sensors", NOW + KEPT) == OTHERS
    assert watched.calls == 2


def test_a_clock_that_is_set_back_does_not_keep_keys(keys: SecretKeys) -> None:
    """Keys that were read in the future are read again."""
    make(KEYS.to_json())
    assert keys.pair("sensors", NOW + timedelta(days=1)) == KEYS
    boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=OTHERS.to_json())
    assert keys.pair("sensors", NOW) == OTHERS


def test_a_missing_secret_is_remembered(keys: SecretKeys, watched: Watched) -> None:
    """A missing secret is asked for once in five minutes, and then it may be there."""
    assert keys.pair("sensors", NOW) is None
    make(KEYS.to_json())
    assert keys.pair("sensors", NOW) is None
    assert watched.calls == 1
    assert keys.pair("sensors", NOW + KEPT) == KEYS


def test_few_names_are_remembered(keys: SecretKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded, however many names are asked for."""
    asked: list[str] = []
    monkeypatch.setattr(keys, "_read", asked.append)
    for number in range(1_200):
        keys.pair(f"g{number}", NOW)
    assert len(keys._known) == 1_000
    assert len(asked) == 1_200


def test_a_secret_that_is_scheduled_for_deletion_is_missing(keys: SecretKeys) -> None:
    """The keys of a deleted secret admit no device, also while the deletion can be undone."""
    make(KEYS.to_json())
    boto3.client("secretsmanager").delete_secret(SecretId=SECRET, RecoveryWindowInDays=7)
    assert keys.pair("sensors", NOW) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cHJpdmF0ZXByaXZhdGVwcml2YXRl", "it is no JSON"),
        ('["cHJpdmF0ZXByaXZhdGVwcml2YXRl"]', "it is no JSON object"),
        ('{"primary": "cHJpdmF0ZXByaXZhdGVwcml2YXRl"}', "it has no text secondary"),
        ('{"primary": 1, "secondary": "cHJpdmF0ZXByaXZhdGVwcml2YXRl"}', "it has no text primary"),
        ('{"primary": "cHJpdmF0ZXByaXZhdGVwcml2YXRl", "secondary": "cHJpdmF0ZX"}', "a key is not Base64"),
        ('{"primary": "cHJpdmF0ZXByaXZhdGVwcml2YXRl\u00fc", "secondary": ""}', "a key is not Base64"),
        ('{"primary": "cHJpdmF0ZXByaXZhdGVwcml2YXRl", "secondary": "cHJpdmF0ZQ=="}', "16 to 64 bytes"),
        (json.dumps({"primary": "cHJpdmF0ZXBy" * 20, "secondary": "cHJpdmF0ZXBy" * 4}), "16 to 64 bytes"),
    ],
)
def test_a_malformed_secret_is_unavailable(keys: SecretKeys, text: str, reason: str) -> None:
    """A secret without a key pair is an outage, and neither the log nor the traceback has a part of it."""
    make(text)
    with pytest.raises(Unavailable) as caught:
        keys.pair("sensors", NOW)
    assert caught.value.log.startswith(f"the secret {SECRET} can't be read: ")
    assert reason in caught.value.log
    told = "".join(traceback.format_exception(caught.value)) + caught.value.detail
    assert "cHJpdmF0" not in told


def test_a_binary_secret_is_unavailable(keys: SecretKeys) -> None:
    """A secret with a binary value holds no key pair."""
    boto3.client("secretsmanager").create_secret(Name=SECRET, SecretBinary=b"private")
    with pytest.raises(Unavailable):
        keys.pair("sensors", NOW)


def test_a_refused_call_is_unavailable(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that Secrets Manager does not answer is Unavailable, and is not remembered."""
    make(KEYS.to_json())
    with monkeypatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
        clients.secrets_manager.cache_clear()
        broken = SecretKeys(clients.secrets_manager(), "Firstboot/groups")
        with pytest.raises(Unavailable):
            broken.pair("sensors", NOW)
    broken._client = watched
    assert broken.pair("sensors", NOW) == KEYS


def test_keys_have_no_repr() -> None:
    """A printed key pair shows nothing of its keys."""
    shown = f"{KEYS} {KEYS!r} {[KEYS]}"
    assert "pppp" not in shown
    assert "ssss" not in shown
