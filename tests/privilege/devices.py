"""Flows of devices over HTTPS and MQTT: exchange, commit and credentials."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from secrets import token_bytes
from typing import Any
from uuid import uuid4

from firstboot.domain import hubs, secret_keys, topics
from firstboot.domain.clock import from_epoch, utc_now
from firstboot.exchange.dps_messages import VERSIONS
from firstboot.pki import sas
from tests import factories
from tests.aws.product import http_event
from tests.flows.conftest import DPS_GROUP, ID_SCOPE
from tests.flows.devices import fresh_name
from tests.privilege.scene import Identity, NewDevice, Scene, need


def first_boot(scene: Scene) -> None:
    """Enroll a device over HTTPS and download its certificate."""
    new_device = scene.new_device()
    answer = scene.http("/v1/certificates", new_device.bootstrap, new_device.request, status=201)
    scene.download(answer["certificateUrl"])


def commit(scene: Scene) -> None:
    """Log a device in over HTTPS with its new certificate."""
    scene.active()


def first_boot_by_mqtt(scene: Scene) -> None:
    """Enroll a device over MQTT."""
    new_device = scene.new_device()
    log = scene.ask("ExchangeMqtt", topics.CERTIFICATES, new_device, _request(new_device))
    need('"CertificateIssued"' in log, log)


def _request(new_device: NewDevice) -> dict[str, Any]:
    return new_device.request | {"bootstrap": factories.pem(new_device.bootstrap)}


def commit_by_mqtt(scene: Scene) -> None:
    """Log a device in over MQTT with its new certificate."""
    identity = scene.booted()
    log = scene.ask("ExchangeMqtt", topics.COMMIT, identity, {})
    need("pending" not in scene.device_row(identity.name), log)


def refused_boot_by_mqtt(scene: Scene) -> None:
    """Send a malformed request for a certificate, which is rejected."""
    scene.ask("ExchangeMqtt", topics.CERTIFICATES, scene.new_device(), {})


def refused_commit_by_mqtt(scene: Scene) -> None:
    """Commit a certificate that no record has, which is rejected."""
    scene.ask("ExchangeMqtt", topics.COMMIT, scene.new_device(), {})


def connect(scene: Scene) -> None:
    """Connect a device to AWS IoT with its new certificate, which commits it."""
    identity = scene.booted()
    _connected(scene, identity)
    need("pending" not in scene.device_row(identity.name), "still pending")


def connect_before_issuance(scene: Scene) -> None:
    """Connect a device whose certificate is claimed and not issued, which must not fail."""
    identity = scene.booted()
    (serial,) = scene.device_row(identity.name)["pending"]["M"]["serial"].values()
    scene.aws("s3").delete_object(Bucket=scene.names["Store"], Key=scene.key_of(identity.name, serial))
    _connected(scene, Identity(identity.name, scene.new_device().bootstrap))


def _connected(scene: Scene, identity: Identity) -> None:
    scene.invoke("Presence", {"clientId": identity.name, "principalIdentifier": identity.principal})


def credentials(scene: Scene) -> None:
    """Ask for credentials of the role alias `telemetry` as a device's first login."""
    scene.http("/role-aliases/telemetry/credentials", scene.booted().leaf)


def credentials_for_updates(scene: Scene) -> None:
    """Ask for credentials of the role alias `updates`, for a device that an operator chose."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"channel": "stable"})
    scene.http("/role-aliases/updates/credentials", identity.leaf)


def hub_signature(scene: Scene) -> None:
    """Ask for a signature for an IoT hub whose keys no function has read yet."""
    hub, identity = f"hub-{uuid4().hex[:8]}.azure-devices.net", scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"site": "azure"})
    name = f"{secret_keys.prefix(scene.stack, secret_keys.HUBS)}/{hub}"
    keys = secret_keys.KeyPair(token_bytes(64), token_bytes(64))
    scene.aws("secretsmanager").create_secret(Name=name, SecretString=keys.to_json())
    template = {"kind": hubs.KIND, "hub": hub, "seconds": 3600}
    with scene.published(grants=scene.fleet.grants | {"hub": template}):
        answer = scene.http(f"/v1/sas/{hub}", identity.leaf)
    made = sas.parse(answer["token"])
    need(made.is_by(keys.primary) and made.resource == f"{hub}/devices/{identity.name}", answer)


def registration_by_key(scene: Scene) -> None:
    """Register a device by Azure DPS's protocol, in a group whose keys no function has read yet."""
    name, group = fresh_name(), f"keys-{uuid4().hex[:8]}"
    keys = secret_keys.KeyPair(token_bytes(64), token_bytes(64))
    secret = f"{secret_keys.prefix(scene.stack, secret_keys.GROUPS)}/{group}"
    scene.aws("secretsmanager").create_secret(Name=secret, SecretString=keys.to_json())
    resource = f"{ID_SCOPE}/registrations/{name}"
    ends = utc_now() + timedelta(hours=1)
    headers = {"authorization": sas.make(resource, sas.derived(keys.primary, name), ends, "registration")}
    payload = {"csr": factories.pem(factories.csr(factories.ec_key()))}
    body = json.dumps({"registrationId": name, "payload": payload})
    version = {"api-version": VERSIONS[0]}
    event = http_event("PUT", f"/{resource}/register", None, body, headers, version)
    # The group of an earlier run would be asked for its keys, too.
    own = replace(scene.fleet.groups[DPS_GROUP], name=group)
    with scene.published(groups={group: own}):
        answer = scene.invoke("Exchange", event)
    need(answer["statusCode"] == HTTPStatus.ACCEPTED, answer)


def credentials_by_mqtt(scene: Scene) -> None:
    """Ask for credentials of `telemetry` over MQTT as a first login."""
    _vended(scene, scene.booted(), "telemetry")


def credentials_for_updates_by_mqtt(scene: Scene) -> None:
    """Ask for credentials of `updates` over MQTT, for a device that an operator chose."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"channel": "stable"})
    _vended(scene, identity, "updates")


def refused_credentials_by_mqtt(scene: Scene) -> None:
    """Send a malformed request for credentials, which is rejected."""
    scene.ask("VendMqtt", topics.CREDENTIALS, scene.booted(), {})


def _vended(scene: Scene, identity: Identity, alias: str) -> None:
    log = scene.ask("VendMqtt", topics.CREDENTIALS, identity, {"roleAlias": alias})
    need('"CredentialsVended"' in log, log)


def exchange_follows_the_fleet(scene: Scene) -> None:
    """Boot while a published fleet forbids it, which fails, and after it is withdrawn."""

    def boot(status: int) -> None:
        new_device = scene.new_device()
        scene.http("/v1/certificates", new_device.bootstrap, new_device.request, status=status)

    with scene.published(**closed(scene)):
        boot(403)
    boot(201)


def exchange_by_mqtt_follows_the_fleet(scene: Scene) -> None:
    """Boot over MQTT while a published fleet forbids it, which fails, and after it is withdrawn."""
    with scene.published(**closed(scene)):
        new_device = scene.new_device()
        log = scene.ask("ExchangeMqtt", topics.CERTIFICATES, new_device, _request(new_device))
        need("enrollment-closed" in log, log)
    first_boot_by_mqtt(scene)


def vend_follows_the_fleet(scene: Scene) -> None:
    """Ask for credentials while a published fleet forbids them, and after it is withdrawn."""
    identity = active_at_nowhere(scene)
    with scene.published(**forbidding(scene)):
        scene.http("/role-aliases/telemetry/credentials", identity.leaf, status=403)
    scene.http("/role-aliases/telemetry/credentials", identity.leaf)


def vend_by_mqtt_follows_the_fleet(scene: Scene) -> None:
    """Ask for credentials over MQTT while a published fleet forbids them, and after it is withdrawn."""
    identity = active_at_nowhere(scene)
    with scene.published(**forbidding(scene)):
        log = scene.ask("VendMqtt", topics.CREDENTIALS, identity, {"roleAlias": "telemetry"})
        need('"CredentialsVended"' not in log, log)
    _vended(scene, identity, "telemetry")


def closed(scene: Scene) -> dict[str, Any]:
    """Return changes that end the enrollments of the group `gateways`."""
    gateways = scene.fleet.groups["gateways"]
    assert gateways.budget
    over = replace(gateways, budget=replace(gateways.budget, until=from_epoch(1)))
    return {"groups": scene.fleet.groups | {"gateways": over}}


def forbidding(scene: Scene) -> dict[str, Any]:
    """Return changes that take all grants from the devices of the site `nowhere`."""
    rule = '@id("nowhere") forbid (principal, action, resource)'
    return {
        "rules": f'{scene.fleet.rules}\n{rule} when {{ principal has site && principal.site == "nowhere" }};'
    }


def active_at_nowhere(scene: Scene) -> Identity:
    """Return an active device of the site `nowhere`."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"site": "nowhere"})
    return identity
