"""`GET /v1/sas/{hub}`: a device gets shared access signatures for itself, at the hubs of its grants."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import boto3
import pytest
from cryptography import x509

from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.clock import epoch, from_epoch, iso
from firstboot.domain.names import DeviceId
from firstboot.domain.secret_keys import KeyPair
from tests import factories
from tests.aws.product import Answer, Product
from tests.aws.test_openapi import documented
from tests.fleets import RULES, group

HUB = "myhub.azure-devices.net"
PATH = f"/v1/sas/{HUB}"
SECRET = f"Firstboot/sas/{HUB}"
GRANT = {"kind": "azure-sas", "hub": HUB, "seconds": 3600}
RULE = """
@id("hub") permit (principal, action == Action::"hold", resource == Grant::"hub")
unless { principal.quarantined };
"""
KEYS = KeyPair(b"p" * 64, b"s" * 64)


@pytest.fixture
def signing(product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Product:
    """Return the product, deployed with a grant for a hub whose keys are set."""
    wider = replace(product.fleet, grants=product.fleet.grants | {"hub": GRANT}, rules=RULES + RULE)
    (tmp_path / "with-hub.json").write_text(wider.to_json())
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", tmp_path / "with-hub.json")
    product.fleet = wider
    product.lambdas.restart_readers()
    boto3.client("secretsmanager").create_secret(Name=SECRET, SecretString=KEYS.to_json())
    return product


def ask(product: Product, leaf: x509.Certificate | None, path: str = PATH) -> Answer:
    """Ask for a signature over mTLS, and check the answer against docs/openapi.json."""
    return documented("GET", path, product.call("GET", path, leaf))


def code(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.body["code"]


def signature(key: bytes, signed: str) -> str:
    """Return a signature as Microsoft documents it, without the product's code."""
    made = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    return quote(base64.b64encode(made).decode(), safe="")


def test_a_device_gets_a_signature_for_itself(signing: Product) -> None:
    """The signature is for the device at the hub, by the primary key, and for the grant's lifetime."""
    now = datetime(2027, 1, 15, 8, 0, 0, 700_000, tzinfo=UTC)
    leaf = signing.identity("gw-1")
    signing.lambdas.clock = lambda: now
    answer = ask(signing, leaf)
    ends = epoch(now) + 3600
    resource = f"{HUB}%2Fdevices%2Fgw-1"
    signed = signature(KEYS.primary, f"{resource}\n{ends}")
    assert answer.status == 200, answer.body
    assert answer.body == {
        "token": f"SharedAccessSignature sr={resource}&sig={signed}&se={ends}&skn=device",
        "expiresAt": iso(from_epoch(ends)),
        "expiresIn": 3600,
        "hub": HUB,
        "deviceId": "gw-1",
        "time": "2027-01-15T08:00:00Z",
    }
    assert answer.headers["cache-control"] == "no-store"


def test_a_signed_proof_does_as_well(signing: Product) -> None:
    """On the public host a device asks with a signed proof."""
    key = factories.ec_key()
    leaf = signing.certificate(signing.enroll(signing.bootstrap("gw-1"), key))
    assert signing.prove("GET", PATH, key, leaf).status == 200


def test_an_id_may_have_a_colon(signing: Product) -> None:
    """Each character of a device id is allowed in a hub's, and the colon is encoded in the resource.

    https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry#device-identity-properties
    """
    signing.publish(colon_ids=True)
    leaf = signing.identity("a:B_c.-9")
    token = ask(signing, leaf).body["token"]
    assert "sr=myhub.azure-devices.net%2Fdevices%2Fa%3AB_c.-9&" in token
    assert unquote(token.partition("sr=")[2].partition("&")[0]) == f"{HUB}/devices/a:B_c.-9"
    ours = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")
    assert not ours - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:.+%_#*?!(),=@$'")


def test_the_grant_s_policy_is_named(signing: Product) -> None:
    """A grant may name another shared access policy, whose key then signs."""
    signing.publish(grants=signing.fleet.grants | {"hub": GRANT | {"policy": "sensors", "seconds": 300}})
    answer = ask(signing, signing.identity("gw-1"))
    assert answer.body["token"].endswith("&skn=sensors")
    assert answer.body["expiresIn"] == 300


def test_a_device_without_the_grant_is_refused(signing: Product) -> None:
    """A rule that forbids the grant is felt at once, and the keys are not read for a refused device."""
    leaf = signing.identity("gw-1")
    assert ask(signing, leaf).status == 200
    signing.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True})
    boto3.client("secretsmanager").delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    signing.lambdas.restart_readers()
    assert code(ask(signing, leaf)) == (403, "no-grant")


@pytest.mark.parametrize(
    "hub",
    [
        *("other.azure-devices.net", "MYHUB.azure-devices.net", "myhub", f"{HUB}%2Fdevices%2Fgw-2", "\u00fc"),
        "x" * 8_000,
    ],
)
def test_another_hub_is_refused(signing: Product, hub: str) -> None:
    """A hub that no grant names gets no signature, however it is spelled."""
    assert code(ask(signing, signing.identity("gw-1"), f"/v1/sas/{hub}")) == (404, "hub-not-found")


def test_a_bootstrap_certificate_gets_no_signature(signing: Product) -> None:
    """A bootstrap certificate, a revoked device and a caller without a certificate are refused."""
    bootstrap = signing.bootstrap("gw-1")
    assert code(ask(signing, bootstrap)) == (403, "operational-certificate-required")
    leaf = signing.identity("gw-1")
    signing.operate("devices.revoke", deviceId="gw-1")
    assert code(ask(signing, leaf)) == (403, "device-revoked")
    assert ask(signing, None).status == 401


def test_a_hub_without_keys_is_unavailable(signing: Product, logs: io.StringIO) -> None:
    """Without the hub's keys the device repeats its request, and the log names the hub."""
    leaf = signing.identity("gw-1")
    boto3.client("secretsmanager").delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    assert code(ask(signing, leaf)) == (503, "unavailable")
    assert f"there are no keys of the hub {HUB}" in logs.getvalue()


def test_a_new_key_is_used_after_five_minutes(signing: Product) -> None:
    """A warm process signs with the new primary key five minutes later."""
    now = datetime(2027, 1, 15, 8, tzinfo=UTC)
    leaf = signing.identity("gw-1")
    signing.lambdas.clock = lambda: now
    before = ask(signing, leaf).body["token"]
    text = KEYS.rolled(b"n" * 64).to_json()
    boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=text)
    assert ask(signing, leaf).body["token"] == before
    signing.lambdas.clock = lambda: now + timedelta(minutes=5)
    resource, ends = f"{HUB}%2Fdevices%2Fgw-1", epoch(now) + 3900
    assert signature(b"n" * 64, f"{resource}\n{ends}") in ask(signing, leaf).body["token"]


def test_no_log_has_a_signature_or_a_key(
    signing: Product, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log names the hub and the device, and has no part of the signature or of a key."""
    token = ask(signing, signing.identity("gw-1")).body["token"]
    metrics = capsys.readouterr().out
    written = logs.getvalue() + metrics
    assert '"HubSignatures":[1.0]' in metrics
    assert '"hub":"myhub.azure-devices.net"' in written.replace('": "', '":"')
    assert token.partition("sig=")[2].partition("&")[0] not in written
    assert "SharedAccessSignature" not in written
    for key in (KEYS.primary, KEYS.secondary):
        assert base64.b64encode(key).decode()[:20] not in written


def test_the_record_names_the_grant(signing: Product) -> None:
    """The device's own record lists the grant, and `explain` names its rule."""
    leaf = signing.identity("gw-1")
    assert signing.call("GET", "/v1/device", leaf).body["grants"] == ["hub", "telemetry"]
    moments = signing.operate("devices.explain", deviceId="gw-1", context={})["result"]["moments"]
    assert [{"grant": "hub", "rules": ["hub"]} in each["grants"] for each in moments] == [True, True]


def test_no_other_deployment_has_the_route(product: Product) -> None:
    """Without a grant for a hub in the deployed fleet there is no route, also if one was published."""
    leaf = product.identity("gw-1")
    product.publish(grants=product.fleet.grants | {"hub": GRANT}, rules=RULES + RULE)
    assert code(product.call("GET", PATH, leaf)) == (404, "route-not-found")


def test_a_withdrawn_grant_ends_signatures(signing: Product) -> None:
    """A published fleet without the grant gives no more signatures, while the route stays."""
    leaf = signing.identity("gw-1")
    grants = {name: each for name, each in signing.fleet.grants.items() if name != "hub"}
    signing.publish(grants=grants, rules=RULES)
    assert code(ask(signing, leaf)) == (404, "hub-not-found")


def test_a_closed_way_gets_no_signature(signing: Product) -> None:
    """A group that does not name mTLS is refused over mTLS."""
    leaf = signing.identity("gw-1")
    signing.publish(groups={"gateways": group("gateways", signing.factory, ways=("proof", "mqtt"))})
    assert code(ask(signing, leaf)) == (403, "way-not-allowed")


def test_the_first_log_in_commits(signing: Product) -> None:
    """A signature may be the first thing that a new certificate asks for, which commits it."""
    assert ask(signing, signing.identity("gw-1")).status == 200
    device = signing.records.device(DeviceId("gw-1"))
    assert device is not None
    assert device.active is not None
    assert json.dumps(device.generation) == "1"
