"""The clients of `make demo-clients` for the ways that a group turns on, and for keys in hardware."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import boto3
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from firstboot.domain import topics
from firstboot.domain.names import FLEET_ROLE_PATH, fleet_role
from firstboot.domain.secret_keys import HUBS, prefix
from tests import factories
from tests.clients import aws, dps, hsm, hub, tpm
from tests.clients.demo import Scenario
from tests.clients.est import Client
from tests.flows.conftest import HUB, Cloud
from tests.flows.devices import Device, fresh_name, operate
from tests.flows.test_provisioning import ASK, admitted_claim, provisioned

TELEMETRY = ["--role-alias", "telemetry", "--state"]


def booted(cloud: Cloud, folder: Path) -> Device:
    """Return a new device that has booted with the reference client."""
    device = Device(cloud, fresh_name(), folder)
    device.boot()
    return device


def credentials(cloud: Cloud, name: str, session: boto3.Session) -> str:
    """Check the credentials of the device `name`, and describe them."""
    aws.check_own_prefix(cloud, session, name)
    return f"credentials that write below {name}/ only"


def azure_by_key(cloud: Cloud, folder: Path) -> str:
    """Get an identity with Microsoft's provisioning client and a symmetric key."""
    return f"an identity for {dps.by_key(cloud, folder, 'primary')}, and a login with it"


def azure_by_certificate(cloud: Cloud, folder: Path) -> str:
    """Get an identity with Microsoft's provisioning client and a bootstrap certificate."""
    return f"an identity for {dps.by_certificate(cloud, folder)}, and a login with it"


def azure_hub(cloud: Cloud, folder: Path) -> str:
    """Get a shared access signature for the device, which Microsoft's device client takes."""
    device = booted(cloud, folder)
    operate(cloud, "devices.set", deviceId=device.name, attributes={"site": "azure"})
    keys = dps.secret_keys(cloud, f"{prefix(cloud.endpoints['stack'], HUBS)}/{HUB}")
    answer = dps.call(cloud, "GET", f"/v1/sas/{HUB}", *device.identity)
    hub.check_taken(answer["token"], keys.primary, HUB, device.name)
    return f"a signature for {HUB}/devices/{device.name} only"


def roles_anywhere(cloud: Cloud, folder: Path) -> str:
    """Get credentials with AWS's library for IAM Roles Anywhere."""
    device, at = booted(cloud, folder), cloud.endpoints["aws"]
    place = f"arn:aws:rolesanywhere:{at['region']}:{at['account']}"
    nothing = "00000000-0000-0000-0000-000000000000"
    role = f"role{FLEET_ROLE_PATH}{fleet_role(at['region'], 'telemetry')}"
    certificate, key = map(str, device.identity)
    found = aws.roles_anywhere(
        {
            "endpoint": urlsplit(cloud.endpoints["public"]).netloc,
            "verify": cloud.endpoints["api_ca"],
            "certificate": certificate,
            "private_key": key,
            "role_arn": f"arn:aws:iam::{at['account']}:{role}",
            "profile_arn": f"{place}:profile/{nothing}",
            "trust_anchor_arn": f"{place}:trust-anchor/{nothing}",
            "region": at["region"],
        }
    )
    assert len(found) == 3, found
    return credentials(cloud, device.name, boto3.Session(*found))


def cli(cloud: Cloud, folder: Path) -> str:
    """Write with the AWS CLI, which gets its credentials from `device serve`."""
    device = booted(cloud, folder)
    with aws.serving(device.state) as environment:
        aws.check_own_prefix_by_cli(cloud, environment, device.name, folder)
    return f"credentials that write below {device.name}/ only"


def fleet_provisioning(cloud: Cloud, folder: Path) -> str:
    """Get an identity with AWS's client of fleet provisioning, and credentials with it."""
    own, _ = provisioned(cloud, folder, admitted_claim(cloud, folder / "claim"))
    topic, vended = ASK(own, topics.CREDENTIALS, {"roleAlias": "updates"})
    assert topic == topics.CREDENTIALS.accepted_topic(own.client_id), vended
    found = vended["credentials"]
    keys = [found[member] for member in ("accessKeyId", "secretAccessKey", "sessionToken")]
    aws.check_stable_firmware(cloud, boto3.Session(*keys))
    return f"an identity for {own.client_id}, and credentials that read stable firmware only"


def est(cloud: Cloud, folder: Path, get: Callable[[Client], None], what: str) -> str:
    """Get an identity with a client of EST."""
    device = Client.new(cloud, folder)
    get(device)
    return f"an identity for {device.name}{what}"


def token(cloud: Cloud, folder: Path) -> str:
    """Get an identity and credentials with the reference client, whose keys are in a SoftHSM2 token."""
    made = hsm.new(folder / "token")

    def run(*arguments: str | Path) -> str:
        done = hsm.client(*arguments, extra=made.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    keys = ["--bootstrap-key", made.uri("bootstrap"), "--key", made.uri("operational")]
    return in_hardware(cloud, folder, made.make("bootstrap"), keys, run)


def chip(cloud: Cloud, folder: Path) -> str:
    """Get an identity and credentials with the reference client, whose keys are in a software TPM."""
    with tpm.running(folder / "tpm") as made:
        public = load_pem_public_key(made.new_key("bootstrap.key").encode())
        where = "?tcti=tabrmd:bus_type=session"
        bootstrap = f"tpm2:file={made.folder}/bootstrap.key{where}"
        keys = ["--bootstrap-key", bootstrap, "--key", f"tpm2:{where}"]
        return in_hardware(cloud, folder, public, keys, made.client)


def in_hardware(cloud: Cloud, folder: Path, public: Any, keys: list[str], run: Callable[..., str]) -> str:
    """Boot by signed proofs with a bootstrap key, renew, and get credentials. No key is in a file."""
    name, state = fresh_name(), folder / "state"
    key: Any = SimpleNamespace(public_key=lambda: public)
    certificate = folder / "bootstrap.pem"
    certificate.write_text(factories.pem(cloud.factory.issue(name, key)))
    where = ["--public", cloud.endpoints["public"], "--ca", cloud.endpoints["api_ca"]]
    run("boot", *where, "--bootstrap-cert", certificate, *keys, "--state", state)
    first = (state / "certificate.pem").read_bytes()
    run("renew", "--state", state)
    assert (state / "certificate.pem").read_bytes() != first
    assert not (state / "device.key").exists()
    found = json.loads(run("credentials", *TELEMETRY, state))
    session = boto3.Session(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
    return f"an identity, and {credentials(cloud, name, session)}"


_PKI = {"programs": ("pki",), "environments": ("strongswan",)}
_RENEWAL = ", and its renewal"

SCENARIOS = {
    "azure-iot-provisioning-device, symmetric key": Scenario(azure_by_key, environments=("dps",)),
    "azure-iot-provisioning-device, X.509": Scenario(azure_by_certificate, environments=("dps",)),
    "azure-iot-device, SAS token": Scenario(azure_hub, environments=("azure",)),
    "iam-rolesanywhere-session": Scenario(roles_anywhere, environments=("aws-clients",)),
    "AWS CLI, device serve": Scenario(cli, environments=("aws-clients",)),
    "awsiotsdk, fleet provisioning": Scenario(fleet_provisioning),
    "strongSwan pki --est, mTLS": Scenario(partial(est, get=Client.enroll_and_renew, what=_RENEWAL), **_PKI),
    "strongSwan pki --est, one-time password": Scenario(
        partial(est, get=Client.enroll_with_a_password, what=""), **_PKI
    ),
    "curl and openssl, EST": Scenario(
        partial(est, get=Client.enroll_with_curl, what=_RENEWAL), ("curl", "openssl")
    ),
    "reference client, keys in SoftHSM2": Scenario(token, environments=("encoders",)),
    "reference client, keys in a TPM (swtpm)": Scenario(chip, environments=("encoders",)),
}
"""The scenarios by the words that begin their line."""
