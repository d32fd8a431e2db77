"""Flows that reconcile the AWS IoT registry with the device records."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from firstboot.pki import chain
from tests.flows.conftest import save
from tests.flows.devices import fresh_name
from tests.flows.test_jitr import outcome
from tests.privilege.devices import active_at_nowhere, closed, forbidding
from tests.privilege.scene import NewDevice, Scene, need

GRANT = "Firstboot-grant-mqtt"
EXTRA = "extra"


def reconciled(scene: Scene) -> None:
    """Reconcile AWS IoT for a device's first certificate."""
    identity = scene.registered()
    need(GRANT in scene.policies(identity.leaf), "the certificate lacks the grant")


def first_reconciliation(scene: Scene) -> None:
    """Reconcile a device when AWS IoT has neither its group nor its thing type."""
    iot, kind = scene.aws("iot"), scene.stack
    with suppress(iot.exceptions.ResourceNotFoundException):
        iot.delete_thing_group(thingGroupName=f"{kind}-gateways")
    for page in iot.get_paginator("list_things").paginate(thingTypeName=kind):
        for thing in page["things"]:
            iot.update_thing(thingName=thing["thingName"], removeThingType=True)
    with suppress(iot.exceptions.ResourceNotFoundException):
        iot.deprecate_thing_type(thingTypeName=kind)
        iot.delete_thing_type(thingTypeName=kind)
    reconciled(scene)


def reconciled_before_issuance(scene: Scene) -> None:
    """Reconcile a device whose certificate is claimed and not issued, which changes nothing."""
    identity = scene.booted()
    (serial,) = scene.device_row(identity.name)["pending"]["M"]["serial"].values()
    scene.aws("s3").delete_object(Bucket=scene.names["Store"], Key=scene.key_of(identity.name, serial))
    scene.deliver("RegisterWork", deviceId=identity.name)


def reconciled_with_configuration(scene: Scene) -> None:
    """Reconcile a device of a group with a configuration, which goes into its shadow."""
    gateways = _gateways(scene, configuration={"interval": 60})
    with scene.published(groups=scene.fleet.groups | gateways):
        identity = scene.registered()
    shadow = scene.aws("iot-data").get_thing_shadow(thingName=identity.name)["payload"]
    need(json.load(shadow)["state"]["desired"] == {"interval": 60}, "the shadow differs")


def _gateways(scene: Scene, **changes: Any) -> dict[str, Any]:
    return {"gateways": replace(scene.fleet.groups["gateways"], **changes)}


def reconciled_follows_the_fleet(scene: Scene) -> None:
    """Reconcile a device while a published fleet forbids its grant, and after it is withdrawn."""
    identity = active_at_nowhere(scene)
    with scene.published(**forbidding(scene)):
        scene.deliver("RegisterWork", deviceId=identity.name)
        need(GRANT not in scene.policies(identity.leaf), "the certificate has the grant")
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(GRANT in scene.policies(identity.leaf), "the certificate lacks the grant")


def attribute_followed(scene: Scene) -> None:
    """Reconcile a quarantined device, which loses its grant and gets the attribute on its thing."""
    identity = scene.registered()
    scene.operate("devices.set", deviceId=identity.name, attributes={"quarantined": True})
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(GRANT not in scene.policies(identity.leaf), "the certificate has the grant")


def group_followed(scene: Scene) -> None:
    """Reconcile a thing in a foreign group, which it leaves."""
    iot, identity = scene.aws("iot"), scene.registered()
    elsewhere = f"{scene.stack}-elsewhere"
    iot.create_thing_group(thingGroupName=elsewhere)
    iot.add_thing_to_thing_group(thingGroupName=elsewhere, thingName=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)


def revocation_followed(scene: Scene) -> None:
    """Reconcile a revoked device, which loses its certificates, connection and policies."""
    identity = scene.registered()
    scene.operate("devices.revoke", deviceId=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(scene.policies(identity.leaf) == set(), "the certificate has policies")


def deletion_followed(scene: Scene) -> None:
    """Reconcile a deleted device, of which nothing is left."""
    identity = scene.registered()
    scene.operate("devices.delete", deviceId=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(not scene.device_row(identity.name), "the record exists")


def attached_elsewhere_deleted(scene: Scene) -> None:
    """Delete a device whose certificate is attached to another thing too, which takes two tries."""
    iot, identity = scene.aws("iot"), scene.registered()
    other = fresh_name()
    iot.create_thing(thingName=other)
    certificate = iot.describe_certificate(certificateId=chain.fingerprint(identity.leaf))
    principal = certificate["certificateDescription"]["certificateArn"]
    iot.attach_thing_principal(thingName=other, principal=principal)
    scene.operate("devices.delete", deviceId=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name, tries=0)
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(not scene.device_row(identity.name), "the record exists")


def foreign_certificate_left(scene: Scene) -> None:
    """Reconcile a device to whose thing another team has attached a certificate."""
    iot, identity = scene.aws("iot"), scene.registered()
    foreign = iot.create_keys_and_certificate(setAsActive=False)
    iot.attach_thing_principal(thingName=identity.name, principal=foreign["certificateArn"])
    scene.deliver("RegisterWork", deviceId=identity.name)


def change_ordered(scene: Scene) -> None:
    """Make an order from a registered device's new attribute."""
    _changed(scene, {"attributes": {"M": {"site": {"S": "here"}}}, "registered": {"SS": ["a"]}})


def revocation_ordered(scene: Scene) -> None:
    """Make an urgent order from a revocation."""
    _changed(scene, {"status": {"S": "revoked"}})


def _changed(scene: Scene, change: dict[str, Any]) -> None:
    before = scene.device_row(scene.booted().name)
    after = copy.deepcopy(before) | change
    images = {"Keys": {"pk": before["pk"]}, "OldImage": before, "NewImage": after}
    scene.invoke("RegisterChanges", {"Records": [{"eventName": "MODIFY", "dynamodb": images}]})


def lost_batch_ordered(scene: Scene) -> None:
    """Make an order from a letter about a batch that `changes` failed on."""
    name = scene.booted().name
    streams, table = scene.aws("dynamodbstreams"), scene.names["Registry"]
    (stream,) = streams.list_streams(TableName=table)["Streams"]
    described = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]
    (shard,) = described["Shards"]
    place = {"StreamArn": stream["StreamArn"], "ShardId": shard["ShardId"]}
    start = streams.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    (found, *_) = (
        each["dynamodb"]["SequenceNumber"]
        for each in _all_records(streams, start)
        if each["dynamodb"]["Keys"] == {"pk": {"S": f"DEV#{name}"}}
    )
    batch = {
        "streamArn": stream["StreamArn"],
        "shardId": shard["ShardId"],
        "startSequenceNumber": found,
        "endSequenceNumber": found,
    }
    scene.deliver("RegisterLost", DDBStreamBatchInfo=batch)


def _all_records(streams: Any, iterator: str | None) -> Iterator[dict[str, Any]]:
    while iterator:
        page = streams.get_records(ShardIterator=iterator)
        if not page["Records"]:
            return
        yield from page["Records"]
        iterator = page.get("NextShardIterator")


def jitr_admitted(scene: Scene) -> None:
    """Admit a bootstrap certificate after its first connection."""
    new_device = _registered(scene)
    _decided(scene, new_device)
    need(_status(scene, new_device) == "ACTIVE", "the certificate was not admitted")


def jitr_passed(scene: Scene) -> None:
    """Let a certificate's event pass, which is sent to the next queue."""
    scene.deliver("Newcomers", certificateId=chain.fingerprint(scene.new_device().bootstrap))


def jitr_follows_the_fleet(scene: Scene) -> None:
    """Decide on a certificate while a published fleet closes its group, and on another afterwards."""
    new_device = _registered(scene)
    with scene.published(**closed(scene)):
        _decided(scene, new_device)
        need(_status(scene, new_device) != "ACTIVE", "the certificate was admitted")
    jitr_admitted(scene)


def _registered(scene: Scene) -> NewDevice:
    """Return a device whose bootstrap certificate AWS IoT has registered at a closed connection."""
    new_device = scene.new_device()
    files = save(scene.folder / new_device.name, new_device.bootstrap, new_device.bootstrap_key)
    outcome(scene.cloud, new_device.name, files)
    return new_device


def _decided(scene: Scene, new_device: NewDevice) -> None:
    certificate = chain.fingerprint(new_device.bootstrap)
    scene.deliver("Newcomers", certificateId=certificate, since=int(time.time()))


def _status(scene: Scene, new_device: NewDevice) -> str:
    known = scene.aws("iot").describe_certificate(certificateId=chain.fingerprint(new_device.bootstrap))
    return str(known["certificateDescription"]["status"])


def sweep(scene: Scene) -> None:
    """Sweep the device records when no sweep was made yet."""
    scene.forget_sweep()
    _swept(scene, scene.fleet.hash)


def sweep_orders(scene: Scene) -> None:
    """Sweep with a device for which AWS IoT must be reconciled."""
    identity = scene.registered()
    scene.aws("dynamodb").update_item(
        TableName=scene.names["Registry"],
        Key={"pk": {"S": f"DEV#{identity.name}"}},
        UpdateExpression="REMOVE attached",
    )
    sweep(scene)
    need(int(scene.row("SWEEP")["touched"]["N"]) > 0, "the sweep sent no order")


def sweep_orders_revocations(scene: Scene) -> None:
    """Sweep with a revoked device that still has certificates in AWS IoT."""
    identity = scene.registered()
    scene.aws("dynamodb").update_item(
        TableName=scene.names["Registry"],
        Key={"pk": {"S": f"DEV#{identity.name}"}},
        UpdateExpression="SET #status = :revoked",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":revoked": {"S": "revoked"}},
    )
    sweep(scene)
    need(int(scene.row("SWEEP")["touched"]["N"]) > 0, "the sweep sent no order")


def sweep_follows_the_fleet(scene: Scene) -> None:
    """Sweep with a published fleet, and with the deployed one after it is withdrawn."""
    scene.forget_sweep()
    with scene.published(**forbidding(scene)) as newer:
        _swept(scene, newer.hash)
    _swept(scene, scene.fleet.hash)


def grants_come_and_go(scene: Scene) -> None:
    """Publish a grant, change it twice and withdraw it. Its policy follows and is deleted."""
    scene.forget_sweep()
    scene.delete_policy(f"{scene.stack}-grant-{EXTRA}")
    try:
        for action in ("iot:Connect", "iot:Publish", "iot:Receive"):
            _swept(scene, scene.publish(grants=scene.fleet.grants | {EXTRA: _grant(action)}).hash)
    finally:
        scene.withdraw()
    _swept(scene, scene.fleet.hash)
    names = {each["policyName"] for each in scene.aws("iot").list_policies()["policies"]}
    need(f"{scene.stack}-grant-{EXTRA}" not in names, "the policy exists")


def _grant(action: str) -> dict[str, Any]:
    kind = {"iot:Connect": "client/{deviceId}"}.get(action, "topic/{deviceId}/extra")
    resource = f"arn:{{partition}}:iot:{{region}}:{{account}}:{kind}"
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _swept(scene: Scene, fleet: str) -> None:
    scene.invoke("Sweep", {})
    row = scene.row("SWEEP")
    need(row.get("fleetHash") == {"S": fleet} and "finishedAt" in row, row)
