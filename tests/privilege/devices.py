"""Flows of devices: exchange, commit, credentials, over HTTPS and MQTT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from firstboot.domain import topics
from firstboot.domain.clock import from_epoch
from tests import factories
from tests.privilege.scene import Identity, Newborn, Scene, need


def first_boot(scene: Scene) -> None:
    """A device enrolls over HTTPS, and downloads its certificate."""
    newborn = scene.newborn()
    answer = scene.http("/v1/certificates", newborn.bootstrap, newborn.request, status=201)
    scene.download(answer["certificateUrl"])


def commit(scene: Scene) -> None:
    """A device logs in over HTTPS with its new certificate."""
    scene.active()


def first_boot_by_mqtt(scene: Scene) -> None:
    """A device enrolls over MQTT."""
    newborn = scene.newborn()
    log = scene.ask("ExchangeMqtt", topics.CERTIFICATES, newborn, _request(newborn))
    need('"CertificateIssued"' in log, log)


def _request(newborn: Newborn) -> dict[str, Any]:
    return newborn.request | {"bootstrap": factories.pem(newborn.bootstrap)}


def commit_by_mqtt(scene: Scene) -> None:
    """A device logs in over MQTT with its new certificate."""
    identity = scene.booted()
    log = scene.ask("ExchangeMqtt", topics.COMMIT, identity, {})
    need("pending" not in scene.device_row(identity.name), log)


def refused_boot_by_mqtt(scene: Scene) -> None:
    """A device that asks for a certificate in the wrong way is told so."""
    scene.ask("ExchangeMqtt", topics.CERTIFICATES, scene.newborn(), {})


def refused_commit_by_mqtt(scene: Scene) -> None:
    """A device that logs in with a certificate that no record has is told so."""
    scene.ask("ExchangeMqtt", topics.COMMIT, scene.newborn(), {})


def connect(scene: Scene) -> None:
    """A device connects to AWS IoT with its new certificate, and that commits it."""
    identity = scene.booted()
    _connected(scene, identity)
    need("pending" not in scene.device_row(identity.name), "still pending")


def connect_before_issuance(scene: Scene) -> None:
    """A device whose certificate is claimed and not issued connects with another: nothing fails."""
    identity = scene.booted()
    (serial,) = scene.device_row(identity.name)["pending"]["M"]["serial"].values()
    scene.aws("s3").delete_object(Bucket=scene.names["Store"], Key=scene.key_of(identity.name, serial))
    _connected(scene, Identity(identity.name, scene.newborn().bootstrap))


def _connected(scene: Scene, identity: Identity) -> None:
    scene.invoke("Presence", {"clientId": identity.name, "principalIdentifier": identity.principal})


def credentials(scene: Scene) -> None:
    """A device's first login is for credentials of the role alias `telemetry`."""
    scene.http("/role-aliases/telemetry/credentials", scene.booted().leaf)


def credentials_for_updates(scene: Scene) -> None:
    """A device that an operator chose gets credentials of the role alias `updates`."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"channel": "stable"})
    scene.http("/role-aliases/updates/credentials", identity.leaf)


def credentials_by_mqtt(scene: Scene) -> None:
    """The same over MQTT, as a first login."""
    _vended(scene, scene.booted(), "telemetry")


def credentials_for_updates_by_mqtt(scene: Scene) -> None:
    """The same over MQTT, for the role alias `updates`."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"channel": "stable"})
    _vended(scene, identity, "updates")


def refused_credentials_by_mqtt(scene: Scene) -> None:
    """A device that asks for credentials in the wrong way is told so."""
    scene.ask("VendMqtt", topics.CREDENTIALS, scene.booted(), {})


def _vended(scene: Scene, identity: Identity, alias: str) -> None:
    log = scene.ask("VendMqtt", topics.CREDENTIALS, identity, {"roleAlias": alias})
    need('"CredentialsVended"' in log, log)


def exchange_follows_the_fleet(scene: Scene) -> None:
    """First boots end when a published fleet says so, and begin again when it is withdrawn."""

    def boot(status: int) -> None:
        newborn = scene.newborn()
        scene.http("/v1/certificates", newborn.bootstrap, newborn.request, status=status)

    with scene.published(**closed(scene)):
        boot(403)
    boot(201)


def exchange_by_mqtt_follows_the_fleet(scene: Scene) -> None:
    """The same over MQTT."""
    with scene.published(**closed(scene)):
        newborn = scene.newborn()
        log = scene.ask("ExchangeMqtt", topics.CERTIFICATES, newborn, _request(newborn))
        need("enrollment-closed" in log, log)
    first_boot_by_mqtt(scene)


def vend_follows_the_fleet(scene: Scene) -> None:
    """Credentials end when a published fleet forbids them, and come again when it is withdrawn."""
    identity = exiled(scene)
    with scene.published(**forbidding(scene)):
        scene.http("/role-aliases/telemetry/credentials", identity.leaf, status=403)
    scene.http("/role-aliases/telemetry/credentials", identity.leaf)


def vend_by_mqtt_follows_the_fleet(scene: Scene) -> None:
    """The same over MQTT."""
    identity = exiled(scene)
    with scene.published(**forbidding(scene)):
        log = scene.ask("VendMqtt", topics.CREDENTIALS, identity, {"roleAlias": "telemetry"})
        need('"CredentialsVended"' not in log, log)
    _vended(scene, identity, "telemetry")


def closed(scene: Scene) -> dict[str, Any]:
    """A fleet whose gateways enroll no more."""
    gateways = scene.fleet.groups["gateways"]
    assert gateways.budget
    over = replace(gateways, budget=replace(gateways.budget, until=from_epoch(1)))
    return {"groups": scene.fleet.groups | {"gateways": over}}


def forbidding(scene: Scene) -> dict[str, Any]:
    """A fleet that takes everything from the devices of one site."""
    rule = '@id("nowhere") forbid (principal, action, resource)'
    return {
        "rules": f'{scene.fleet.rules}\n{rule} when {{ principal has site && principal.site == "nowhere" }};'
    }


def exiled(scene: Scene) -> Identity:
    """A device of that site."""
    identity = scene.active()
    scene.operate("devices.set", deviceId=identity.name, attributes={"site": "nowhere"})
    return identity
