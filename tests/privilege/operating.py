"""Flows of the operator, and of the deployment."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from firstboot.domain import topics
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from tests.flows.devices import fresh_name
from tests.privilege.devices import forbidding
from tests.privilege.scene import Scene, need


def devices_listed(scene: Scene) -> None:
    """The operator lists devices."""
    scene.operate("devices.list")


def device_shown(scene: Scene) -> None:
    """The operator looks at a device."""
    scene.operate("devices.show", deviceId=scene.booted().name)


def device_revoked(scene: Scene) -> None:
    """The operator revokes a device."""
    scene.operate("devices.revoke", deviceId=scene.booted().name)


def fleet_applied(scene: Scene) -> None:
    """The operator publishes a fleet."""
    try:
        _apply(scene)
    finally:
        scene.withdraw()


def fleet_shown(scene: Scene) -> None:
    """The operator sees which fleet is in force: the published one, and then the deployed one."""
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
    """The operator imports a device that AWS IoT knows."""
    iot, name = scene.aws("iot"), fresh_name()
    arn = iot.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName=name, principal=arn)
    imported = scene.operate("devices.import", group="gateways", devices={name: {}})
    need(imported["imported"] == [name], imported)


def failures_shown(scene: Scene) -> None:
    """The operator sees how many letters wait in each queue of the dead."""
    scene.operate("failures.show")


def request_redriven(scene: Scene) -> None:
    """A request that `exchange` failed on is handed to it again."""
    _handed(scene, "ExchangeMqtt")


def connection_redriven(scene: Scene) -> None:
    """A connection that `exchange` failed on is handed to it again."""
    _handed(scene, "Presence")


def credentials_redriven(scene: Scene) -> None:
    """A request for credentials that `vend` failed on is handed to it again."""
    _handed(scene, "VendMqtt")


def _handed(scene: Scene, function: str) -> None:
    arn = scene.aws("lambda").get_function_configuration(FunctionName=scene.names[function])["FunctionArn"]
    letter = {"requestContext": {"functionArn": arn}, "requestPayload": {}}
    _redriven(scene, "requests", "MqttUndelivered", letter)


def lost_request_told(scene: Scene) -> None:
    """A client whose request for a certificate was lost is told to ask again."""
    _told(scene, topics.CERTIFICATES)


def lost_commit_told(scene: Scene) -> None:
    """A client whose commit was lost is told to try again."""
    _told(scene, topics.COMMIT)


def lost_credentials_told(scene: Scene) -> None:
    """A client whose request for credentials was lost is told to ask again."""
    _told(scene, topics.CREDENTIALS)


def _told(scene: Scene, call: topics.Call) -> None:
    name = fresh_name()
    letter = {"topic": call.request_topic(name), "clientId": name}
    _redriven(scene, "requests", "MqttUndelivered", letter)


def order_redriven(scene: Scene) -> None:
    """An order that always failed goes back to its queue."""
    _redriven(scene, "registrations", "RegisterQueuesDead", {"deviceId": fresh_name()})


def jitr_redriven(scene: Scene) -> None:
    """A JITR message that always failed goes back to its queue."""
    _redriven(scene, "newcomers", "NewcomersDeadLetters", {"certificateId": "0" * 64})


def _redriven(scene: Scene, name: str, queue: str, letter: dict[str, Any]) -> None:
    sqs, url = scene.aws("sqs"), scene.names[queue]
    sqs.purge_queue(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(letter))
    answer = scene.operate("failures.redrive", failures=name)
    need(answer == {"redriven": 1}, answer)


def authority_found(scene: Scene) -> None:
    """A deployment finds the CA that is there."""
    _deployed(scene)


def authority_made(scene: Scene) -> None:
    """The first deployment makes the CA's certificate. The one of this stack is put back."""
    s3, place = scene.aws("s3"), {"Bucket": scene.names["Store"], "Key": AUTHORITY_KEY}
    own = s3.get_object(**place)["Body"].read()
    s3.delete_object(**place)
    try:
        made = _deployed(scene)["CaCertificate"]
        need(made.encode() != own, "it is the old one")
    finally:
        s3.delete_object(**place)
        s3.put_object(**place, Body=own, IfNoneMatch="*")


def truststore_written(scene: Scene) -> None:
    """A deployment brings the truststore up to date."""
    s3, place = scene.aws("s3"), {"Bucket": scene.names["Store"], "Key": TRUSTSTORE_KEY}
    s3.put_object(**place, Body=b"stale")
    _deployed(scene)
    need(s3.get_object(**place)["Body"].read() != b"stale", "it is as it was")


def _deployed(scene: Scene) -> dict[str, str]:
    answer: dict[str, Any] = scene.invoke("AuthorityFunction", {"RequestType": "Create"})
    data: dict[str, str] = answer["Data"]
    return data
