"""First boots of devices whose makers write the id into different places, with the reference client.

tests/unit/test_naming.py has more of the makers' styles. This file shows that one of each kind passes the
local gateway, the emulator's broker and its policies (docs/emulator.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from firstboot.pki.certificate import parse_text
from tests import factories
from tests.flows.conftest import Cloud, factory, save
from tests.flows.devices import Device, issued, operate, printed


@dataclass(frozen=True)
class Style:
    """The place of an id in a bootstrap certificate: group, subject and alternative name; and the id.

    `boots_as` is what a device's client id has before the id at its first boot over MQTT.
    """

    group: str
    subject: dict[x509.ObjectIdentifier, str]
    device_id: str
    other: x509.GeneralName | None = None
    boots_as: str = "boot-"

    def bootstrap(self, cloud: Cloud, folder: Path) -> str:
        """Make the bootstrap certificate in `folder`, and return the id that Firstboot gives the device."""
        (anchor,) = [name for name in cloud.endpoints["factories"] if Path(name).stem == self.group]
        key = factories.ec_key()
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in self.subject.items()])
        extra: list[tuple[x509.ExtensionType, bool]] = []
        if self.other:
            extra.append((x509.SubjectAlternativeName([self.other]), False))
        authority = factory(cloud.endpoints["factories"][anchor])
        files = save(folder, authority.issue("", key, subject=subject, extra=extra), key)
        return self.device_id or parse_text(files[0].read_text()).spki_fingerprint()


CHIP = {NameOID.COMMON_NAME: "Acme element"}
STYLES: dict[str, Callable[[str], Style]] = {
    "MAC address with colons": lambda serial: Style(
        "acme-factory", {NameOID.COMMON_NAME: f"00:1A:{serial}"}, f"00:1A:{serial}", boots_as=""
    ),
    "serialNumber of an IDevID": lambda serial: Style(
        "labels", {NameOID.SERIAL_NUMBER: f"PID:HW-4400 SN:L{serial}"}, f"L{serial}"
    ),
    "URN": lambda serial: Style(
        "fridges", CHIP, f"F{serial}", x509.UniformResourceIdentifier(f"urn:dev:ops:32473-F{serial}")
    ),
    "DNS name": lambda serial: Style("hosts", CHIP, f"h{serial}", x509.DNSName(f"H{serial}.Example")),
    "hash of the key": lambda _: Style("keys", CHIP, ""),
    "serialNumber, one CN for all": lambda serial: Style(
        "elements", {**CHIP, NameOID.SERIAL_NUMBER: f"E{serial}"}, f"E{serial}", boots_as=""
    ),
    "URN as the id": lambda serial: Style(
        "things", CHIP, f"urn:x:{serial}", x509.UniformResourceIdentifier(f"urn:x:{serial}"), boots_as=""
    ),
}


@pytest.fixture
def serial() -> str:
    """Return a serial number that no other test has."""
    return secrets.token_hex(5)


@pytest.mark.parametrize("host", ["mtls", "public", "mqtt"])
@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_first_boot(
    cloud: Cloud, tmp_path: Path, serial: str, style: Callable[[str], Style], host: str
) -> None:
    """A device gets the id of its maker.

    Over MQTT it boots as its id where a policy can name it, and else as `boot-` and its id.
    """
    made = style(serial)
    device = Device(cloud, made.bootstrap(cloud, tmp_path), tmp_path, host)
    if host != "mqtt":
        assert device.boot()["deviceId"] == device.name
    else:
        assert device.boot("--client-id", f"{made.boots_as}{device.name}")["deviceId"] == device.name
    assert device.status()["deviceId"] == device.name
    assert len(issued(cloud, device.name)) == 1


def test_a_shared_certificate_over_mqtt(cloud: Cloud, tmp_path: Path, serial: str) -> None:
    """A device with the certificate of its batch names itself, if an operator expects it."""
    claim = Style("batch", CHIP, f"batch-{serial}")
    device = Device(cloud, claim.bootstrap(cloud, tmp_path), tmp_path, "mqtt")
    operate(cloud, "groups.expect", group="batch", devices={device.name: {}})
    assert device.boot("--device-id", device.name)["deviceId"] == device.name
    assert device.status()["deviceId"] == device.name


def test_credentials_under_an_id_with_colons(cloud: Cloud, tmp_path: Path, serial: str) -> None:
    """STS and the session policy take an id with colons."""
    made = STYLES["MAC address with colons"](serial)
    device = Device(cloud, made.bootstrap(cloud, tmp_path), tmp_path)
    device.boot()
    assert printed(device.run(*device.credentials_arguments("telemetry")))["Version"] == 1
