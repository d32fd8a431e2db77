"""`console groups key` and `console hubs` keep keys in Secrets Manager, where the functions read them."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import Result

from firstboot.aws import clients
from firstboot.aws.secrets import KEPT, SecretKeys
from firstboot.domain.clock import utc_now
from firstboot.domain.secret_keys import GROUPS, HUBS, KeyPair, prefix
from firstboot.pki import sas
from tests.aws.invoked import Run
from tests.aws.product import Product

HUB = "myhub.azure-devices.net"
OURS = {"primary": base64.b64encode(b"p" * 64).decode(), "secondary": base64.b64encode(b"s" * 64).decode()}
AZURES = {"primaryKey": OURS["primary"], "secondaryKey": OURS["secondary"], "keyName": "device"}
PAIR = KeyPair(b"p" * 64, b"s" * 64)


@pytest.fixture
def run(aws: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the console over moto."""
    from typer.testing import CliRunner  # noqa: PLC0415

    from console.__main__ import app  # noqa: PLC0415

    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return lambda *arguments, **options: CliRunner().invoke(app, arguments, **options)


def read(name: str, kind: str = GROUPS, stack: str = "Firstboot") -> KeyPair | None:
    """Return the keys as the functions read them."""
    return SecretKeys(clients.secrets_manager(), prefix(stack, kind)).pair(name, utc_now())


def shown(done: Result) -> Any:
    """Return the JSON that a command has printed."""
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(done: Result) -> str:
    """Return the code of a refusal."""
    assert done.exit_code == 1, done.output
    return str(json.loads(done.stderr)["code"])


def fingerprint(key: bytes) -> str:
    """Return the fingerprint of a key."""
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def test_made_keys_are_random(run: Run) -> None:
    """New keys have 64 bytes and differ. The functions read them, and fingerprints are printed."""
    made = shown(run("groups", "key", "make", "sensors", "--json"))
    keys = read("sensors")
    assert keys is not None
    assert len({keys.primary, keys.secondary}) == 2
    assert {len(keys.primary), len(keys.secondary)} == {64}
    assert made == {
        "group": "sensors",
        "primary": fingerprint(keys.primary),
        "secondary": fingerprint(keys.secondary),
    }
    assert refused(run("groups", "key", "make", "sensors", "--json")) == "keys-exist"
    assert read("sensors") == keys


def test_a_stack_has_its_own_keys(run: Run) -> None:
    """The option --stack names the stack whose functions read the keys."""
    shown(run("groups", "key", "make", "sensors", "--stack", "Other", "--json"))
    assert read("sensors") is None
    assert read("sensors", stack="Other") is not None


@pytest.mark.parametrize("content", [OURS, AZURES])
def test_keys_of_another_service_are_taken_over(run: Run, tmp_path: Path, content: dict[str, str]) -> None:
    """The keys of an enrollment group, as Azure's tool prints them, become those of a group."""
    (tmp_path / "keys.json").write_text(json.dumps(content))
    shown(run("groups", "key", "make", "sensors", "--file", str(tmp_path / "keys.json"), "--json"))
    assert read("sensors") == PAIR


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "1", '"primaryKey"', "null", '{"primary": 1, "secondary": 2}'),
        *(
            '{"primary": "c2VjcmV0", "secondary": "c2VjcmV0"}',
            '{"primary": "c2VjcmV0\u00fc", "secondary": ""}',
        ),
        '{"primary": "c2VjcmV0c2VjcmV0c2VjcmV0"}',
    ],
)
def test_a_file_without_keys_is_refused(run: Run, tmp_path: Path, content: str) -> None:
    """A file of another form makes no secret, and no message has a part of it."""
    (tmp_path / "keys.json").write_text(content)
    done = run("groups", "key", "make", "sensors", "--file", str(tmp_path / "keys.json"), "--json")
    assert refused(done) == "keys-malformed"
    assert "c2VjcmV0" not in done.output
    assert read("sensors") is None


def test_a_group_can_have_the_keys_of_another(run: Run) -> None:
    """With --copy a group that gets another name keeps its keys."""
    shown(run("groups", "key", "make", "sensors", "--json"))
    shown(run("groups", "key", "make", "meters", "--copy", "sensors", "--json"))
    assert read("meters") == read("sensors")
    assert refused(run("groups", "key", "make", "other", "--copy", "none", "--json")) == "keys-missing"


def test_show_reveals_keys_only_when_asked(run: Run, tmp_path: Path) -> None:
    """Fingerprints are shown, and the keys themselves with --reveal."""
    (tmp_path / "keys.json").write_text(json.dumps(OURS))
    run("groups", "key", "make", "sensors", "--file", str(tmp_path / "keys.json"))
    done = run("groups", "key", "show", "sensors")
    assert OURS["primary"] not in done.output
    assert fingerprint(b"p" * 64) in done.output
    revealed = shown(run("groups", "key", "show", "sensors", "--reveal", "--json"))
    assert {name: revealed[name] for name in OURS} == OURS


def test_derived_keys_are_those_of_the_devices(run: Run) -> None:
    """Keys derive from the primary key and the id in lower case."""
    run("groups", "key", "make", "sensors")
    keys = read("sensors")
    assert keys is not None
    done = run("groups", "key", "derive", "sensors", "SN-1", "sn-2")
    assert done.stdout.splitlines() == [
        f"{name} {base64.b64encode(sas.derived(keys.primary, name)).decode()}" for name in ("sn-1", "sn-2")
    ]
    assert run("groups", "key", "derive", "sensors", "a b").exit_code == 2


def test_a_device_s_key_lasts_until_the_second_roll(run: Run) -> None:
    """After a roll the primary key of before is the secondary one, and after the next one it is gone."""
    run("groups", "key", "make", "sensors")
    first = read("sensors")
    shown(run("groups", "key", "roll", "sensors", "--yes", "--json"))
    second = read("sensors")
    shown(run("groups", "key", "roll", "sensors", "--yes", "--json"))
    third = read("sensors")
    assert first
    assert second
    assert third
    assert second.secondary == first.primary
    assert third.secondary == second.primary
    assert len({first.primary, second.primary, third.primary}) == 3
    assert refused(run("groups", "key", "roll", "none", "--yes", "--json")) == "keys-missing"


def test_two_rolls_at_once_are_one(run: Run) -> None:
    """A version of the keys has one successor, by the token that Secrets Manager keeps for a version.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    """
    run("groups", "key", "make", "sensors")
    manager = boto3.client("secretsmanager")
    before = manager.get_secret_value(SecretId="Firstboot/groups/sensors")["VersionId"]
    run("groups", "key", "roll", "sensors", "--yes")
    after = manager.get_secret_value(SecretId="Firstboot/groups/sensors")["VersionId"]
    assert after == str(uuid.uuid5(uuid.NAMESPACE_OID, before))


def test_a_refused_successor_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roll that came second is refused, and has changed nothing."""
    run("groups", "key", "make", "sensors")
    manager = boto3.client("secretsmanager")

    class Second:
        """Secrets Manager, in which another person has rolled the keys meanwhile."""

        get_secret_value = staticmethod(manager.get_secret_value)

        @staticmethod
        def put_secret_value(**_: object) -> None:
            raise manager.exceptions.ResourceExistsException(
                {"Error": {"Code": "ResourceExistsException", "Message": "other content"}}, "PutSecretValue"
            )

    monkeypatch.setattr("console.stored_keys.client", lambda _: Second())
    assert refused(run("groups", "key", "roll", "sensors", "--yes", "--json")) == "keys-exist"


def test_deleted_keys_admit_no_device(run: Run) -> None:
    """Deleted keys are gone for the functions, and the deletion can be undone for 7 days."""
    run("groups", "key", "make", "sensors")
    keys = read("sensors")
    assert shown(run("groups", "key", "delete", "sensors", "--yes", "--json"))["name"] == "sensors"
    assert read("sensors") is None
    done = run("groups", "key", "make", "sensors", "--json")
    assert refused(done) in {"keys-deleted", "keys-exist"}
    assert refused(run("groups", "key", "show", "sensors", "--json")) == "keys-deleted"
    boto3.client("secretsmanager").restore_secret(SecretId="Firstboot/groups/sensors")
    assert read("sensors") == keys


def test_a_hub_has_the_keys_of_its_policy(run: Run, tmp_path: Path) -> None:
    """The keys of a hub are set, replaced, shown and deleted."""
    (tmp_path / "keys.json").write_text(json.dumps(AZURES))
    assert shown(run("hubs", "set", HUB, "--file", str(tmp_path / "keys.json"), "--json"))["hub"] == HUB
    assert read(HUB, HUBS) == PAIR
    (tmp_path / "keys.json").write_text(PAIR.rolled(b"n" * 64).to_json())
    run("hubs", "set", HUB, "--file", str(tmp_path / "keys.json"))
    assert read(HUB, HUBS) == PAIR.rolled(b"n" * 64)
    assert shown(run("hubs", "show", HUB, "--json"))["secondary"] == fingerprint(b"p" * 64)
    run("hubs", "delete", HUB, "--yes")
    assert read(HUB, HUBS) is None
    assert refused(run("hubs", "set", HUB, "--file", str(tmp_path / "keys.json"), "--json")) == "keys-deleted"


@pytest.mark.parametrize(
    "arguments",
    [
        *(("groups", "key", "show", name) for name in ("a/b", "", "1", "x" * 65)),
        *(("hubs", "show", name) for name in ("myhub", "myhub.example.com", "../x.azure-devices.net")),
        ("groups", "key", "make", "a", "--copy", "b/c"),
    ],
)
def test_a_bad_name_is_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """A name that no fleet can have is refused before a call."""
    assert run(*arguments).exit_code == 2


def test_a_failure_is_no_refusal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that AWS denies has the exit code of a missing answer."""
    manager = boto3.client("secretsmanager")

    class Denied:
        """Secrets Manager for a person without rights."""

        @staticmethod
        def get_secret_value(**_: object) -> None:
            raise manager.exceptions.ClientError(
                {"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetSecretValue"
            )

    monkeypatch.setattr("console.stored_keys.client", lambda _: Denied())
    done = run("groups", "key", "show", "sensors")
    assert done.exit_code == 3
    assert "Firstboot/groups/sensors" in done.stderr


def test_the_functions_use_rolled_keys_after_five_minutes(run: Run) -> None:
    """A warm function knows the new primary key when the time has passed that the command names."""
    run("groups", "key", "make", "sensors")
    warm, now = SecretKeys(clients.secrets_manager(), prefix("Firstboot", GROUPS)), utc_now()
    before = warm.pair("sensors", now)
    run("groups", "key", "roll", "sensors", "--yes")
    assert warm.pair("sensors", now) == before
    after = warm.pair("sensors", now + KEPT)
    assert after
    assert before
    assert after.secondary == before.primary


def test_no_operation_of_the_service_handles_keys(product: Product) -> None:
    """The keys go from the console to Secrets Manager, so `operate` has no operation about them."""
    for operation in ("groups.key", "groups.key.make", "groups.key.show", "hubs.set"):
        assert product.operate(operation)["problem"]["code"] == "operation-unknown"
