"""Test that a device that was killed before or after any write or request continues."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.device.crash import DIED, run
from tests.device.server import running
from tests.device.service import COMMIT, Service, common_name, problem

IDENTITY = {"certificate.pem", "device.key", "origin.json", "service.json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all crashes."""
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


HOSTS = ["mtls", "public"]


def boot(service: Service, state: Path, host: str = "mtls", name: str = "dev1") -> list[str]:
    """Return the command line of a boot, which a test repeats."""
    bootstrap = service.bootstrap(name)
    files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
    return ["boot", f"--{host}", service.url, "--ca", str(service.ca), "--state", str(state), *files]


def copy(service: Service, before: Path, state: Path) -> None:
    """Restore device and service to their states after the first boot, which filled `before`."""
    first = service.issued[0]
    service.forget()
    service.issued.append(first)
    service.committed.append(first)
    shutil.copytree(before, state)


def holds_one_identity(service: Service, state: Path) -> bool:
    """Return whether the state is one complete identity, the service's last one, and nothing else."""
    leaf = x509.load_pem_x509_certificates((state / "certificate.pem").read_bytes())[0]
    modes = {path.stat().st_mode & 0o777 for path in state.iterdir()}
    return (
        {path.name for path in state.iterdir()} == IDENTITY
        and (modes, state.stat().st_mode & 0o777) == ({0o600}, 0o700)
        and leaf == service.issued[-1] == service.committed[-1]
        and run(["status", "--state", str(state)]) == 0
    )


@pytest.mark.parametrize("host", HOSTS)
def test_a_first_boot_killed_at_any_point_ends_with_one_certificate(
    service: Service, tmp_path: Path, host: str
) -> None:
    """After a crash at any point of a first boot, one more run leaves one certificate and one identity."""
    point, code = 0, DIED
    while code == DIED:
        point += 1
        service.forget()
        command = boot(service, tmp_path / str(point), host)
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert holds_one_identity(service, tmp_path / str(point)), f"after dying at {point}"
        assert len(service.issued) == 1, f"after dying at {point}"
    assert code == 0
    assert point > 60


def test_a_new_enrollment_killed_at_any_point_ends_with_the_new_identity(
    service: Service, tmp_path: Path
) -> None:
    """After a crash at any point of a new enrollment, one more run leaves the new identity alone."""
    service.forget()
    assert run(boot(service, tmp_path / "before")) == 0
    point, code = 0, DIED
    while code == DIED:
        point += 1
        copy(service, tmp_path / "before", tmp_path / str(point))
        command = boot(service, tmp_path / str(point))
        service.committed.append(service.web.certificate)  # another took its place
        service.issued.append(service.web.certificate)
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert holds_one_identity(service, tmp_path / str(point)), f"after dying at {point}"
        assert len(service.issued) == 3, f"after dying at {point}"
    assert code == 0
    assert point > 50


@pytest.mark.parametrize("is_noted", [True, False])
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_copied_disk_killed_at_any_point_never_acts_as_the_other_unit(
    service: Service, tmp_path: Path, *, is_begun: bool, is_noted: bool
) -> None:
    """A unit with the disk of another one enrolls under its own name and never uses the other's identity.

    The other's disk may hold an identity that has not logged in yet, an older client may have written it, and
    a crash may come at any point.
    """
    service.forget()
    before = tmp_path / "before"
    if is_begun:
        service.say(COMMIT, problem("stop"))
        assert run(boot(service, before)) == 12
    else:
        assert run(boot(service, before)) == 0
    if not is_noted:
        (before / "origin.json").unlink()
    taken, other = before / ("next.private" if is_begun else "device.key"), service.issued[0]
    point, code = 0, DIED
    while code == DIED:
        point += 1
        copy(service, before, tmp_path / str(point))
        command = boot(service, tmp_path / str(point), name="dev2")
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert holds_one_identity(service, tmp_path / str(point)), f"after dying at {point}"
        assert len(service.issued) == 2, f"after dying at {point}"
        assert common_name(service.issued[1]) == "dev2"
        assert other not in service.callers, f"after dying at {point}"
        assert (tmp_path / str(point) / "device.key").read_bytes() != taken.read_bytes()
    assert code == 0
    assert point > 60


def test_an_identity_superseded_before_its_first_log_in_is_given_up(service: Service, tmp_path: Path) -> None:
    """An identity superseded before its log-in is deleted with its key, also if a crash interrupts that."""
    point, code = 0, DIED
    while code == DIED:
        point += 1
        service.forget()
        state = tmp_path / str(point)
        command = boot(service, state)
        service.say(COMMIT, problem("stop"))
        assert run(command) == 12
        service.say(COMMIT, problem("reenroll"))
        first = (state / "next.private").read_bytes()
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert holds_one_identity(service, state), f"after dying at {point}"
    assert code == 0
    assert (state / "device.key").read_bytes() != first


@pytest.mark.parametrize("host", HOSTS)
def test_a_renewal_killed_at_any_point_ends_with_one_more_certificate(
    service: Service, tmp_path: Path, host: str
) -> None:
    """After a crash at any point of a renewal, one more run leaves exactly one more certificate."""
    service.forget()
    assert run(boot(service, tmp_path / "before", host)) == 0
    point, code = 0, DIED
    while code == DIED:
        point += 1
        copy(service, tmp_path / "before", tmp_path / str(point))
        command = boot(service, tmp_path / str(point), host)
        service.due.add(service.issued[0].serial_number)
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert holds_one_identity(service, tmp_path / str(point)), f"after dying at {point}"
        assert len(service.issued) == 2, f"after dying at {point}"
    assert code == 0
    assert point > 60


@pytest.mark.parametrize("host", HOSTS)
def test_a_renewal_of_the_same_key_killed_at_any_point_ends_with_that_key(
    service: Service, tmp_path: Path, host: str
) -> None:
    """After a crash at any point of a renewal of the same key, one more run leaves that key with one more
    certificate.
    """
    service.forget()
    assert run(boot(service, tmp_path / "before", host)) == 0
    key = (tmp_path / "before" / "device.key").read_bytes()
    point, code = 0, DIED
    while code == DIED:
        point += 1
        state = tmp_path / str(point)
        copy(service, tmp_path / "before", state)
        service.due.add(service.issued[0].serial_number)
        command = ["renew", "--same-key", "--state", str(state)]
        code = run(command, point=point)
        assert run(command) == 0, f"after dying at {point}"
        assert (state / "device.key").read_bytes() == key, f"after dying at {point}"
        assert holds_one_identity(service, state), f"after dying at {point}"
        assert len(service.issued) == 2, f"after dying at {point}"
    assert code == 0
    assert point > 40
