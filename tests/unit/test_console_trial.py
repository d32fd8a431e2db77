"""`console factory check` says whether a certificate is admitted, as which device, and by which rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner, Result

from console.__main__ import app
from tests import factories
from tests.factories import Authority
from tests.field.encode import own
from tests.production import Factory


@pytest.fixture
def line(tmp_path: Path) -> Factory:
    """Return a factory whose CA is the trust anchor of the gateways."""
    return Factory.build(tmp_path)


def check(line: Factory, leaf: x509.Certificate | bytes, *more: str, group: str = "gateways") -> Result:
    """Run the command for a certificate, or for other content of its file."""
    file = line.folder / "leaf.pem"
    file.write_bytes(leaf if isinstance(leaf, bytes) else factories.pem(leaf).encode())
    where = ["--group", group, "--fleet", str(line.folder / "fleet")]
    return CliRunner().invoke(app, ["factory", "check", str(file), *where, *more])


def result(line: Factory, leaf: x509.Certificate | bytes, *more: str, exit_code: int = 0) -> dict[str, Any]:
    """Return the command's JSON."""
    ran = check(line, leaf, "--json", *more)
    assert ran.exit_code == exit_code, ran.output
    found: dict[str, Any] = json.loads(ran.stdout or ran.stderr)
    return found


def define(line: Factory, old: str, new: str) -> None:
    """Change the first occurrence of a text in fleet.toml."""
    file = line.folder / "fleet/fleet.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_an_accepted_certificate_is_described(line: Factory) -> None:
    """The result has the device, where its id comes from, the path, the anchor and the identifiers."""
    leaf = line.ca.issue("gw-1", factories.ec_key())
    found, read = result(line, leaf), own(leaf)
    assert found.pop("at")
    assert found == {
        "accepted": True,
        "group": "gateways",
        "subject": "CN=gw-1",
        "certificateId": read.fingerprint,
        "identifier": read.identifier,
        "key": read.spki_fingerprint(),
        "path": ["CN=gw-1", "CN=Factory CA"],
        "anchor": {
            "group": "gateways",
            "subject": "CN=Factory CA",
            "key": own(line.ca.certificate).spki_fingerprint(),
        },
        "usage": "extendedKeyUsage allows clients",
        "deviceId": "gw-1",
        "deviceIdFrom": "subject.CN",
        "ways": ["signed proof", "mTLS", "MQTT (JITR)"],
    }


def test_an_accepted_certificate_is_described_for_people(line: Factory) -> None:
    """Without --json the same is printed as lines, of which the first is the verdict."""
    ran = check(line, line.ca.issue("gw-1", factories.ec_key()))
    assert ran.exit_code == 0
    verdict, *lines = ran.stdout.splitlines()
    assert verdict.startswith("accepted at 20")
    assert "path: CN=gw-1 <- CN=Factory CA" in lines
    assert 'device id: gw-1 (device_id = "subject.CN")' in lines
    assert "ways in: signed proof, mTLS, MQTT (JITR)" in lines


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_file_may_be_pem_or_der(line: Factory, encoding: Encoding) -> None:
    """A certificate is read in either form, and PEM with text around it."""
    content = line.ca.issue("gw-1", factories.ec_key()).public_bytes(encoding)
    assert result(line, content)["accepted"]
    if encoding is Encoding.PEM:
        assert result(line, "Ger\u00e4t 1\n".encode("latin-1") + content)["accepted"]


def test_what_comes_with_it_counts_for_proofs_only(line: Factory) -> None:
    """A certificate under an intermediate needs the chain, and then only a signed proof can present it."""
    lower = line.ca.intermediate("Line 7")
    leaf = lower.issue("gw-1", factories.ec_key())
    refused = result(line, leaf, exit_code=1)
    assert (refused["code"], refused["reason"]) == ("certificate-untrusted", "certificate-path")
    chain = line.folder / "chain.pem"
    chain.write_text(factories.pem(lower.certificate))
    found = result(line, leaf, "--chain", str(chain))
    assert found["path"] == ["CN=gw-1", "CN=Line 7", "CN=Factory CA"]
    assert found["ways"] == ["signed proof"]
    both = (factories.pem(leaf) + factories.pem(lower.certificate)).encode()
    assert result(line, both)["path"] == found["path"]


def test_a_group_without_jitr_has_no_way_over_mqtt(line: Factory) -> None:
    """MQTT is no way in if JITR is off, or if devices connect with tokens."""
    leaf = line.ca.issue("gw-1", factories.ec_key())
    define(line, 'jitr        = "shared"', 'jitr        = "off"')
    assert result(line, leaf)["ways"] == ["signed proof", "mTLS"]
    define(line, 'jitr        = "off"', "")
    define(line, 'mqtt        = "registry"', 'mqtt        = "token"')
    assert result(line, leaf)["ways"] == ["signed proof", "mTLS"]


def test_a_required_extension_is_missed(line: Factory) -> None:
    """The result says whether extendedKeyUsage is there, and the refusal that the group requires it."""
    leaf = line.ca.issue("gw-1", factories.ec_key(), eku=None)
    assert result(line, leaf)["usage"] == 'no extendedKeyUsage, and the group has eku = "optional"'
    define(line, 'eku         = "optional"', 'eku         = "required"')
    refused = result(line, leaf, exit_code=1)
    assert (refused["code"], refused["accepted"]) == ("certificate-usage-wrong", False)
    assert 'eku = "required"' in refused["detail"]


def test_another_groups_certificate_is_refused(line: Factory) -> None:
    """A certificate under another group's anchor is refused, and the detail names that group."""
    sensors = factories.authority("Sensor CA")
    (line.folder / "fleet/trust/acme-sensors.pem").write_text(factories.pem(sensors.certificate))
    refused = result(line, sensors.issue("gw-1", factories.ec_key()), exit_code=1)
    assert (refused["code"], refused["anchor"]["group"]) == ("group-mismatch", "sensors")
    assert refused["detail"] == "CN=Sensor CA is a trust anchor of group sensors"


def test_a_shared_certificate_names_no_device(line: Factory) -> None:
    """A claim certificate is accepted, and its device's id comes from the request."""
    define(
        line,
        'device_id   = "subject.CN"             # the',
        'device_id   = "request.deviceId"  # the',
    )
    define(line, 'reenroll    = "replace"', 'reenroll    = "refuse"')
    define(line, "per_minute = 200,", "per_minute = 200, freeze_per_hour = 9,")
    leaf = line.ca.issue("Acme batch 7", factories.ec_key())
    found = result(line, leaf)
    assert (found["deviceId"], found["deviceIdFrom"]) == (None, "request.deviceId")
    assert "device id: the one in the request" in check(line, leaf).stdout
    expired = line.ca.issue("Acme batch 7", factories.ec_key(), days=0.001, not_before=None)
    late = result(line, expired, "--at", "2036-01-01", exit_code=1)
    assert "ended at" in late["detail"]  # the operator is told what the device is not


@pytest.mark.parametrize(
    ("options", "more", "code"),
    [
        ({"common_name": "gw/1"}, [], "device-id-invalid"),
        ({"common_name": "gw-1", "days": 9000}, ["--at", "2037-01-01"], "enrollment-closed"),
        ({"common_name": "gw-1"}, ["--at", "2020-01-01"], "certificate-not-yet-valid"),
        ({"common_name": "gw-1"}, ["--at", "2030-01-01T00:00:00Z"], "bootstrap-expired"),
    ],
)
def test_later_rules_refuse_too(line: Factory, options: Any, more: list[str], code: str) -> None:
    """A name that is no device id, a closed group and the certificate's dates are refusals."""
    leaf = line.ca.issue(key=factories.ec_key(), **options)
    found = result(line, leaf, *more, exit_code=1)
    assert (found["accepted"], found["code"]) == (False, code)
    assert check(line, leaf, *more).stdout.startswith("refused at ")


def test_a_weak_key_has_no_fingerprint(line: Factory) -> None:
    """A certificate whose key is refused is described without its key."""
    leaf = line.ca.issue("gw-1", factories.rsa_key(1024))
    assert result(line, leaf, exit_code=1)["key"] is None
    assert "key SHA-256" not in check(line, leaf).stdout


@pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN NOTHING-----", b"\x30\x80\0\0"])
def test_a_file_without_a_certificate_is_refused(line: Factory, content: bytes) -> None:
    """A file that holds no certificate is named in the refusal."""
    refused = result(line, content, exit_code=1)
    assert refused["code"] == "certificate-malformed"
    assert "leaf.pem" in refused["detail"]


def test_a_group_must_exist(line: Factory) -> None:
    """A group that the fleet does not have is refused with the names of those it has."""
    ran = check(line, line.ca.certificate, "--json", group="pumps")
    assert ran.exit_code == 1
    assert "it has gateways, sensors" in json.loads(ran.stderr)["detail"]


@pytest.mark.parametrize("anchor", [factories.authority("Old", days=2), factories.authority("Old", days=0.5)])
def test_fleet_check_warns_about_an_anchor(tmp_path: Path, anchor: Authority) -> None:
    """An anchor that ends soon or has ended is a warning of a fleet that is valid all the same."""
    line = Factory.build(tmp_path, anchor=anchor)
    ran = CliRunner().invoke(app, ["fleet", "check", str(line.folder / "fleet"), "--json"])
    assert ran.exit_code == 0
    (warning,) = json.loads(ran.stdout)["warnings"]
    assert "CN=Old" in warning
    ran = CliRunner().invoke(app, ["fleet", "check", str(line.folder / "fleet")])
    first, *_, last = ran.stdout.splitlines()
    assert (first, last) == ("the fleet definition is valid", f"warning: {warning}")


def test_fleet_check_asks_for_a_decision_on_eku(line: Factory) -> None:
    """A group that does not say whether extendedKeyUsage is required is warned about, until it does."""

    def warnings() -> list[str]:
        ran = CliRunner().invoke(app, ["fleet", "check", str(line.folder / "fleet"), "--json"])
        return list(json.loads(ran.stdout)["warnings"])

    assert warnings() == []
    define(line, 'eku         = "optional"', "")
    assert [each.partition(":")[0] for each in warnings()] == ["groups.gateways"]
