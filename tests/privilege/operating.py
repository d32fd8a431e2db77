"""Flows of the operator and of the deployment."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from firstboot.authority.handlers import PUBLICATION
from firstboot.domain.names import (
    AUTHORITY_KEY,
    NONCE_KEY,
    PUBLISHED_FLEET_KEY,
    TRUSTSTORE_KEY,
    DeviceId,
    certificate_key,
)
from firstboot.domain.publication import TOMBSTONE
from tests import factories
from tests.flows.devices import fresh_name
from tests.privilege.devices import forbidding
from tests.privilege.scene import Scene, need


def devices_listed(scene: Scene) -> None:
    """List devices."""
    scene.operate("devices.list")


def device_shown(scene: Scene) -> None:
    """Show a device."""
    scene.operate("devices.show", deviceId=scene.booted().name)


def devices_read(scene: Scene) -> None:
    """List devices by the read-only function."""
    scene.read("devices.list")


def device_read(scene: Scene) -> None:
    """Show a device by the read-only function."""
    scene.read("devices.show", deviceId=scene.booted().name)


def fleet_read(scene: Scene) -> None:
    """Show the fleet in force by the read-only function, while a fleet is published and without one."""
    for published in (True, False):
        with scene.published(**forbidding(scene)) if published else nullcontext(scene.fleet) as fleet:
            shown = scene.read("fleet.show")["inForce"]
            need(shown["hash"] == fleet.hash, shown["hash"])


def device_revoked(scene: Scene) -> None:
    """Revoke a device."""
    scene.operate("devices.revoke", deviceId=scene.booted().name)


def bootstrap_revoked(scene: Scene) -> None:
    """Revoke a bootstrap certificate that AWS IoT knows."""
    pem = factories.pem(scene.new_device().bootstrap)
    known = scene.aws("iot").register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    result = scene.operate("factory.revoke", certificate=pem)
    need(result["awsIot"][known["certificateId"]] == "revoked", result)


def fleet_applied(scene: Scene) -> None:
    """Publish a fleet."""
    try:
        _apply(scene)
    finally:
        scene.withdraw()


def fleet_shown(scene: Scene) -> None:
    """Show the fleet in force, before, while and after a fleet is published."""
    _in_force(scene, scene.fleet.hash)
    with scene.published(**forbidding(scene)) as newer:
        _in_force(scene, newer.hash)
    _in_force(scene, scene.fleet.hash)


def _in_force(scene: Scene, fleet: str) -> None:
    shown = scene.operate("fleet.show")["inForce"]
    need(shown["hash"] == fleet, shown["hash"])


def _apply(scene: Scene) -> None:
    newer = replace(scene.fleet, base=scene.fleet.hash, **forbidding(scene))
    scene.operate("fleet.apply", fleet=json.loads(newer.to_json()))


def device_imported(scene: Scene) -> None:
    """Import a device that AWS IoT knows."""
    iot, name = scene.aws("iot"), fresh_name()
    arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName=name, principal=arn)
    imported = scene.operate("devices.import", group="gateways", devices={name: {}})
    need(imported["imported"] == [name], imported)


def device_repaired(scene: Scene) -> None:
    """Bring a deleted certificate back from an older version of its object."""
    device = scene.active()
    key = certificate_key(DeviceId(device.name), f"{device.leaf.serial_number:x}")
    scene.aws("s3").delete_object(Bucket=scene.names["Store"], Key=key)
    repaired = scene.operate("devices.repair", deviceId=device.name)
    need(repaired["source"] == "version", repaired)
    again = scene.operate("devices.repair", deviceId=device.name)
    need(again["source"] == "stored", again)


def failures_shown(scene: Scene) -> None:
    """Show how many messages each dead-letter queue holds."""
    scene.operate("failures.show")


def request_deleted(scene: Scene) -> None:
    """Delete a request of a device that could not be handled."""
    _kept(scene, "MqttUndelivered", {"topic": "firstboot/gw-1/certificates/request", "clientId": "gw-1"})
    answer = scene.operate("failures.delete", failures="requests")
    need(answer == {"deleted": 1}, answer)


def order_redriven(scene: Scene) -> None:
    """Redrive an order that failed at every attempt."""
    _redriven(scene, "registrations", "RegisterQueuesDead", {"deviceId": fresh_name()})


def jitr_redriven(scene: Scene) -> None:
    """Redrive a JITR message that failed at every attempt."""
    _redriven(scene, "newcomers", "NewcomersDeadLetters", {"certificateId": "0" * 64})


def lost_batch_redriven(scene: Scene) -> None:
    """Redrive a letter about a batch of the stream that failed at every attempt."""
    _redriven(scene, "stream", "RegisterQueuesLostDead", {"DDBStreamBatchInfo": {}})


def _redriven(scene: Scene, name: str, queue: str, letter: dict[str, Any]) -> None:
    _kept(scene, queue, letter)
    answer = scene.operate("failures.redrive", failures=name)
    need(answer == {"redriven": 1, "failed": 0}, answer)


def _kept(scene: Scene, queue: str, letter: dict[str, Any]) -> None:
    """Make a dead letter the only one of its queue."""
    sqs, url = scene.aws("sqs"), scene.names[queue]
    sqs.purge_queue(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(letter))


def key_watched(scene: Scene) -> None:
    """Look at the CA's key, which is as the deployment made it."""
    found = scene.log("AuthorityWatch", {})
    for metric in ("CaKeyUnusable", "CaKeyGrants", "CaKeyPolicyChanged"):
        need(f'"{metric}":[0' in found.replace(" ", ""), found)


def authority_found(scene: Scene) -> None:
    """Deploy with the CA certificate that is stored."""
    _deployed(scene)


def authority_made(scene: Scene) -> None:
    """Deploy without a CA certificate, which makes one, and put this stack's own back."""
    s3, place = scene.aws("s3"), {"Bucket": scene.names["Store"], "Key": AUTHORITY_KEY}
    own = s3.get_object(**place)["Body"].read()
    s3.delete_object(**place)
    try:
        made = _deployed(scene)["CaCertificate"]
        need(made.encode() != own, "the certificate is the old one")
    finally:
        s3.delete_object(**place)
        s3.put_object(**place, Body=own, IfNoneMatch="*")


def nonces_prepared(scene: Scene) -> None:
    """Deploy without the key of nonces, which makes one, and put this stack's own back."""
    dynamodb = scene.aws("dynamodb")
    row = {"TableName": scene.names["Registry"], "Key": {"pk": {"S": NONCE_KEY}}}
    own = dynamodb.get_item(**row)["Item"]
    dynamodb.delete_item(**row)
    try:
        _deployed(scene)
        need(dynamodb.get_item(**row).get("Item"), "there is no key of nonces")
    finally:
        dynamodb.put_item(TableName=scene.names["Registry"], Item=own)


def truststore_written(scene: Scene) -> None:
    """Deploy with an outdated truststore, which is rewritten."""
    s3, place = scene.aws("s3"), {"Bucket": scene.names["Store"], "Key": TRUSTSTORE_KEY}
    s3.put_object(**place, Body=b"stale")
    _deployed(scene)
    need(s3.get_object(**place)["Body"].read() != b"stale", "the truststore did not change")


def publication_retired(scene: Scene) -> None:
    """Deploy a fleet over the publication of another one, which ends the publication."""
    s3, place = scene.aws("s3"), {"Bucket": scene.names["Store"], "Key": PUBLISHED_FLEET_KEY}
    s3.put_object(**place, Body=b'{"base":"another"}')
    event = {"RequestType": "Update", "ResourceType": PUBLICATION}
    try:
        scene.invoke("AuthorityFunction", event | {"ResourceProperties": {"FleetHash": scene.fleet.hash}})
        need(s3.get_object(**place)["Body"].read() == TOMBSTONE, "the publication is still there")
    finally:
        s3.delete_object(**place)


def _deployed(scene: Scene) -> dict[str, str]:
    answer: dict[str, Any] = scene.invoke("AuthorityFunction", {"RequestType": "Create"})
    data: dict[str, str] = answer["Data"]
    return data
