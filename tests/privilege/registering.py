"""Flows that reconcile AWS IoT's registry with the device records."""

from __future__ import annotations

import copy
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from firstboot.pki import chain
from tests.flows.conftest import save
from tests.flows.devices import fresh_name
from tests.flows.test_jitr import outcome
from tests.privilege.devices import closed, exiled, forbidding
from tests.privilege.scene import Newborn, Scene, need

GRANT = "Firstboot-grant-mqtt"
EXTRA = "extra"


def reconciled(scene: Scene) -> None:
    """AWS IoT is reconciled for a device's first certificate."""
    identity = scene.registered()
    need(GRANT in scene.policies(identity.leaf), "it has no grant")


def first_reconciliation(scene: Scene) -> None:
    """The first device of a group, of a grant, and of the account: what it joins is made."""
    iot, kind = scene.aws("iot"), scene.stack
    for name in (f"{kind}-device", GRANT):
        scene.take_policy(name)
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
    """A message about a device whose certificate is claimed and not issued: there is nothing to do."""
    identity = scene.booted()
    (serial,) = scene.device_row(identity.name)["pending"]["M"]["serial"].values()
    scene.aws("s3").delete_object(Bucket=scene.names["Store"], Key=scene.key_of(identity.name, serial))
    scene.deliver("RegisterWork", deviceId=identity.name)


def reconciled_with_configuration(scene: Scene) -> None:
    """A device of a group with a configuration finds it in its shadow."""
    gateways = _gateways(scene, configuration={"interval": 60})
    with scene.published(groups=scene.fleet.groups | gateways):
        identity = scene.registered()
    shadow = scene.aws("iot-data").get_thing_shadow(thingName=identity.name)["payload"]
    need(json.load(shadow)["state"]["desired"] == {"interval": 60}, "it has another shadow")


def _gateways(scene: Scene, **changes: Any) -> dict[str, Any]:
    return {"gateways": replace(scene.fleet.groups["gateways"], **changes)}


def reconciled_at_its_slot(scene: Scene) -> None:
    """A message whose slot is later comes back at its slot."""
    later = int((time.time() + 60) * 1_000)
    scene.deliver("RegisterWork", deviceId=fresh_name(), slot=later)


def reconciled_follows_the_fleet(scene: Scene) -> None:
    """A device loses a grant when a published fleet forbids it, and gets it back when it is withdrawn."""
    identity = exiled(scene)
    with scene.published(**forbidding(scene)):
        scene.deliver("RegisterWork", deviceId=identity.name)
        need(GRANT not in scene.policies(identity.leaf), "it has the grant")
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(GRANT in scene.policies(identity.leaf), "it has no grant")


def attribute_followed(scene: Scene) -> None:
    """A device that is quarantined loses its grant, and its thing says so."""
    identity = scene.registered()
    scene.operate("devices.set", deviceId=identity.name, attributes={"quarantined": True})
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(GRANT not in scene.policies(identity.leaf), "it has the grant")


def group_followed(scene: Scene) -> None:
    """A thing leaves the group that its device's record does not name."""
    iot, identity = scene.aws("iot"), scene.registered()
    elsewhere = f"{scene.stack}-elsewhere"
    iot.create_thing_group(thingGroupName=elsewhere)
    iot.add_thing_to_thing_group(thingGroupName=elsewhere, thingName=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)


def revocation_followed(scene: Scene) -> None:
    """A revoked device loses its certificates, its connection and its policies."""
    identity = scene.registered()
    scene.operate("devices.revoke", deviceId=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(scene.policies(identity.leaf) == set(), "it has policies")


def deletion_followed(scene: Scene) -> None:
    """Nothing is left of a deleted device."""
    identity = scene.registered()
    scene.operate("devices.delete", deviceId=identity.name)
    scene.deliver("RegisterWork", deviceId=identity.name)
    need(not scene.device_row(identity.name), "its record is there")


def deletion_told(scene: Scene) -> None:
    """A deletion becomes a message to the rate-limited queue."""
    _changed(scene, "deleted")


def revocation_told(scene: Scene) -> None:
    """A revocation becomes an urgent message."""
    _changed(scene, "revoked")


def _changed(scene: Scene, status: str) -> None:
    before = scene.device_row(scene.booted().name)
    after = copy.deepcopy(before) | {"status": {"S": status}}
    images = {"Keys": {"pk": before["pk"]}, "OldImage": before, "NewImage": after}
    scene.invoke("RegisterChanges", {"Records": [{"eventName": "MODIFY", "dynamodb": images}]})


def jitr_admitted(scene: Scene) -> None:
    """A bootstrap certificate that AWS IoT meets for the first time is let in."""
    newborn = _met(scene)
    _judged(scene, newborn)
    need(_status(scene, newborn) == "ACTIVE", "it is not let in")


def jitr_first_policy(scene: Scene) -> None:
    """There is no policy for bootstrap certificates before the first one."""
    scene.take_policy(f"{scene.stack}-bootstrap")
    jitr_admitted(scene)


def jitr_first_claim_policy(scene: Scene) -> None:
    """Nor one for certificates that many share."""
    shared = {name: replace(each, device_id="request.deviceId") for name, each in scene.fleet.groups.items()}
    scene.take_policy(f"{scene.stack}-claim")
    with scene.published(groups=shared):
        jitr_admitted(scene)


def jitr_at_its_slot(scene: Scene) -> None:
    """A certificate whose slot is later comes back at its slot."""
    later = int((time.time() + 60) * 1_000)
    certificate = chain.fingerprint(scene.newborn().bootstrap)
    scene.deliver("Newcomers", certificateId=certificate, slot=later)


def jitr_follows_the_fleet(scene: Scene) -> None:
    """No certificate is admitted while a published fleet closes the groups; afterwards one is."""
    newborn = _met(scene)
    with scene.published(**closed(scene)):
        _judged(scene, newborn)
        need(_status(scene, newborn) != "ACTIVE", "it is let in")
    jitr_admitted(scene)


def _met(scene: Scene) -> Newborn:
    """A device that AWS IoT has met, by a connection that it closed."""
    newborn = scene.newborn()
    files = save(scene.folder / newborn.name, newborn.bootstrap, newborn.bootstrap_key)
    outcome(scene.cloud, newborn.name, files)
    return newborn


def _judged(scene: Scene, newborn: Newborn) -> None:
    scene.deliver("Newcomers", certificateId=chain.fingerprint(newborn.bootstrap))


def _status(scene: Scene, newborn: Newborn) -> str:
    known = scene.aws("iot").describe_certificate(certificateId=chain.fingerprint(newborn.bootstrap))
    return str(known["certificateDescription"]["status"])


def sweep(scene: Scene) -> None:
    """A day has passed: the device records are swept."""
    scene.forget_sweep()
    _swept(scene, scene.fleet.hash)


def sweep_tells(scene: Scene) -> None:
    """A device that AWS IoT must be reconciled for is ordered."""
    identity = scene.registered()
    scene.aws("dynamodb").update_item(
        TableName=scene.names["Registry"],
        Key={"pk": {"S": f"DEV#{identity.name}"}},
        UpdateExpression="REMOVE attached",
    )
    sweep(scene)
    need(int(scene.row("SWEEP")["touched"]["N"]) > 0, "nobody was told of")


def sweep_follows_the_fleet(scene: Scene) -> None:
    """A sweep is of the published fleet, and of the deployed one once that is withdrawn."""
    scene.forget_sweep()
    with scene.published(**forbidding(scene)) as newer:
        _swept(scene, newer.hash)
    _swept(scene, scene.fleet.hash)


def grants_come_and_go(scene: Scene) -> None:
    """A published grant's policy is made, follows it, more than once, and goes when it does."""
    scene.forget_sweep()
    scene.take_policy(f"{scene.stack}-grant-{EXTRA}")
    try:
        for action in ("iot:Connect", "iot:Publish", "iot:Receive"):
            _swept(scene, scene.publish(grants=scene.fleet.grants | {EXTRA: _grant(action)}).hash)
    finally:
        scene.withdraw()
    _swept(scene, scene.fleet.hash)
    names = {each["policyName"] for each in scene.aws("iot").list_policies()["policies"]}
    need(f"{scene.stack}-grant-{EXTRA}" not in names, "the policy is there")


def _grant(action: str) -> dict[str, Any]:
    kind = {"iot:Connect": "client/{deviceId}"}.get(action, "topic/{deviceId}/extra")
    resource = f"arn:{{partition}}:iot:{{region}}:{{account}}:{kind}"
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _swept(scene: Scene, fleet: str) -> None:
    scene.invoke("Sweep", {})
    row = scene.row("SWEEP")
    need(row.get("fleetHash") == {"S": fleet} and "finishedAt" in row, row)
