"""Test firstboot.sh with the system's shell, curl and openssl."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from device.patience import OVERLOAD, Patience
from device.store import Identity
from tests import factories
from tests.device.server import running
from tests.device.service import CHAIN, COMMIT, DEVICE, ENROLL, NONCE, Reply, Service, common_name, problem

SCRIPT = Path(__file__).parents[2] / "device" / "firstboot.sh"
KILLED = -9

# Replaces each program that the script runs; at the chosen one it kills the script and all its processes.
# The shell counts by itself, because another process would double the time.
SHIM = """#!/bin/sh
read -r count < "$SHIM_COUNT"
echo $((count + 1)) > "$SHIM_COUNT"
[ "$count" -lt "$SHIM_POINT" ] || kill -9 0
{run}
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service that does nothing wrong unless a test says so."""
    with running(tmp_path) as service:
        yield service


class Script:
    """A device that has only the script."""

    def __init__(self, service: Service, state: Path, shims: Path, host: str = "mtls") -> None:
        bootstrap = service.bootstrap("dev1")
        self.options = ["--public"] if host == "public" else []
        self.state = state
        self.files: list[str | Path] = [
            service.url,
            bootstrap.certificate,
            str(bootstrap.key),
            state,
            service.ca,
        ]
        self._shims = shims
        self._count = shims / "count"
        shims.mkdir()
        programs = {name: f'exec {shutil.which(name)} "$@"' for name in ("curl", "mv", "mkdir")}
        # A real sync would write all of this machine's files and take most of the time.
        for name, run in (programs | {"sync": ":"}).items():
            (shims / name).write_text(SHIM.format(run=run))
            (shims / name).chmod(0o755)

    def replace(self, program: str, shell: str) -> None:
        """Run a line of shell in the place of a program."""
        (self._shims / program).write_text(f"#!/bin/sh\n{shell}\n")
        (self._shims / program).chmod(0o755)

    def draw(self, number: str) -> None:
        """Let the script draw a number, in hexadecimal digits, in the place of random ones."""
        run = f'exec {shutil.which("openssl")} "$@"'
        self.replace("openssl", f'if [ "$1 $3" = "rand 4" ]; then echo {number}; else {run}; fi')

    def run(self, *, point: int = 1_000, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the script with `settings` as variables. Kill it when it starts its `point`-th program."""
        self._count.write_text("1\n")
        environment = {"PATH": f"{self._shims}:{os.environ['PATH']}"} | settings
        environment |= {"SHIM_COUNT": str(self._count), "SHIM_POINT": str(point)}
        return subprocess.run(
            ["sh", SCRIPT, *self.options, *self.files],
            env=environment,
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def pauses(tmp_path: Path) -> Pauses:
    """Return the pauses of the scripts in this test, which then don't sleep."""
    return Pauses(tmp_path / "pauses")


class Pauses:
    """The script's pauses, in seconds, which `note` makes a script write down."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.touch()

    def note(self, script: Script) -> None:
        """Replace the script's `sleep`."""
        script.replace("sleep", f'echo "$1" >> {self._file}')

    def __call__(self) -> list[int]:
        """Return the pauses so far."""
        return [int(line) for line in self._file.read_text().split()]


@pytest.fixture(params=["mtls", "public"])
def script(service: Service, tmp_path: Path, request: pytest.FixtureRequest) -> Script:
    """Return a new device, for each host."""
    return Script(service, tmp_path / "state", tmp_path / "shims", request.param)


def holds_the_identity(state: Path, leaf: x509.Certificate) -> bool:
    """Return whether the state is a key, its certificate and the note of the bootstrap key, readable by the
    owner only, and nothing else.
    """
    stored = x509.load_pem_x509_certificates((state / "certificate.pem").read_bytes())[0]
    key = load_pem_private_key((state / "device.key").read_bytes(), password=None)
    return (
        {path.name for path in state.iterdir()} == {"certificate.pem", "device.key", "origin"}
        and {path.stat().st_mode & 0o777 for path in (state, *state.iterdir())} == {0o700, 0o600}
        and stored == leaf
        and key.public_key() == leaf.public_key()
    )


def test_a_first_boot_and_a_repeated_one(script: Script, service: Service) -> None:
    """A first run gets one certificate and commits it; a second run only logs in."""
    assert script.run().returncode == 0
    assert service.requests == [ENROLL, f"{CHAIN}/0", COMMIT]
    assert holds_the_identity(script.state, service.issued[0])
    service.requests.clear()
    assert script.run().returncode == 0
    assert service.requests == [COMMIT, DEVICE]


@pytest.mark.parametrize("name", ["00:1B:44:11:3A:B7", "a:b", "x", "_", "gw-"])
def test_a_first_boot_with_an_odd_id(script: Script, service: Service, name: str) -> None:
    """A device whose id has a colon or one character gets its certificate and keeps it."""
    bootstrap = service.bootstrap(name)
    script.files[1:3] = [bootstrap.certificate, str(bootstrap.key)]
    done = script.run()
    assert done.returncode == 0, done.stderr
    assert holds_the_identity(script.state, service.issued[0])


def test_a_renewal_when_it_is_time(script: Script, service: Service) -> None:
    """A run renews a certificate that is due, with the live identity and for a new key."""
    assert script.run().returncode == 0
    service.due.add(service.issued[0].serial_number)
    service.requests.clear()
    assert script.run().returncode == 0
    assert service.requests == [COMMIT, DEVICE, ENROLL, f"{CHAIN}/1", COMMIT]
    assert holds_the_identity(script.state, service.issued[1])
    assert service.issued[0].public_key() != service.issued[1].public_key()


def test_a_renewal_killed_at_any_program_is_carried_on(service: Service, tmp_path: Path) -> None:
    """After a kill at any program of a renewal, one more run leaves one more certificate and one identity."""
    script = Script(service, tmp_path / "state", tmp_path / "shims", "public")
    assert script.run().returncode == 0
    before, first = script.state, service.issued[0]
    point, code = 0, KILLED
    while code == KILLED:
        point += 1
        service.forget()
        service.issued.append(first)
        service.committed.append(first)
        service.due.add(first.serial_number)
        script.state = script.files[3] = tmp_path / f"state-{point}"
        shutil.copytree(before, script.state)
        code = script.run(point=point).returncode
        assert script.run().returncode == 0, f"after dying at {point}"
        assert len(service.issued) == 2, f"after dying at {point}"
        assert holds_the_identity(script.state, service.issued[1]), f"after dying at {point}"
    assert code == 0
    assert point > 15


def test_a_lost_certificate_is_asked_for_again(script: Script, service: Service) -> None:
    """A certificate lost after its log-in is requested again with the identity that it replaced."""
    assert script.run().returncode == 0
    service.due.add(service.issued[0].serial_number)
    service.say(COMMIT, Reply(200, {"status": "active"}), problem("stop"))
    assert script.run().returncode == 12
    service.committed.append(service.issued[1])
    (script.state / "next.chain").unlink()
    assert script.run().returncode == 0
    assert len(service.issued) == 2
    assert holds_the_identity(script.state, service.issued[1])


def put_into(script: Script, bootstrap: Identity) -> None:
    """Put the script's disk into the unit with this bootstrap identity."""
    script.files[1:3] = [bootstrap.certificate, str(bootstrap.key)]


@pytest.mark.parametrize("is_noted", [True, False])
def test_a_copied_disk_starts_over(script: Script, service: Service, *, is_noted: bool) -> None:
    """A unit with another unit's disk enrolls under its own name, also if an older script wrote the disk."""
    assert script.run().returncode == 0
    first = service.issued[0]
    if not is_noted:
        (script.state / "origin").unlink()
    service.callers.clear()
    put_into(script, service.bootstrap("dev2"))
    done = script.run()
    assert done.returncode == 0
    assert "is another unit's" in done.stderr
    assert first not in service.callers
    assert common_name(service.issued[1]) == "dev2"
    assert holds_the_identity(script.state, service.issued[1])


def test_a_copied_disk_killed_at_any_program_is_carried_on(service: Service, tmp_path: Path) -> None:
    """After a kill at any program with a copied disk, one more run leaves this unit's own identity alone."""
    script = Script(service, tmp_path / "state", tmp_path / "shims")
    assert script.run().returncode == 0
    before, first = script.state, service.issued[0]
    put_into(script, service.bootstrap("dev2"))
    point, code = 0, KILLED
    while code == KILLED:
        point += 1
        service.forget()
        service.issued.append(first)
        service.committed.append(first)
        script.state = script.files[3] = tmp_path / f"state-{point}"
        shutil.copytree(before, script.state)
        code = script.run(point=point).returncode
        assert script.run().returncode == 0, f"after dying at {point}"
        assert first not in service.callers, f"after dying at {point}"
        assert len(service.issued) == 2, f"after dying at {point}"
        assert holds_the_identity(script.state, service.issued[1]), f"after dying at {point}"
    assert code == 0
    assert point > 15


def test_a_copied_identity_is_kept_until_the_new_one_works(script: Script, service: Service) -> None:
    """While the new enrollment is refused, the other unit's identity is whole in a directory of its own."""
    assert script.run().returncode == 0
    before = (script.state / "certificate.pem").read_bytes()
    put_into(script, service.bootstrap("dev2"))
    service.say(ENROLL, problem("stop"))
    assert script.run().returncode == 12
    assert (script.state / "other" / "certificate.pem").read_bytes() == before
    assert not (script.state / "certificate.pem").exists()
    assert script.run().returncode == 0
    assert not (script.state / "other").exists()


@pytest.mark.parametrize("is_at_hand", [True, False])
def test_the_same_unit_keeps_its_identity(script: Script, service: Service, *, is_at_hand: bool) -> None:
    """A unit with a new bootstrap key and the same name, or without a bootstrap certificate, only logs in."""
    assert script.run().returncode == 0
    service.requests.clear()
    bootstrap = service.bootstrap("dev1")
    if not is_at_hand:
        bootstrap.certificate.unlink()
    put_into(script, bootstrap)
    assert script.run().returncode == 0
    assert service.requests == [COMMIT, DEVICE]


def test_a_proof_s_numbers_have_their_full_length(service: Service, tmp_path: Path) -> None:
    """The two numbers of a proof's signature keep the leading zeros that ASN.1 cuts off."""
    bootstrap = service.bootstrap()
    (tmp_path / "der").write_bytes(encode_dss_signature(1, 2**248 + 1))
    functions = SCRIPT.read_text().partition("text() {")[2].partition("send() {")[0]
    script = f"""
        openssl() {{ case "$*" in *-sign*) cat {tmp_path}/der ;; *) command openssl "$@" ;; esac; }}
        url=https://a.test path=/b method=POST body=/dev/null answer=/dev/null work={tmp_path}
        cert={bootstrap.certificate} key={bootstrap.key}
        text() {{ {functions}
        proof"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    signature = base64.urlsafe_b64decode(done.stdout.split(".")[2] + "==")
    assert signature == (1).to_bytes(32, "big") + (2**248 + 1).to_bytes(32, "big")


def test_a_certificate_that_lapsed_is_given_up(script: Script, service: Service) -> None:
    """A new certificate that lapsed is deleted with exit code 13, and the next run renews again."""
    assert script.run().returncode == 0
    service.due.add(service.issued[0].serial_number)
    service.say(COMMIT, Reply(200, {"status": "active"}), problem("reenroll"))
    assert script.run().returncode == 13
    assert holds_the_identity(script.state, service.issued.pop(0))
    service.issued.insert(0, service.committed[0])
    assert script.run().returncode == 0
    assert holds_the_identity(script.state, service.issued[-1])


@pytest.mark.parametrize("route", [NONCE, ENROLL])
def test_a_gateway_that_names_no_time_is_asked_seldom(
    service: Service, tmp_path: Path, pauses: Pauses, route: str
) -> None:
    """The bounds of the script's pauses after bare refusals of too many requests are the client's."""
    script = Script(service, tmp_path / "state", tmp_path / "shims", "public")
    pauses.note(script)
    service.say(route, *[Reply(429, {"message": "Too Many Requests"})] * 6)
    script.draw("ffffffff")
    assert script.run().returncode == 0
    bounds = [int(OVERLOAD.bound(earlier)) for earlier in range(6)]
    assert pauses() == [0xFFFFFFFF % (bound + 1) for bound in bounds]


def test_a_slot_is_waited_for(script: Script, service: Service, pauses: Pauses) -> None:
    """The script waits for a slot as far ahead as the service names one, and for other refusals less long."""
    pauses.note(script)
    slot = int(OVERLOAD.longest)
    service.say(ENROLL, problem("wait", status=429, retryAfter=slot))
    service.say(COMMIT, problem("wait", status=429, retryAfter=slot + 1))
    assert script.run().returncode == 11
    service.say(COMMIT, problem("wait", status=409, retryAfter=int(Patience.longest)))
    service.say(COMMIT, problem("wait", status=409, retryAfter=int(Patience.longest) + 1))
    assert script.run().returncode == 11
    assert pauses() == [slot, int(Patience.longest)]


def test_the_first_boot_alone_waits_first(script: Script, service: Service, pauses: Pauses) -> None:
    """With the factory's setting the script waits a random time before an enrollment, also after a power cut
    in the middle of that wait, and no longer once it has a certificate.
    """
    script.replace("sleep", "kill -9 0")
    assert script.run(FIRSTBOOT_FIRST_WAIT="5000").returncode == KILLED
    assert service.requests == []
    pauses.note(script)
    script.draw("00001388")
    service.say(COMMIT, problem("stop"))
    assert script.run(FIRSTBOOT_FIRST_WAIT="5000").returncode == 12
    assert pauses() == [5000]
    assert script.run(FIRSTBOOT_FIRST_WAIT="5000").returncode == 0
    assert script.run(FIRSTBOOT_FIRST_WAIT="5000").returncode == 0
    assert pauses() == [5000]


def test_a_wrong_first_wait_is_refused(script: Script, service: Service) -> None:
    """A first wait that is no number ends the script with 2 before any request."""
    assert script.run(FIRSTBOOT_FIRST_WAIT="soon").returncode == 2
    assert service.requests == []


def test_boards_of_one_image_draw_different_pauses() -> None:
    """The script's pauses come from the operating system's random source, and not from its process id."""
    lines = [line for line in SCRIPT.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not any("$$" in line for line in lines)
    (function,) = (line for line in lines if "openssl rand -hex 4" in line)
    command = f"below() {{ {function.strip()}; }}; for draw in 1 2 3 4 5 6 7 8; do below 1000000; done"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert len({int(line) for line in done.stdout.split()}) > 4


@pytest.mark.parametrize("reply", [Reply(503, b""), problem("retry", retryAfter=0), Reply(200, {"nonce": 7})])
def test_a_nonce_is_waited_for(service: Service, tmp_path: Path, reply: Reply) -> None:
    """Without a nonce the script signs nothing and ends with 10 after its tries."""
    script = Script(service, tmp_path / "state", tmp_path / "shims", "public")
    (tmp_path / "shims" / "sleep").symlink_to("/bin/true")
    service.say(NONCE, *[reply] * Patience.tries)
    assert script.run().returncode == 10
    assert service.requests == []
    assert script.run().returncode == 0


def test_killed_at_any_program_it_carries_on(service: Service, tmp_path: Path) -> None:
    """After a kill at any program of a first boot, one more run leaves one certificate and one identity."""
    script = Script(service, tmp_path / "state", tmp_path / "shims")
    point, code = 0, KILLED
    while code == KILLED:
        point += 1
        service.forget()
        script.state = script.files[3] = tmp_path / f"state-{point}"
        code = script.run(point=point).returncode
        assert script.run().returncode == 0, f"after dying at {point}"
        assert len(service.issued) == 1, f"after dying at {point}"
        assert holds_the_identity(script.state, service.issued[0]), f"after dying at {point}"
    assert code == 0
    assert point > 15


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem("stop", "device-revoked", 403), 12),
        (problem("reenroll", status=403), 13),
        (problem("wait", status=409, retryAfter=0), 11),
        (problem("wait", "renewal-rate-exceeded", 429, retryAfter=0), 11),
        (problem("retry", status=503, retryAfter=0), 10),
        (Reply(503, {"message": "Service Unavailable", "retryAfter": 0}), 10),
        (Reply(202, {"retryAfter": 0}), 11),
        (Reply(403, {"message": "Forbidden"}), 12),
        (Reply(413, {"message": "Request Entity Too Large"}), 12),
        (Reply(307, b"", {"Location": "/elsewhere"}), 12),
    ],
)
@pytest.mark.parametrize("route", [ENROLL, COMMIT])
def test_each_action_has_its_exit_code(
    script: Script, service: Service, route: str, reply: Reply, code: int
) -> None:
    """Each refusal ends the script with the client's exit code, after the client's tries if a retry can help,
    and the next run continues.
    """
    tries = Patience.tries if code in (10, 11) else 1
    if tries > 1 and reply.status in (202, 429, 503):  # all of them name a time
        tries = OVERLOAD.tries
    service.say(route, *[reply] * tries)
    assert script.run().returncode == code
    assert service.requests.count(route) == tries
    assert script.run().returncode == 0
    given_up = (route, code) == (COMMIT, 13)
    assert len(service.issued) == (2 if given_up else 1)


def test_an_expired_url_is_asked_for_anew_by_the_next_run(script: Script, service: Service) -> None:
    """An expired URL ends the script with 10 and is not printed; the next run gets the same certificate."""
    service.say(f"{CHAIN}/0", Reply(403, b"<Error/>"))
    done = script.run()
    assert done.returncode == 10
    assert "/chain" not in done.stdout + done.stderr
    assert script.run().returncode == 0
    assert len(service.issued) == 1


@pytest.mark.parametrize("spoiled", ["key", "name", "id", "issuer", "empty"])
def test_a_certificate_that_is_not_ours_is_never_stored(
    script: Script, service: Service, spoiled: str
) -> None:
    """After a certificate that fails a check, the script fails and only the key is stored."""
    service.say(COMMIT, problem("stop"))
    service.say(f"{CHAIN}/0", Reply(403, b""))
    script.run()
    key = load_pem_private_key((script.state / "next.private").read_bytes(), password=None)
    mine = factories.ec_key() if spoiled == "key" else key
    leaf = service.issuing.issue("dev2" if spoiled == "name" else "dev1", mine)  # type: ignore[arg-type]
    service.forget()
    service.issued.append(leaf)
    changes = {"certificateId": "00" * 32} if spoiled == "id" else {}
    service.say(ENROLL, Reply(201, service.announce(0, deviceId="dev1", **changes)))
    issuer = service.factory if spoiled == "issuer" else service.issuing
    chain = factories.pem(leaf) + factories.pem(issuer.certificate)
    service.say(f"{CHAIN}/0", Reply(200, b"" if spoiled == "empty" else chain.encode()))
    assert script.run().returncode not in (0, KILLED)
    assert {path.name for path in script.state.iterdir()} == {"next.private", "origin"}
    assert COMMIT not in service.requests


def test_plain_http_is_refused(service: Service, tmp_path: Path) -> None:
    """The script sends nothing to an http URL."""
    script = Script(service, tmp_path / "state", tmp_path / "shims")
    script.files[0] = service.url.replace("https", "http")
    (tmp_path / "shims" / "sleep").symlink_to("/bin/true")
    assert script.run().returncode == 10
    assert service.requests == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("another", "stop: the server's TLS certificate is not trusted: check CA and the host's name"),
        ("missing", "stop: CA can't be read, or is not a certificate in PEM format"),
        ("garbage", "stop: CA can't be read, or is not a certificate in PEM format"),
    ],
)
def test_a_wrong_ca_ends_the_script_at_once(
    script: Script, service: Service, wrong: str, message: str
) -> None:
    """A CA that is missing or not the server's ends the script with 12 and the reason, after one attempt."""
    ca = script.state.parent / "ca.pem"
    if wrong != "missing":
        another = factories.pem(factories.authority("Another").certificate)
        ca.write_text(another if wrong == "another" else "garbage")
    script.files[4] = ca
    done = script.run()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (12, message)
    assert done.stderr.count("curl:") == 1
    assert service.requests == []
    assert service.nonces_given == 0


def test_a_server_outside_its_dates_is_tried_by_a_later_run(tmp_path: Path) -> None:
    """A server certificate that this device's clock finds invalid ends the script with 10 at once."""
    service = Service(tmp_path)
    service.web_options = {"not_before": datetime.now(UTC) + timedelta(days=9)}
    with running(tmp_path, service):
        done = Script(service, tmp_path / "state", tmp_path / "shims").run()
    assert done.returncode == 10
    assert done.stderr.endswith("is not valid now: check this device's clock\n")


def test_a_storage_host_that_is_not_trusted_ends_the_script(script: Script, service: Service) -> None:
    """A certificate URL whose host the CA does not cover ends the script with 12."""
    service.say(ENROLL, Reply(201, {"certificateUrl": service.url.replace("localhost", "127.0.0.1") + "/c"}))
    assert script.run().returncode == 12


def test_without_arguments_it_says_what_it_wants() -> None:
    """Without arguments the script prints its usage and ends with 2."""
    done = subprocess.run(["sh", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "firstboot.sh [--public] URL BOOTSTRAP_CERT BOOTSTRAP_KEY DIR [CA]" in done.stderr
