"""The walk of `make verify-aws` passes each step that the emulator can show."""

from __future__ import annotations

from pathlib import Path

from console.__main__ import version
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name
from tests.verify.walks import FIRST, Walks, ids, walk
from verify.bench import OURS
from verify.steps import STEPS

PASSED = {
    "doctor",
    "runtimes",
    "first boot over mTLS",
    "first boot with signed proofs",
    "first boot with the certificate in the answer",
    "repeated request and log-in",
    "renewal",
    "renewal with the same key",
    "credentials over mTLS",
    "credentials with signed proofs",
    "credentials with growing policies",
    "no credentials for a bootstrap certificate",
    "another device's name is refused",
    "a foreign CA is refused over mTLS",
    "a foreign CA is refused with signed proofs",
    "another board with a device's name is refused",
    "one certificate for simultaneous requests",
    "first boot over MQTT",
    "a bootstrap certificate that can never enroll",
    "a foreign client id",
    "another device's topics",
    "a certificate without its thing",
    "two connections with one client id",
    "a resumed session of a superseded certificate",
    "answers over MQTT 5",
    "events about connections",
    "encodings of certificates at API Gateway",
    "encodings of certificates at AWS IoT",
    "a policy variable for the serial number of a subject",
    "a policy variable for a URI",
    "a pattern for names",
    "an order five hours ahead of its time",
    "revocation of a connected device",
    "deletion of a connected device",
    "revocation",
    "deletion",
}

SKIPPED = {
    "quotas": "AWS: this endpoint is an emulator's",
    "renewal of an expired certificate": (
        "a certificate that ends during the walk: the shortest lifetime of a group is a day"
    ),
    "an order with SQS's longest delay": "many minutes of time: --long",
    "a connection with a token": (
        "AWS: this endpoint is an emulator's; a token issuer in fleet.toml and its key: --issuer-key"
    ),
    "no stopped recursion": "AWS: this endpoint is an emulator's",
}


def test_each_step_passes_or_is_skipped_by_name(walks: Walks) -> None:
    """Every step passes against the emulator, or the page names what the emulator lacks for it."""
    assert walks.done.returncode == 0, walks.done.stdout + walks.done.stderr
    passed = dict.fromkeys(PASSED, "passed")
    assert walks.outcomes == passed | dict.fromkeys(SKIPPED, "skipped")
    assert walks.reasons == SKIPPED
    assert list(walks.outcomes) == [step.name for step in STEPS]


def test_a_later_walk_removes_what_a_killed_one_left(walks: Walks) -> None:
    """The walk after a killed one removes that one's devices before its own steps."""
    assert walks.left
    assert all(map(OURS.fullmatch, walks.left))
    assert f"an earlier walk has left {len(walks.left)} devices" in walks.cut.stderr


def test_an_interrupted_walk_leaves_no_device(walks: Walks) -> None:
    """After Ctrl-C the walk removes its devices and writes the page of the steps so far."""
    assert (walks.cut.returncode, walks.kept) == (130, []), walks.cut.stderr
    assert f"| {FIRST} | passed |" in walks.cut_page
    assert "The walk ended early: interrupted after" in walks.cut_page
    assert "an earlier walk" not in walks.done.stderr


def test_a_walk_leaves_no_device(walks: Walks, cloud: Cloud) -> None:
    """After a walk the stack has none of its devices, and the page says so."""
    assert not list(filter(OURS.fullmatch, ids(cloud)))
    assert "Left behind: nothing" in walks.page


def test_the_page_says_where_and_what_was_run(walks: Walks, cloud: Cloud) -> None:
    """The page has the date, the Region, versions and measurements, and not the whole account."""
    aws = cloud.endpoints["aws"]
    for text in ("- Date: 20", aws["region"], f"- Firstboot: {version()}", "an emulator", "session token: "):
        assert text in walks.page
    assert aws["account"] not in walks.page + walks.done.stdout.partition("\n")[2]


def test_a_stack_with_devices_is_refused(walks: Walks, cloud: Cloud, tmp_path: Path) -> None:
    """The walk refuses a stack that has a device, and does not touch the device."""
    device = Device(cloud, fresh_name(), tmp_path)
    device.boot()
    refused = walk(cloud, tmp_path / "page.md")
    assert refused.returncode == 1
    assert refused.stderr.startswith("devices-found: ")
    assert not (tmp_path / "page.md").exists()
    assert device.status()["deviceId"] == device.name
