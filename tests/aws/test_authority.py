"""The issuing CA is made once, for any sequence of CloudFormation's events, and never replaced."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from cryptography import x509

from firstboot.authority.errors import AuthorityKeyChanged, AuthorityTermsChanged
from firstboot.authority.handlers import PHYSICAL_ID, DeploymentRefused
from firstboot.authority.settings import AuthoritySettings
from firstboot.aws import clients
from firstboot.aws.dynamodb.proofs import DynamoProofs
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.aws.s3.authority import AuthorityStore
from firstboot.domain.errors import AuthorityKeyUnfit, Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from firstboot.pki.errors import AnchorConflict
from firstboot.pki.nonce import KEY_BYTES
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.lambdas import Lambdas
from tests.aws.product import CONTEXT
from tests.aws.test_watch import counted
from tests.fleets import fleet, group

CREATE = {"RequestType": "Create"}
UPDATE = {"RequestType": "Update", "PhysicalResourceId": PHYSICAL_ID}
DELETE = {"RequestType": "Delete", "PhysicalResourceId": PHYSICAL_ID}


def resource(event: dict[str, Any]) -> dict[str, Any]:
    """Pass an event of the custom resource to a new process, and return the answer."""
    answer: dict[str, Any] = Lambdas().resource(event, CONTEXT)
    return answer


@pytest.fixture
def settings(table: str, bucket: str, ca_key: str, monkeypatch: pytest.MonkeyPatch) -> AuthoritySettings:
    """Return the Lambda function's settings, which are also in its environment.

    moto is patched, because its AWS IoT endpoint would change with every call.
    """
    monkeypatch.setattr("moto.iot.models.random.get_random_string", lambda **_: "account")
    made = AuthoritySettings(
        table=table, bucket=bucket, account=ACCOUNT, ca_key=ca_key, subject="Acme Issuing CA", years="20"
    )
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def factory() -> factories.Authority:
    """Return a factory's CA."""
    return factories.authority("Factory A")


@pytest.fixture
def deploy(
    settings: AuthoritySettings,
    factory: factories.Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Return a function that puts a fleet into the asset, after a first one that trusts the factory."""
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", tmp_path / "fleet.json")

    def put(deployed: Fleet) -> None:
        (tmp_path / "fleet.json").write_text(deployed.to_json())

    put(fleet(group("gateways", factory)))
    return put


def versions(key: str) -> list[str]:
    """Return the versions of an object, newest first."""
    answer = boto3.client("s3").list_object_versions(Bucket="certificates", Prefix=key)
    return [version["VersionId"] for version in answer.get("Versions", [])]


def content(key: str) -> str:
    """Return the text of an object."""
    return boto3.client("s3").get_object(Bucket="certificates", Key=key)["Body"].read().decode()


def test_create_makes_a_ca_of_the_kms_key(deploy: Any, settings: AuthoritySettings) -> None:
    """The CA is self-signed by the key in KMS, with the subject and validity of the settings."""
    data = resource(CREATE)["Data"]
    ca = x509.load_pem_x509_certificate(data["CaCertificate"].encode())
    ca.verify_directly_issued_by(ca)
    assert ca.subject == factories.name("Acme Issuing CA")
    assert ca.not_valid_after_utc - ca.not_valid_before_utc == timedelta(days=365 * 20)
    assert data["MqttHost"] == "account-ats.iot.us-east-1.amazonaws.com"
    assert content(AUTHORITY_KEY) == data["CaCertificate"]


def test_the_key_of_nonces_is_made_once(deploy: Any, settings: AuthoritySettings) -> None:
    """A deployment makes the key of all nonces, and no later event changes it."""
    records = DynamoProofs(clients.dynamodb(), settings.table)
    with pytest.raises(Unavailable, match="SECRET#nonces"):
        records.nonce_key()
    resource(CREATE)
    made = records.nonce_key()
    assert len(made) == KEY_BYTES
    for event in (UPDATE, CREATE, DELETE):
        resource(event)
    assert DynamoProofs(clients.dynamodb(), settings.table).nonce_key() == made


def test_the_truststore_holds_every_anchor_and_the_ca(deploy: Any, factory: factories.Authority) -> None:
    """The truststore, by which the mTLS host decides, has the anchors of every group once, and the CA."""
    other = factories.authority("Factory B")
    shared = group(
        "sensors", other, trust=(factories.pem(other.certificate), factories.pem(factory.certificate))
    )
    deploy(fleet(group("gateways", factory), shared))
    data = resource(CREATE)["Data"]
    stored = x509.load_pem_x509_certificates(content(TRUSTSTORE_KEY).encode())
    ca = x509.load_pem_x509_certificate(data["CaCertificate"].encode())
    assert len(stored) == 3
    assert set(stored) == {factory.certificate, other.certificate, ca}
    assert versions(TRUSTSTORE_KEY) == [data["TruststoreVersion"]]


@pytest.mark.parametrize("again", [CREATE, UPDATE], ids=["retry", "update"])
def test_a_second_run_finds_the_first_ones_ca(deploy: Any, again: dict[str, str]) -> None:
    """A retried or updated resource returns the same CA, and nothing is written."""
    first = resource(CREATE)
    assert resource(again) == first
    assert len(versions(AUTHORITY_KEY)) == len(versions(TRUSTSTORE_KEY)) == 1


@pytest.mark.parametrize(("name", "value"), [("SUBJECT", "Renamed CA"), ("YEARS", "1")])
def test_another_name_or_time_is_refused(
    deploy: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A changed subject or validity is refused with the existing CA's subject, and that CA stays."""
    first = resource(CREATE)["Data"]
    with monkeypatch.context() as renamed:
        renamed.setenv(f"FIRSTBOOT_{name}", value)
        with pytest.raises(DeploymentRefused, match=f"{AuthorityTermsChanged.title}: .*CN=Acme Issuing CA"):
            resource(UPDATE)
    assert resource(UPDATE)["Data"] == first
    assert len(versions(AUTHORITY_KEY)) == len(versions(TRUSTSTORE_KEY)) == 1


def test_a_failed_create_leaves_what_the_next_one_uses(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA that was stored before its deployment failed and rolled back is used by the next deployment."""
    with monkeypatch.context() as failing:
        failing.setattr(AuthorityStore, "put_truststore", _unavailable)
        with pytest.raises(DeploymentRefused, match="did not answer"):
            resource(CREATE)
    stored = content(AUTHORITY_KEY)
    resource(DELETE)
    assert resource(CREATE)["Data"]["CaCertificate"] == stored
    assert len(versions(AUTHORITY_KEY)) == 1


def _unavailable(*_: object) -> str:
    raise Unavailable


def test_delete_touches_nothing(deploy: Any) -> None:
    """The deletion of a stack keeps the CA, because devices trust it."""
    created = resource(CREATE)
    assert resource(DELETE) == {"PhysicalResourceId": created["PhysicalResourceId"]}
    assert content(AUTHORITY_KEY) == created["Data"]["CaCertificate"]
    assert versions(TRUSTSTORE_KEY) == [created["Data"]["TruststoreVersion"]]


def test_of_two_at_once_one_ca_remains(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two concurrent runs, the one that stores its CA second returns the first one's."""
    rival: list[str] = []
    look = AuthorityStore.certificate

    def overtaken(store: AuthorityStore) -> bytes | None:
        found = look(store)
        if found is None and not rival:
            rival.append("is at it")
            rival[0] = resource(CREATE)["Data"]["CaCertificate"]
        return found

    monkeypatch.setattr(AuthorityStore, "certificate", overtaken)
    assert resource(CREATE)["Data"]["CaCertificate"] == rival[0]
    assert len(versions(AUTHORITY_KEY)) == 1


def test_the_truststore_follows_the_fleet(deploy: Any, factory: factories.Authority) -> None:
    """A change of anchors makes a new version of the truststore, and a change of their order does not."""
    other = factories.authority("Factory B")
    groups = [group("gateways", factory), group("sensors", other)]
    before = resource(CREATE)["Data"]
    deploy(fleet(*groups))
    after = resource(UPDATE)["Data"]
    deploy(fleet(*reversed(groups)))
    assert resource(UPDATE)["Data"] == after
    assert before["TruststoreVersion"] != after["TruststoreVersion"]
    assert before["CaCertificate"] == after["CaCertificate"]
    assert versions(TRUSTSTORE_KEY) == [after["TruststoreVersion"], before["TruststoreVersion"]]


def test_another_key_is_refused(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced KMS key is refused, because no existing certificate would be of this CA any more."""
    before = resource(CREATE)["Data"]
    other = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    monkeypatch.setenv("FIRSTBOOT_CA_KEY", other["KeyMetadata"]["Arn"])
    with pytest.raises(DeploymentRefused, match=f"{AuthorityKeyChanged.title}: CN=Acme Issuing CA"):
        resource(UPDATE)
    assert content(AUTHORITY_KEY) == before["CaCertificate"]
    assert len(versions(AUTHORITY_KEY)) == len(versions(TRUSTSTORE_KEY)) == 1


def test_a_deployment_with_the_right_key_succeeds_again(
    deploy: Any, ca_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment with the right key succeeds after one with another key was refused, with the same CA."""
    before = resource(CREATE)["Data"]
    other = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    monkeypatch.setenv("FIRSTBOOT_CA_KEY", other["KeyMetadata"]["Arn"])
    with pytest.raises(DeploymentRefused):
        resource(UPDATE)
    monkeypatch.setenv("FIRSTBOOT_CA_KEY", ca_key)
    assert resource(UPDATE)["Data"] == before


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P384", "ECC_SECG_P256K1"])
def test_a_key_on_another_curve_is_refused(deploy: Any, monkeypatch: pytest.MonkeyPatch, spec: Any) -> None:
    """A key on another curve is refused before anything is written, because a CA cannot be replaced."""
    key = boto3.client("kms").create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    monkeypatch.setenv("FIRSTBOOT_CA_KEY", key)
    with pytest.raises(DeploymentRefused, match=f"{AuthorityKeyUnfit.title}: {key}"):
        resource(CREATE)
    assert versions(AUTHORITY_KEY) == versions(TRUSTSTORE_KEY) == []


def test_our_own_ca_is_refused_as_a_factory(deploy: Any, factory: factories.Authority) -> None:
    """A fleet whose factory anchor is our CA is refused before the truststore changes."""
    before = resource(CREATE)["Data"]
    ours = group("gateways", factory, trust=(before["CaCertificate"],))
    deploy(fleet(ours))
    with pytest.raises(DeploymentRefused, match=f"{AnchorConflict.title}: CN=Acme Issuing CA"):
        resource(UPDATE)
    assert versions(TRUSTSTORE_KEY) == [before["TruststoreVersion"]]


def test_a_ca_that_can_not_be_read_is_not_made_anew(deploy: Any) -> None:
    """A CA that S3 does not return, for a reason other than its absence, is not made again."""
    calls = []
    denied: Any = lambda **_: (SimpleNamespace(status_code=403), {"Error": {"Code": "AccessDenied"}})  # noqa: E731
    events = clients.s3(ACCOUNT).meta.events
    events.register("before-call.s3.GetObject", denied)
    events.register("before-call.s3.PutObject", lambda **_: calls.append("put"))
    with pytest.raises(DeploymentRefused, match="GetObject: AccessDenied"):
        resource(CREATE)
    assert calls == []


def test_a_ca_that_can_not_be_read_back_fails(deploy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource fails if the CA cannot be read back after it was stored."""
    monkeypatch.setattr(AuthorityStore, "certificate", lambda _: None)
    with pytest.raises(DeploymentRefused, match="is not there"):
        resource(CREATE)


def test_a_deployment_counts_the_days(deploy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A deployment emits the metric, so that its alarm stays quiet until the first hourly run."""
    resource(CREATE)
    assert counted(capsys.readouterr().out)["CaDaysLeft"] >= 365 * 20 - 1
