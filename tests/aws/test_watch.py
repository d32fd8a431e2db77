"""The hourly watch reports how long the CA lasts, and what is wrong with its key in KMS."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from firstboot.authority.settings import WatchSettings
from firstboot.aws import clients
from firstboot.domain.errors import Unavailable
from tests import factories
from tests.aws.lambdas import Lambdas
from tests.aws.product import CONTEXT

QUIET = {"CaKeyUnusable": 0.0, "CaKeyGrants": 0.0, "CaKeyPolicyChanged": 0.0}
CA = factories.authority("Issuing CA", days=100).certificate
GRANTEE = "arn:aws:iam::123456789012:role/Another"


def counted(output: str) -> dict[str, float]:
    """Return the metrics of an invocation, found as the alarms find them."""
    (line,) = [json.loads(line) for line in output.splitlines() if "CloudWatchMetrics" in line]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Firstboot"
    assert directive["Dimensions"] == [["service"]]
    assert line["service"] == "authority"
    return {each["Name"]: float(line[each["Name"]][0]) for each in directive["Metrics"]}


class Watch:
    """The watch of a key whose policy is as the deployment wrote it."""

    def __init__(
        self,
        key: str,
        logs: io.StringIO,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.kms: Any = boto3.client("kms")
        self.key = key
        self.id = key.rsplit("/", 1)[1]  # moto's administration knows a key by its id alone
        self.policy = self.kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
        self._logs = logs
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.deploy(self.policy)

    def deploy(self, policy: str) -> None:
        """Set the policy that a deployment wrote."""
        settings = WatchSettings(ca_certificate=factories.pem(CA), ca_key=self.key, key_policy=policy)
        for name, value in settings.environment().items():
            self._monkeypatch.setenv(name, value)

    def __call__(self) -> dict[str, float]:
        """Run the watch, and return its metrics about the key."""
        Lambdas().watch({}, CONTEXT)
        found = counted(self._capsys.readouterr().out)
        assert found.pop("CaDaysLeft") == (CA.not_valid_after_utc - datetime.now(UTC)).days
        return found

    @property
    def log(self) -> str:
        """Return what the watch has logged."""
        return self._logs.getvalue()

    def put_policy(self, document: Any) -> None:
        """Set the key's policy, as one of its administrators."""
        self.kms.put_key_policy(KeyId=self.key, PolicyName="default", Policy=json.dumps(document))


@pytest.fixture
def watch(
    ca_key: str, logs: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Watch:
    """Return the watch of the CA's key."""
    return Watch(ca_key, logs, capsys, monkeypatch)


def test_a_sound_key_is_quiet(watch: Watch) -> None:
    """The watch counts the days, and writes zeros about a key that is as the deployment made it."""
    assert watch() == QUIET


def test_a_disabled_key_is_counted_until_it_is_enabled(watch: Watch) -> None:
    """A look at a disabled key counts it, and a look after it was enabled does not."""
    watch.kms.disable_key(KeyId=watch.id)
    assert watch() == QUIET | {"CaKeyUnusable": 1}
    assert '"state":"Disabled"' in watch.log
    watch.kms.enable_key(KeyId=watch.id)
    assert watch() == QUIET


def test_a_key_that_is_to_be_deleted_is_counted(watch: Watch) -> None:
    """A look at a key that waits for its deletion counts it, and the log has the date."""
    due = watch.kms.schedule_key_deletion(KeyId=watch.id, PendingWindowInDays=7)["DeletionDate"]
    assert watch() == QUIET | {"CaKeyUnusable": 1}
    assert f"{due:%Y-%m-%d}" in watch.log


@pytest.mark.parametrize(
    ("state", "unusable"),
    [
        ("PendingImport", 1),
        ("Unavailable", 1),
        ("PendingReplicaDeletion", 1),
        ("Creating", 1),
        ("Updating", 0),
    ],
)
def test_each_state_without_signatures_is_counted(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, state: str, unusable: int
) -> None:
    """A look counts every state in which the key does not sign, and none in which it does."""
    client = clients.kms()
    answer = client.describe_key(KeyId=watch.key)
    answer["KeyMetadata"]["KeyState"] = state  # type: ignore[typeddict-item]
    monkeypatch.setattr(client, "describe_key", lambda **_: answer)
    assert watch() == QUIET | {"CaKeyUnusable": unusable}


def test_grants_are_counted_and_named(watch: Watch) -> None:
    """A look counts the grants on the key, on every page, and the log names what an operator must revoke."""
    operations: Any = ["Sign"]
    made = [
        watch.kms.create_grant(KeyId=watch.key, GranteePrincipal=GRANTEE, Operations=operations)["GrantId"]
        for _ in range(3)
    ]
    assert watch() == QUIET | {"CaKeyGrants": 3}
    assert all(each in watch.log for each in made)
    assert GRANTEE in watch.log
    for each in made:
        watch.kms.revoke_grant(KeyId=watch.key, GrantId=each)
    assert watch() == QUIET


def _allowing(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": GRANTEE}, "Action": [*actions], "Resource": "*", **more}


def test_a_changed_policy_is_counted(watch: Watch) -> None:
    """A look counts a key policy with a statement more or less than the deployment wrote."""
    written = json.loads(watch.policy)
    own = written["Statement"] if isinstance(written["Statement"], list) else [written["Statement"]]
    for changed in ([*own, _allowing("kms:Sign")], [_allowing("kms:Sign")]):
        watch.put_policy(written | {"Statement": changed})
        assert watch() == QUIET | {"CaKeyPolicyChanged": 1}
    watch.put_policy(written)
    assert watch() == QUIET


def test_another_form_of_the_same_policy_is_no_change(watch: Watch) -> None:
    """The order of statements and actions, and lists with one item, make no difference."""
    one, two = _allowing("kms:Sign", "kms:Verify"), _allowing("kms:Decrypt")
    watch.deploy(json.dumps({"Version": "2012-10-17", "Statement": [one, two]}))
    same = [two | {"Action": "kms:Decrypt", "Resource": ["*"]}, one | {"Action": ["kms:Verify", "kms:Sign"]}]
    watch.put_policy({"Statement": same, "Version": "2012-10-17"})
    assert watch() == QUIET


def test_the_policy_of_another_s_key_is_not_read(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch reads no policy of a key from elsewhere, and reports its state and grants."""
    watch.deploy("")
    monkeypatch.setattr(clients.kms(), "get_key_policy", None)
    expected = {name: value for name, value in QUIET.items() if name != "CaKeyPolicyChanged"}
    assert watch() == expected


def test_a_key_that_can_not_be_read_fails_the_watch(
    watch: Watch, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused look fails the invocation, whose alarm rings, and the CA's days are counted all the same."""
    monkeypatch.setenv("FIRSTBOOT_CA_KEY", watch.key[:-12] + "0" * 12)
    with pytest.raises(Unavailable):
        Lambdas().watch({}, CONTEXT)
    assert counted(capsys.readouterr().out)["CaDaysLeft"] == (CA.not_valid_after_utc - datetime.now(UTC)).days
