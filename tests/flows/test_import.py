"""A device that AWS IoT knew before Firstboot is imported, and renews with the certificate that it has."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import MQTTProtocolVersion

from firstboot.domain import topics
from tests import factories
from tests.flows.conftest import Cloud, until
from tests.flows.devices import client, fresh_name
from tests.flows.mqtt import Identity, paho
from tests.flows.test_console import result

ASK = paho(MQTTProtocolVersion.MQTTv311)


def known_to_aws_iot(cloud: Cloud, folder: Path) -> Identity:
    """Make a thing with a certificate of AWS IoT's and a policy of its maker, and return the identity."""
    iot, name = client(cloud, "iot"), fresh_name()
    made = iot.create_keys_and_certificate(setAsActive=True)
    policy = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
    iot.create_policy(policyName=f"maker-{name}", policyDocument=document)
    iot.attach_policy(policyName=f"maker-{name}", target=made["certificateArn"])
    iot.create_thing(thingName=name, attributePayload={"attributes": {"paint": "blue"}})
    iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
    (folder / "old.pem").write_text(made["certificatePem"])
    (folder / "old.key").write_text(made["keyPair"]["PrivateKey"])
    return Identity(cloud, folder / "old.pem", folder / "old.key", name)


def policies(cloud: Cloud, certificate_id: str) -> set[str]:
    """Return the names of the policies that a certificate has."""
    iot = client(cloud, "iot")
    arn = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"]
    return {each["policyName"] for each in iot.list_attached_policies(target=arn)["policies"]}


def test_an_imported_device_renews(cloud: Cloud, tmp_path: Path) -> None:
    """An imported device keeps its thing and gets a certificate of ours, and its old one loses the grants."""
    old = known_to_aws_iot(cloud, tmp_path)
    manifest = tmp_path / "fleet.csv"
    manifest.write_text(f"deviceId,site\n{old.client_id},berlin\n")
    imported = result(cloud, "devices", "import", "gateways", str(manifest))
    assert imported["imported"] == 1, imported
    assert result(cloud, "devices", "import", "gateways", str(manifest))["known"] == 1
    until(lambda: "Firstboot-device" in policies(cloud, old.certificate_id))

    key = factories.ec_key()
    request = {"csr": factories.pem(factories.csr(key)), "deliver": "inline"}
    topic, answer = ASK(old, topics.CERTIFICATES, request)
    assert topic == topics.CERTIFICATES.accepted_topic(old.client_id), answer
    until(lambda: ASK(old, topics.CERTIFICATES, request)[1]["mqtt"]["ready"])
    leaf = x509.load_der_x509_certificate(base64.b64decode(answer["certificate"]))
    (tmp_path / "new.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (tmp_path / "new.key").write_text(factories.key_pem(key))
    new = Identity(cloud, tmp_path / "new.pem", tmp_path / "new.key", old.client_id)
    assert ASK(new, topics.COMMIT, {})[1]["status"] == "active"

    maker = f"maker-{old.client_id}"
    until(lambda: policies(cloud, old.certificate_id) == {maker, "Firstboot-superseded"})
    assert policies(cloud, new.certificate_id) == {"Firstboot-device", "Firstboot-grant-mqtt"}
    assert ASK(old, topics.CERTIFICATES, request)[1]["certificateId"] == new.certificate_id
    thing = client(cloud, "iot").describe_thing(thingName=old.client_id)
    assert thing["attributes"] == {"paint": "blue"}
