"""Test that a unit with the disk of another one becomes itself, and that its own identity is never lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from device import certificates, origin
from device.__main__ import main
from device.store import Identity, Store
from tests import factories
from tests.device.service import CHAIN, COMMIT, DEVICE, ENROLL, Service, common_name, problem


def boot(service: Service, state: Path, bootstrap: Identity, *options: str) -> int:
    """Run `boot` and return its exit code."""
    files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
    where = ["--mtls", service.url, "--ca", str(service.ca), "--state", str(state)]
    return main(["boot", *where, *files, *options])


def an_older_client_s(state: Path) -> None:
    """Remove the note that clients of older versions did not write."""
    (state / "origin.json").unlink()


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_golden_image_starts_over(
    service: Service, state: Path, capsys: pytest.CaptureFixture[str], *, is_noted: bool
) -> None:
    """A unit with a copy of another unit's state enrolls under its own name and never calls as the other."""
    assert boot(service, state, service.bootstrap("dev1")) == 0
    key, first = (state / "device.key").read_bytes(), service.issued[0]
    if not is_noted:
        an_older_client_s(state)
    service.callers.clear()
    service.requests.clear()
    own = service.bootstrap("dev2")
    assert boot(service, state, own) == 0
    assert "The identity of dev1 is another unit's" in capsys.readouterr().err
    assert service.requests == [ENROLL, f"{CHAIN}/1", COMMIT]
    assert first not in service.callers
    assert common_name(service.issued[1]) == "dev2"
    assert (state / "device.key").read_bytes() != key
    assert not (state / "other").exists()
    service.requests.clear()
    assert boot(service, state, own) == 0
    assert service.requests == [COMMIT, DEVICE]


def test_the_other_identity_is_kept_until_the_new_one_works(service: Service, state: Path) -> None:
    """Until the new identity has logged in, the other unit's is whole on the disk and no command uses it."""
    assert boot(service, state, service.bootstrap("dev1")) == 0
    names = ("certificate.pem", "device.key")
    before = {name: (state / name).read_bytes() for name in names}
    service.say(ENROLL, problem("stop", "already-enrolled", 409))
    own = service.bootstrap("dev2")
    assert boot(service, state, own) == 12
    assert {name: (state / "other" / name).read_bytes() for name in names} == before
    assert main(["status", "--state", str(state)]) == 13
    assert main(["credentials", "--state", str(state), "--role-alias", "telemetry"]) == 13
    assert main(["renew", "--state", str(state)]) == 13
    assert boot(service, state, own) == 0
    assert not (state / "other").exists()


def test_one_claim_certificate_and_another_name_starts_over(service: Service, state: Path) -> None:
    """A unit with the claim certificate of all units starts over if its `--device-id` is another."""
    claim = service.bootstrap("batch")
    assert _claimed(service, state, claim, "dev1") == 0
    assert _claimed(service, state, claim, "dev2") == 0
    assert [common_name(each) for each in service.issued] == ["dev1", "dev2"]


def test_one_claim_certificate_and_the_same_name_is_the_same_unit(service: Service, state: Path) -> None:
    """A unit with a claim certificate keeps its identity if it is started again, with its name or without."""
    claim = service.bootstrap("batch")
    assert _claimed(service, state, claim, "dev1") == 0
    for options in ([], ["--device-id", "dev1"], []):
        assert boot(service, state, claim, *options) == 0
    an_older_client_s(state)
    assert boot(service, state, claim, "--device-id", "dev1") == 0
    assert len(service.issued) == 1


def test_a_factory_certificate_that_is_issued_again_changes_nothing(service: Service, state: Path) -> None:
    """A unit with a new factory certificate for the same key keeps its identity, also under a new name."""
    key = factories.ec_key()
    old, new = (
        service.save(name, service.factory.issue(cn, key), key)
        for name, cn in (("old", "dev1"), ("new", "unit 1 of batch 2"))
    )
    assert boot(service, state, old) == 0
    assert boot(service, state, new) == 0
    assert len(service.issued) == 1


def test_a_new_bootstrap_key_with_the_same_name_changes_nothing(service: Service, state: Path) -> None:
    """A unit with a new bootstrap key keeps its identity, because its bootstrap certificate has the name."""
    assert boot(service, state, service.bootstrap("dev1")) == 0
    second = service.bootstrap("dev1")
    assert boot(service, state, second) == 0
    assert len(service.issued) == 1
    noted = json.loads((state / "origin.json").read_text())
    assert noted["bootstrap_key"] == certificates.key_fingerprint(second.certificate.read_bytes())


@pytest.mark.parametrize("is_damaged", [True, False])
def test_without_a_bootstrap_certificate_the_identity_is_kept(
    service: Service, state: Path, *, is_damaged: bool
) -> None:
    """A unit whose bootstrap certificate is deleted or damaged keeps its identity and logs in."""
    bootstrap = service.bootstrap("dev1")
    assert boot(service, state, bootstrap) == 0
    bootstrap.certificate.write_text("damaged") if is_damaged else bootstrap.certificate.unlink()
    assert boot(service, state, bootstrap) == 0
    assert boot(service, state, bootstrap, "--device-id", "dev1") == 0
    before = (state / "device.key").read_bytes()
    assert boot(service, state, bootstrap, "--device-id", "dev2") == 2
    assert (state / "device.key").read_bytes() == before
    assert len(service.issued) == 1


def test_a_copied_key_without_a_certificate_is_not_used(service: Service, state: Path) -> None:
    """A key that another unit made and never had certified is not sent by a unit with its disk."""
    service.say(ENROLL, problem("stop"))
    assert boot(service, state, service.bootstrap("dev1")) == 12
    key = (state / "next.private").read_bytes()
    assert boot(service, state, service.bootstrap("dev2")) == 0
    assert (state / "device.key").read_bytes() != key


def test_a_key_without_a_certificate_is_used_with_the_name_or_without(service: Service, state: Path) -> None:
    """A boot without the `--device-id` of an unfinished one goes on with its key; another id does not."""
    claim = service.bootstrap("batch")
    service.say(ENROLL, problem("stop"), problem("stop"), problem("stop"))
    keys = []
    for options in (["--device-id", "dev1"], ["--device-id", "dev1"], []):
        assert boot(service, state, claim, *options) == 12
        keys.append((state / "next.private").read_bytes())
    assert len(set(keys)) == 1
    assert _claimed(service, state, claim, "dev2") == 0
    assert (state / "device.key").read_bytes() not in keys


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_wrong_command_line_loses_no_identity(service: Service, state: Path, *, is_repeated: bool) -> None:
    """After a boot with another unit's certificate that failed, the first identity is still there to be put
    back.
    """
    mine = service.bootstrap("dev1")
    assert boot(service, state, mine) == 0
    whole = (state / "certificate.pem").read_bytes()
    service.say(ENROLL, problem("stop"), problem("stop"))
    assert boot(service, state, service.bootstrap("dev2")) == 12
    if is_repeated:
        assert boot(service, state, mine) == 12
    for name in ("certificate.pem", "device.key"):
        shutil.move(state / "other" / name, state / name)
    assert (state / "certificate.pem").read_bytes() == whole
    service.callers.clear()
    assert boot(service, state, mine) == 0
    assert service.callers[0] == service.issued[0]


def test_a_damaged_note_decides_nothing(service: Service, state: Path) -> None:
    """A note that can't be read counts as none, and the names decide."""
    bootstrap = service.bootstrap("dev1")
    assert boot(service, state, bootstrap) == 0
    (state / "origin.json").write_text("[")
    with (store := Store(state)).locked():
        assert origin.start(store, bootstrap, None) is None
    assert store.live()


def _claimed(service: Service, state: Path, claim: Identity, device_id: str) -> int:
    """Boot with a claim certificate, for which the service takes the name from the request."""
    issue = service.issue

    def issue_to_it(name: str, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        return issue(device_id, csr)

    service.issue = issue_to_it  # type: ignore[method-assign]
    try:
        return boot(service, state, claim, "--device-id", device_id)
    finally:
        service.issue = issue  # type: ignore[method-assign]
