"""AWS IoT fleet provisioning with the client of AWS's SDK, unmodified, over the local broker."""

from __future__ import annotations

import base64
import hashlib
import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from awscrt import mqtt
from awsiot import iotidentity, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import MQTTProtocolVersion

from firstboot.domain import topics
from tests import factories
from tests.flows.conftest import Cloud, factory, save, until
from tests.flows.devices import client, fresh_name, operate, output
from tests.flows.mqtt import SECONDS, Identity, paho
from tests.flows.test_jitr import CLOSED, outcome, settled

ASK = paho(MQTTProtocolVersion.MQTTv311)
QOS = mqtt.QoS.AT_LEAST_ONCE

Heard = queue.Queue[Any]


@pytest.fixture(scope="session")
def claim(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a claim certificate that JITR has admitted."""
    return admitted_claim(cloud, tmp_path_factory.mktemp("claim"))


def admitted_claim(cloud: Cloud, folder: Path) -> tuple[Path, Path]:
    """Make a claim certificate, have JITR admit it, and return its files in `folder`."""
    key = factories.ec_key()
    (anchor,) = (name for name in cloud.endpoints["factories"] if Path(name).stem == "claims")
    leaf = factory(cloud.endpoints["factories"][anchor]).issue("batch 7", key)
    files = save(folder, leaf, key)
    assert outcome(cloud, "boot-first", files) == CLOSED
    assert settled(cloud, files) == "ACTIVE"
    return files


@contextmanager
def identity_client(
    cloud: Cloud, files: tuple[Path, Path], client_id: str
) -> Iterator[iotidentity.IotIdentityClient]:
    """Connect the SDK's client for fleet provisioning."""
    broker = cloud.endpoints["mqtt"]
    connection = mqtt_connection_builder.mtls_from_path(
        *map(str, files),
        endpoint=broker["host"],
        port=broker["port"],
        ca_filepath=broker["ca"],
        client_id=client_id,
        clean_session=True,
    )
    connection.connect().result(SECONDS)
    try:
        yield iotidentity.IotIdentityClient(connection)
    finally:
        connection.disconnect().result(SECONDS)


def keys_and_certificate(of: iotidentity.IotIdentityClient) -> iotidentity.CreateKeysAndCertificateResponse:
    """Have AWS IoT make a key and a certificate."""
    heard: Heard = queue.Queue()
    wanted = iotidentity.CreateKeysAndCertificateSubscriptionRequest()
    of.subscribe_to_create_keys_and_certificate_accepted(wanted, QOS, heard.put)[0].result(SECONDS)
    of.subscribe_to_create_keys_and_certificate_rejected(wanted, QOS, heard.put)[0].result(SECONDS)
    of.publish_create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest(), QOS).result(SECONDS)
    return heard.get(timeout=SECONDS)


def register_thing(of: iotidentity.IotIdentityClient, template: str, token: str, name: str) -> Any:
    """Register a thing, and return the answer of either kind."""
    heard: Heard = queue.Queue()
    wanted = iotidentity.RegisterThingSubscriptionRequest(template_name=template)
    of.subscribe_to_register_thing_accepted(wanted, QOS, heard.put)[0].result(SECONDS)
    of.subscribe_to_register_thing_rejected(wanted, QOS, heard.put)[0].result(SECONDS)
    request = iotidentity.RegisterThingRequest(
        template_name=template, certificate_ownership_token=token, parameters={"SerialNumber": name}
    )
    of.publish_register_thing(request, QOS).result(SECONDS)
    return heard.get(timeout=SECONDS)


def provisioned(
    cloud: Cloud, folder: Path, claim: tuple[Path, Path]
) -> tuple[Identity, iotidentity.CreateKeysAndCertificateResponse]:
    """Provision an expected device, and repeat its registration.

    Returns its identity and AWS IoT's answer with the certificate.
    """
    name, template = fresh_name(), output(cloud, "ProvisioningTemplate")
    operate(cloud, "groups.expect", group="claims", devices={name: {"channel": "stable"}})
    with identity_client(cloud, claim, f"boot-{name}") as of:
        made = keys_and_certificate(of)
        answer = register_thing(of, template, made.certificate_ownership_token, name)
        assert answer.thing_name == name, repr(answer)
        again = register_thing(of, template, made.certificate_ownership_token, name)
        assert again.thing_name == name, repr(again)
    (folder / "aws.pem").write_text(made.certificate_pem)
    (folder / "aws.key").write_text(made.private_key)
    return Identity(cloud, folder / "aws.pem", folder / "aws.key", name), made


def policies(cloud: Cloud, certificate_id: str) -> set[str]:
    """Return the names of a certificate's policies in AWS IoT."""
    iot = client(cloud, "iot")
    arn = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"]
    return {each["policyName"] for each in iot.list_attached_policies(target=arn)["policies"]}


def record(cloud: Cloud, name: str) -> dict[str, Any]:
    """Return a device's record."""
    return dict(operate(cloud, "devices.show", deviceId=name))


def test_a_device_of_aws_s_sdk_is_provisioned(cloud: Cloud, tmp_path: Path, claim: tuple[Path, Path]) -> None:
    """An expected device is provisioned, gets credentials with AWS IoT's certificate, and renews."""
    own, made = provisioned(cloud, tmp_path, claim)
    name = own.client_id
    topic, vended = ASK(own, topics.CREDENTIALS, {"roleAlias": "updates"})
    assert topic == topics.CREDENTIALS.accepted_topic(name), vended
    active = record(cloud, name)["active"]
    assert active["certificateId"] == made.certificate_id
    until(lambda: policies(cloud, made.certificate_id) == {"Firstboot-device", "Firstboot-grant-mqtt"})

    key = factories.ec_key()
    csr = {"csr": factories.pem(factories.csr(key)), "deliver": "inline"}
    renewed = ASK(own, topics.CERTIFICATES, csr)[1]
    leaf = x509.load_der_x509_certificate(base64.b64decode(renewed["certificate"]))
    until(lambda: ASK(own, topics.CERTIFICATES, csr)[1]["mqtt"]["ready"])
    (tmp_path / "new.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (tmp_path / "new.key").write_text(factories.key_pem(key))
    new = Identity(cloud, tmp_path / "new.pem", tmp_path / "new.key", name)
    assert ASK(new, topics.COMMIT, {})[1]["status"] == "active"
    until(lambda: policies(cloud, made.certificate_id) == {"Firstboot-superseded"})


def test_a_device_that_no_operator_expects_is_refused(cloud: Cloud, claim: tuple[Path, Path]) -> None:
    """AWS IoT refuses the device by the hook's answer, and the certificate gets no rights."""
    name, template = fresh_name(), output(cloud, "ProvisioningTemplate")
    with identity_client(cloud, claim, f"boot-{name}") as of:
        made = keys_and_certificate(of)
        answer = register_thing(of, template, made.certificate_ownership_token, name)
    assert (answer.status_code, answer.error_code) == (403, "AccessDenied"), repr(answer)
    iot = client(cloud, "iot")
    left = iot.describe_certificate(certificateId=made.certificate_id)["certificateDescription"]
    assert left["status"] == "PENDING_ACTIVATION"
    assert policies(cloud, made.certificate_id) == set()
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.describe_thing(thingName=name)


def test_a_claim_certificate_can_only_be_provisioned(cloud: Cloud, claim: tuple[Path, Path]) -> None:
    """A client with the claim certificate connects under no device's name."""
    assert outcome(cloud, fresh_name(), claim) == CLOSED
    leaf = x509.load_pem_x509_certificate(claim[0].read_bytes())
    identifier = hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    assert policies(cloud, identifier) == {"Firstboot-claim", "Firstboot-provisioning"}
    document = client(cloud, "iot").get_policy(policyName="Firstboot-provisioning")["policyDocument"]
    assert "iot:Connect" not in json.dumps(json.loads(document))
