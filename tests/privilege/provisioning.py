"""Flows of AWS IoT fleet provisioning: of the hook's function, and of the role with which AWS IoT works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509

from firstboot.domain.clock import from_epoch
from tests import factories
from tests.flows.conftest import factory, save
from tests.flows.devices import fresh_name
from tests.flows.test_provisioning import identity_client, keys_and_certificate, register_thing
from tests.privilege.scene import Members, Scene, need

_ALLOWED, _REFUSED = True, False


def provisioned(scene: Scene) -> None:
    """Allow a device that is expected. Its claim certificate is new to the process."""
    _hook(scene, _event(scene), _ALLOWED)


def provisioned_twice(scene: Scene) -> None:
    """Allow a device whose certificate is recorded and stored."""
    event = _event(scene)
    _hook(scene, event, _ALLOWED)
    _hook(scene, event, _ALLOWED)


def foreign_thing_refused(scene: Scene) -> None:
    """Refuse a device whose thing is another's, by its record."""
    event = _event(scene)
    scene.aws("iot").create_thing(thingName=event["parameters"]["DeviceId"])
    _hook(scene, event, _REFUSED)


def provisioning_follows_the_fleet(scene: Scene) -> None:
    """Refuse a device while a published fleet closes its group, and allow it afterwards."""
    event = _event(scene)
    claims = scene.fleet.groups["claims"]
    assert claims.budget
    over = replace(claims, budget=replace(claims.budget, until=from_epoch(1)))
    with scene.published(groups=scene.fleet.groups | {"claims": over}):
        _hook(scene, event, _REFUSED)
    _hook(scene, event, _ALLOWED)


def template_carried_out(scene: Scene) -> None:
    """Have AWS IoT carry out the template for a device at the broker."""
    name = _expected(scene)
    leaf, key = _claim(scene)
    target = _registered(scene, leaf)["certificateArn"]
    for policy in ("claim", "provisioning"):
        scene.aws("iot").attach_policy(policyName=f"{scene.stack}-{policy}", target=target)
    files = save(scene.folder / name, leaf, key)
    with identity_client(scene.cloud, files, f"boot-{name}") as of:
        token = keys_and_certificate(of).certificate_ownership_token
        answer = register_thing(of, scene.names["ProvisioningTemplate"], token, name)
    need(getattr(answer, "thing_name", None) == name, repr(answer))


def _hook(scene: Scene, event: Members, expected: bool) -> None:  # noqa: FBT001 - the two outcomes
    answer = scene.invoke("Provisioning", event)
    need(answer["allowProvisioning"] is expected, answer)


def _event(scene: Scene) -> Members:
    made = scene.aws("iot").create_keys_and_certificate(setAsActive=False)
    claim = _registered(scene, _claim(scene)[0])
    return {
        "claimCertificateId": claim["certificateId"],
        "certificateId": made["certificateId"],
        "certificatePem": made["certificatePem"],
        "parameters": {"DeviceId": _expected(scene)},
    }


def _expected(scene: Scene) -> str:
    name = fresh_name()
    scene.operate("groups.expect", group="claims", devices={name: {}})
    return name


def _claim(scene: Scene) -> tuple[x509.Certificate, factories.PrivateKey]:
    files = scene.cloud.endpoints["factories"]
    (anchor,) = (each for each in files if Path(each).stem == "claims")
    key = factories.ec_key()
    return factory(files[anchor]).issue("batch 7", key), key


def _registered(scene: Scene, leaf: x509.Certificate) -> Any:
    iot, pem = scene.aws("iot"), factories.pem(leaf)
    return iot.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
