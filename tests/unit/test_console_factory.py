"""`console factory issue` makes bootstrap certificates, and refuses what is wrong before it makes any."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from rich.console import Console

from console import files, output
from console.commands import factory
from firstboot.compiler.fleet import load
from firstboot.domain.names import ANY_FLEET
from firstboot.identity.naming import certified
from firstboot.pki import bootstrap, chain
from tests import factories
from tests.field.encode import own
from tests.production import Factory, base64_key, pem_key, public_key


@pytest.fixture
def line(tmp_path: Path) -> Factory:
    """Return a factory whose CA is the group's trust anchor."""
    return Factory.build(tmp_path)


def refused(line: Factory, *more: str, **options: Any) -> dict[str, Any]:
    """Return the problem of a refusal, which changes no file of the run."""
    before = contents(line.out)
    result = line.issue(*more, "--json", **options)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert contents(line.out) == before
    found: dict[str, Any] = json.loads(result.stderr)
    return found


def contents(folder: Path) -> dict[str, bytes] | None:
    """Return a folder's files by name, or None if there is no folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else None


def test_every_device_gets_a_key_and_a_certificate(line: Factory) -> None:
    """Each device has a key, a certificate that the group's verifier accepts, and a row that describes it."""
    result = line.issue("--count", "3", "--json")
    assert result.exit_code == 0, result.output
    names = ["gateways-000001", "gateways-000002", "gateways-000003"]
    assert [row["deviceId"] for row in line.manifest()] == names
    for row in line.manifest():
        (leaf,) = line.chain(row["deviceId"])
        key = load_pem_private_key((line.out / f"{row['deviceId']}.key").read_bytes(), None)
        assert leaf.public_key() == key.public_key()
        assert chain.common_name(leaf) == row["deviceId"]
        assert bootstrap.verify(own(leaf), [own(line.ca.certificate)], datetime.now(UTC))
        assert row == {
            "deviceId": row["deviceId"],
            "certificateId": chain.fingerprint(leaf),
            "serial": f"{leaf.serial_number:x}",
            "notAfter": f"{leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        }
    assert len({row["serial"] for row in line.manifest()}) == 3
    assert json.loads(result.stdout) == {
        "group": "gateways",
        "shared": False,
        "devices": 3,
        "doneBefore": 0,
        "manifest": str(line.out / "manifest.csv"),
    }


def test_keys_are_their_owners_from_the_first_byte_on(line: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file has mode 0600 when it is created, and the folder 0700, with any umask."""
    modes, opened = [], os.open

    def watched(path: Any, flags: int, *more: int) -> int:
        descriptor = opened(path, flags, *more)
        if flags & os.O_CREAT and str(path).startswith(str(line.out)):
            modes.append(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    line.out.mkdir(mode=0o755)
    monkeypatch.setattr(os, "open", watched)
    before = os.umask(0)
    try:
        assert line.issue("--count", "2").exit_code == 0
    finally:
        os.umask(before)
    assert set(modes) == {0o600}
    assert {file.stat().st_mode & 0o777 for file in line.out.iterdir()} == {0o600}
    assert line.out.stat().st_mode & 0o777 == 0o700


def test_options_set_ids_and_lifetime(line: Factory) -> None:
    """`--prefix` and `--start` set the ids, and `--days` sets the end of the certificates."""
    assert line.issue("--count", "2", "--prefix", "gw-", "--start", "0", "--days", "30").exit_code == 0
    assert [row["deviceId"] for row in line.manifest()] == ["gw-000000", "gw-000001"]
    (leaf,) = line.chain("gw-000000")
    assert (leaf.not_valid_after_utc - datetime.now(UTC)).days in {29, 30}


def test_a_run_may_be_made_longer(line: Factory) -> None:
    """A second run with a larger count makes the missing devices and changes no other file."""
    line.issue("--count", "2")
    before = contents(line.out) or {}
    result = line.issue("--count", "3", "--json")
    summary = json.loads(result.stdout)
    assert (summary["devices"], summary["doneBefore"]) == (3, 2)
    after = contents(line.out) or {}
    rows = after.pop("manifest.csv")
    assert rows.startswith(before.pop("manifest.csv"))
    assert before.items() <= after.items()
    assert len(rows.splitlines()) == 4


def test_an_incomplete_device_is_made_again(line: Factory) -> None:
    """A row that was cut off, a broken certificate and a certificate without its key are made again."""
    line.issue("--count", "3")
    kept = line.chain("gateways-000001")
    rows = (line.out / "manifest.csv").read_bytes().splitlines(keepends=True)
    (line.out / "manifest.csv").write_bytes(rows[0] + rows[1][:-20])
    (line.out / "gateways-000002.pem").write_text("-----BEGIN CERT")
    (line.out / "gateways-000003.key").unlink()
    assert line.issue("--count", "3").exit_code == 0
    assert line.chain("gateways-000001") == kept
    for row in line.manifest():
        (leaf,) = line.chain(row["deviceId"])
        key = load_pem_private_key((line.out / f"{row['deviceId']}.key").read_bytes(), None)
        assert leaf.public_key() == key.public_key()
        assert row["certificateId"] == chain.fingerprint(leaf)
    assert len(line.manifest()) == 3
    whole = (line.out / "manifest.csv").read_bytes()
    (line.out / "manifest.csv").write_bytes(whole + b"gateways-0000")
    assert line.issue("--count", "3").exit_code == 0
    assert (line.out / "manifest.csv").read_bytes() == whole


def test_progress_does_not_disturb_the_summary(line: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal on standard error counts the devices, and standard output is one JSON document."""
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True))
    assert json.loads(line.issue("--count", "2", "--json").stdout)["devices"] == 2
    assert "2/2" in terminal.getvalue()
    assert (
        "2 devices have their certificates (2 since an earlier attempt)" in line.issue("--count", "2").stdout
    )


def test_an_intermediate_goes_with_its_certificates(tmp_path: Path) -> None:
    """If the trust anchor is above the issuer, each file has the issuer's certificate too."""
    root = factories.authority(days=10_950)
    line = Factory.build(tmp_path, root.intermediate("Line 7", days=9_000), root)
    assert line.issue("--count", "1").exit_code == 0
    leaf, issuer = line.chain("gateways-000001")
    assert issuer == line.ca.certificate
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root.certificate)


def test_a_renewed_ca_is_the_same_ca(tmp_path: Path) -> None:
    """A renewed certificate of a trust anchor, with the same name and key, is not put into the files."""
    key = factories.ec_key()
    old, new = (factories.authority(key=key, days=days) for days in (9_000, 10_950))
    line = Factory.build(tmp_path, new, old)
    assert line.issue("--count", "1").exit_code == 0
    assert len(line.chain("gateways-000001")) == 1


def _stranger(folder: Path) -> Factory:
    return Factory.build(folder, anchor=factories.authority("Other", days=10_950))


def _namesake(folder: Path) -> Factory:
    return Factory.build(folder, anchor=factories.authority(days=10_950))


def _under_a_bottom(folder: Path) -> Factory:
    key = factories.ec_key()
    top = factories.authority("Top", days=10_950)
    bottom = factories.Authority(top.issue("Bottom", key, ca=True, path_length=0, days=10_900), key)
    return Factory.build(folder, bottom.intermediate("Line 7", days=10_800), bottom)


def _no_ca(folder: Path) -> Factory:
    root, key = factories.authority(days=10_950), factories.ec_key()
    return Factory.build(folder, factories.Authority(root.issue("Leaf", key, days=9_000), key), root)


def _no_signer(folder: Path) -> Factory:
    root, key = factories.authority(days=10_950), factories.ec_key()
    usage = factories.key_usage(ca=True, key_cert_sign=False)
    name, above = factories.name("Line 7"), root.certificate
    builder = (
        x509.CertificateBuilder(above.subject, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(above.not_valid_before_utc)
        .not_valid_after(above.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return Factory.build(folder, factories.Authority(builder.sign(root.key, SHA256()), key), root)


def _not_yet(folder: Path) -> Factory:
    root = factories.authority(days=10_950)
    later = datetime.now(UTC) + timedelta(days=30)
    return Factory.build(folder, root.intermediate("Line 7", not_before=later, days=9_000), root)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_stranger, "no trust anchor of group gateways"),
        (_namesake, "no trust anchor of group gateways"),
        (_under_a_bottom, "allows fewer CAs below it"),
        (_no_ca, "would be refused"),
        (_no_signer, "would be refused"),
        (_not_yet, "would be refused"),
    ],
)
def test_a_ca_the_group_would_not_take_signs_nothing(
    tmp_path: Path, build: Callable[[Path], Factory], words: str
) -> None:
    """A CA signs nothing if it is no anchor, has an anchor's name only, is below an anchor that allows no CA,
    is no CA, has no keyCertSign, or is not valid yet.
    """
    problem = refused(build(tmp_path), "--count", "1")
    assert problem["code"] == "factory-ca-unfit"
    assert words in problem["detail"]


def test_certificates_end_before_their_ca(tmp_path: Path) -> None:
    """Certificates that would end after their CA or its anchor are refused with the longest lifetime."""
    root = factories.authority(days=400)
    line = Factory.build(tmp_path, root.intermediate("Line 7", days=9_000), root)
    problem = refused(line, "--count", "1", "--days", "399")
    assert problem["detail"].endswith("--days 398 at most")
    assert line.issue("--count", "1", "--days", "398").exit_code == 0


def test_another_groups_ca_signs_nothing(line: Factory) -> None:
    """The CA of another group is refused, and a refusal of an unknown group names the groups."""
    assert refused(line, "--count", "1", group="sensors")["code"] == "factory-ca-unfit"
    problem = refused(line, "--count", "1", group="toasters")
    assert problem["code"] == "group-unknown"
    assert "gateways, sensors" in problem["detail"]


def test_a_fleet_that_does_not_compile_issues_nothing(line: Factory) -> None:
    """A fleet folder that does not compile is refused."""
    (line.folder / "fleet/rules.cedar").write_text("permit")
    assert refused(line, "--count", "1")["code"] == "fleet-invalid"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("ca.pem", b"nonsense", "is not a PEM certificate"),
        ("ca.pem", b"\xff", "is not a PEM certificate"),
        ("ca.key", b"nonsense", "is not a PEM private key"),
        ("ca.key", factories.key_pem(factories.ec_key()).encode(), "not the key of"),
        ("ca.key", factories.key_pem(ed25519.Ed25519PrivateKey.generate()).encode(), "neither an EC"),
    ],
    ids=["certificate", "certificate-bytes", "key", "other-key", "ed25519"],
)
def test_the_cas_files_must_be_what_they_are_called(
    line: Factory, file: str, content: bytes, words: str
) -> None:
    """Each wrong file is refused with its name and what is wrong with it."""
    (line.folder / file).write_bytes(content)
    problem = refused(line, "--count", "1")
    assert problem["code"] == "factory-ca-unfit"
    assert words in problem["detail"]
    assert str(line.folder / file) in problem["detail"]


def encrypt(line: Factory) -> None:
    """Encrypt the CA's key with the password `secret`."""
    how = BestAvailableEncryption(b"secret")
    pem = line.ca.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    (line.folder / "ca.key").write_bytes(pem)


def test_an_encrypted_key_takes_its_password_from_a_file(line: Factory) -> None:
    """The password's file may end with a newline. A wrong or missing password is refused."""
    encrypt(line)
    file = line.folder / "password"
    file.write_text("wrong\n")
    assert "password is wrong" in refused(line, "--count", "1", f"--ca-key-password-file={file}")["detail"]
    assert "--ca-key-password-file" in refused(line, "--count", "1")["detail"]
    file.write_text("secret\n")
    assert line.issue("--count", "1", f"--ca-key-password-file={file}").exit_code == 0


def test_a_person_is_asked_for_the_password(line: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, the command asks for the password and does not print it."""
    encrypt(line)
    monkeypatch.setattr(output, "can_ask", lambda: True)
    result = line.issue("--count", "1", "--json", typed="secret\n")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["devices"] == 1
    assert "secret" not in result.output


@pytest.mark.parametrize("prefix", ["", "boot-", "gw/", "gw-*", "-", "x" * 59])
def test_ids_that_are_none_are_refused(line: Factory, prefix: str) -> None:
    """A prefix that does not make device ids is refused. An empty prefix makes ids of digits."""
    if prefix:
        assert refused(line, "--count", "1", "--prefix", prefix)["code"] == "device-id-invalid"
    else:
        assert line.issue("--count", "1", "--prefix", prefix).exit_code == 0


def test_the_last_id_is_checked_before_the_first_is_used(line: Factory) -> None:
    """A run whose last id would be too long is refused before its first id."""
    ends = ["--count", "2", "--start", "999999", "--prefix", "x" * 58]
    assert refused(line, *ends)["code"] == "device-id-invalid"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--count", "0"],
        ["--count", "1", "--manifest", "keys.csv"],
        ["--manifest", "keys.csv", "--prefix", "gw-"],
        ["--manifest", "keys.csv", "--start", "7"],
        ["--manifest", "no-such.csv"],
        ["--count", "1", "--days", "0"],
        ["--count", "1", "--ca-key", "no-such.key"],
    ],
)
def test_wrong_usage_is_exit_code_2(line: Factory, arguments: list[str]) -> None:
    """Options that contradict each other or name a missing file end with exit code 2."""
    manifest = line.keys([("gw-1", base64_key(public_key()))])
    result = line.issue(*(str(manifest) if word == "keys.csv" else word for word in arguments))
    assert (result.exit_code, line.out.exists()) == (2, False)


def test_keys_in_secure_elements_want_the_nonce(line: Factory) -> None:
    """For keys in secure elements the command names `proof = "nonce"`, unless the group has it."""
    manifest = str(line.keys([("gw-1", base64_key(public_key()))]))
    assert 'proof = "nonce"' in line.issue("--manifest", manifest).stderr
    file = line.folder / "fleet/fleet.toml"
    file.write_text(file.read_text().replace("[groups.gateways]", '[groups.gateways]\nproof = "nonce"'))
    assert 'proof = "nonce"' not in line.issue("--manifest", manifest).stderr


def test_a_broken_manifest_of_the_run_is_refused(line: Factory) -> None:
    """A manifest.csv in the folder that is not text is refused with its name."""
    line.issue("--count", "1")
    (line.out / "manifest.csv").write_bytes(b"deviceId\n\xff\n")
    assert "manifest.csv is not the manifest" in refused(line, "--count", "1")["detail"]


def test_a_folder_of_something_else_is_left_alone(line: Factory) -> None:
    """A folder with other files and a folder of another run are refused."""
    line.out.mkdir()
    (line.out / "thesis.tex").write_text("precious")
    assert refused(line, "--count", "1")["code"] == "folder-in-use"
    (line.out / "thesis.tex").unlink()
    line.issue("--count", "1")
    manifest = line.keys([("gw-1", base64_key(public_key()))])
    assert refused(line, "--manifest", str(manifest))["code"] == "folder-in-use"


def test_a_run_is_one_groups_and_one_cas(line: Factory) -> None:
    """A run cannot be continued with another CA of the same group."""
    line.issue("--count", "1")
    other = factories.authority("Second", days=10_950)
    anchors = [factories.pem(each.certificate) for each in (line.ca, other)]
    (line.folder / "fleet/trust/acme-factory.pem").write_text("".join(anchors))
    (line.folder / "ca.pem").write_text(anchors[1])
    (line.folder / "ca.key").write_text(factories.key_pem(other.key))
    assert refused(line, "--count", "2")["code"] == "folder-in-use"


def test_two_processes_do_not_share_a_run(line: Factory) -> None:
    """A second process is refused while the first one works in the folder."""
    line.issue("--count", "1")
    descriptor = os.open(line.out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert "another process" in refused(line, "--count", "2")["detail"]
    finally:
        os.close(descriptor)
    assert line.issue("--count", "2").exit_code == 0


def test_another_devices_certificate_is_not_taken_for_ones_own(line: Factory) -> None:
    """A file with another device's certificate is refused, as on a file system that ignores case."""
    line.issue("--count", "1", "--prefix", "GW-")
    for suffix in (".pem", ".key"):
        (line.out / f"GW-000001{suffix}").rename(line.out / f"gw-000001{suffix}")
    result = line.issue("--count", "1", "--prefix", "gw-", "--json")
    assert (result.exit_code, json.loads(result.stderr)["code"]) == (1, "folder-in-use")


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder find its files without regard to case, as a disk of a Mac or a USB stick does."""
    exists = Path.exists

    def finds(path: Path) -> bool:
        folder = path.parent
        return exists(path) or any(
            each.name.lower() == path.name.lower() for each in (folder.iterdir() if exists(folder) else ())
        )

    monkeypatch.setattr(Path, "exists", finds)


def test_the_disk_is_asked_whether_it_minds_case(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The folder's own disk says whether it ignores case, before the folder exists, and nothing is left."""
    assert not files.ignores_case(tmp_path / "new/run")
    request.getfixturevalue("folding")
    assert files.ignores_case(tmp_path / "new/run")
    assert files.ignores_case(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ids_that_differ_in_case_only_need_a_disk_that_minds_it(
    line: Factory, request: pytest.FixtureRequest
) -> None:
    """A manifest with two such ids is refused on a disk without case, and issued on another one."""
    pairs = [("gw-a", base64_key(public_key())), ("gw-b", base64_key(public_key()))]
    pairs.append(("GW-a", base64_key(public_key())))
    manifest = line.keys(pairs)
    request.getfixturevalue("folding")
    found = refused(line, "--manifest", str(manifest))
    (problem,) = found["problems"]
    assert problem.startswith(
        "line 4: column deviceId: device GW-a and the device of line 2 differ in case only"
    )
    request.getfixturevalue("monkeypatch").undo()
    assert line.issue("--manifest", str(manifest)).exit_code == 0
    assert [row["deviceId"] for row in line.manifest()] == [name for name, _ in pairs]


@pytest.mark.usefixtures("folding")
def test_a_later_attempt_makes_no_id_that_differs_in_case_only(line: Factory) -> None:
    """A run that continues with a prefix in another case is refused before a file of the other is touched."""
    assert line.issue("--count", "1", "--prefix", "GW-").exit_code == 0
    found = refused(line, "--count", "1", "--prefix", "gw-")
    assert found["code"] == "folder-in-use"
    assert "gw-000001 and GW-000001 differ in case only" in found["detail"]
    assert line.issue("--count", "2", "--prefix", "GW-").exit_code == 0


def test_ids_with_colons_and_of_one_character_are_issued(line: Factory) -> None:
    """A fleet with `colon_ids` issues certificates for MAC addresses, and another fleet refuses them."""
    ids = ["00:1B:44:11:3A:B7", "x", "a:"]
    manifest = line.keys((name, base64_key(public_key())) for name in ids)
    found = refused(line, "--manifest", str(manifest))
    assert [each.partition(" is no device id")[0] for each in found["problems"]] == [
        "line 2: column deviceId: '00:1B:44:11:3A:B7'",
        "line 4: column deviceId: 'a:'",
    ]
    assert "the prefix does not make valid device ids" in refused(line, "--count=1", "--prefix=a:")["detail"]
    toml = line.folder / "fleet/fleet.toml"
    toml.write_text(f"colon_ids = true\n{toml.read_text()}")
    assert line.issue("--manifest", str(manifest)).exit_code == 0
    assert [row["deviceId"] for row in line.manifest()] == ids
    assert [chain.common_name(line.chain(name)[0]) for name in ids] == ids


def test_keys_in_secure_elements_get_certificates_only(line: Factory) -> None:
    """Each certificate is for the key in the manifest, in DER or PEM, and there is no key file."""
    keys = {
        "p256": (public_key(), base64_key),
        "p384": (factories.ec_key(ec.SECP384R1()).public_key(), pem_key),
        "rsa": (factories.rsa_key().public_key(), pem_key),
    }
    manifest = line.keys((name, text(key)) for name, (key, text) in keys.items())
    assert json.loads(line.issue("--manifest", str(manifest), "--json").stdout)["devices"] == 3
    assert [row["deviceId"] for row in line.manifest()] == list(keys)
    for name, (key, _) in keys.items():
        (leaf,) = line.chain(name)
        assert leaf.public_key() == key
        bootstrap.verify(own(leaf), [own(line.ca.certificate)], datetime.now(UTC))
    assert not list(line.out.glob("*.key"))


def test_a_manifest_may_grow_but_not_change(line: Factory) -> None:
    """A manifest with more rows continues the run. One with another key for a device is refused."""
    first, second = ((name, base64_key(public_key())) for name in ("gw-1", "gw-2"))
    line.issue("--manifest", str(line.keys([first])))
    result = line.issue("--manifest", str(line.keys([first, second])), "--json")
    assert json.loads(result.stdout)["doneBefore"] == 1
    changed = line.keys([("gw-1", base64_key(public_key())), ("gw-3", base64_key(public_key()))])
    problem = refused(line, "--manifest", str(changed))
    assert problem["problems"] == ["line 2: column publicKey: device gw-1 has a certificate for another key"]


def share(line: Factory) -> None:
    """Change the group, so that its devices share a claim certificate."""
    file = line.folder / "fleet/fleet.toml"
    text = file.read_text().replace('"subject.CN"', '"request.deviceId"')
    file.write_text(text.replace("per_minute = 200,", "per_minute = 200, freeze_per_hour = 900,"))


def define(line: Factory, text: str) -> None:
    """Add lines to the group of gateways in the place of its `device_id`."""
    file = line.folder / "fleet/fleet.toml"
    lines = [text if each.startswith("device_id ") else each for each in file.read_text().splitlines()]
    file.write_text("\n".join(lines))


@pytest.mark.parametrize(
    "naming",
    [
        'device_id = "subject.serialNumber"',
        'device_id = "subject.serialNumber"\nstrip_prefix = "SN:"',
        'device_id = "san.uri"\nstrip_prefix = "urn:dev:ops:32473-"',
        'device_id = "san.dns"\nstrip_suffix = ".acme.example"',
    ],
)
def test_a_certificate_has_its_id_where_the_group_reads_it(line: Factory, naming: str) -> None:
    """A certificate that the console makes names its device at the group's source."""
    define(line, naming)
    assert line.issue("--count", "1").exit_code == 0
    (row,) = line.manifest()
    group = load(line.folder / "fleet").groups["gateways"]
    (leaf,) = line.chain(row["deviceId"])
    assert certified(own(leaf), group, ANY_FLEET) == row["deviceId"] == "gateways-000001"


@pytest.mark.parametrize("naming", ['pattern = "sn(.+)"', 'strip_prefix = "sn"', 'device_id = "key.sha256"'])
def test_a_group_whose_ids_no_name_tells_is_refused(line: Factory, naming: str) -> None:
    """A group is refused if the id of a device does not tell what its certificate must have."""
    define(line, naming)
    assert refused(line, "--count", "1")["code"] == "group-source"


def test_only_ids_of_the_group_are_made(line: Factory) -> None:
    """Numbered ids outside of the group's are refused before a certificate is made."""
    define(line, 'ids = "gw-*"\nshares_ids_with = ["sensors"]')
    problem = refused(line, "--count", "2")
    assert problem["detail"].endswith("group gateways has the ids gw-*, and gateways-000001 is another")
    assert line.issue("--count", "2", "--prefix", "gw-").exit_code == 0


def test_an_id_that_the_attribute_cannot_hold_is_refused(line: Factory) -> None:
    """An id with `_`, which no serialNumber may have, is refused before a certificate is made."""
    define(line, 'device_id = "subject.serialNumber"')
    problem = refused(line, "--count", "2", "--prefix", "gw_")
    assert "serialNumber can't hold 'gw_000001'" in problem["detail"]
    assert not list(line.out.glob("*.pem"))


def test_devices_that_share_a_certificate_get_a_list_and_one_claim(
    line: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that shares has one claim certificate after any number of runs, and a manifest of ids."""
    share(line)
    assert json.loads(line.issue("--count", "2", "--json").stdout)["shared"]
    (file,) = line.out.glob("claim-*.pem")
    (leaf,) = line.chain(file.stem)
    assert chain.common_name(leaf) == file.stem
    bootstrap.verify(own(leaf), [own(line.ca.certificate)], datetime.now(UTC))
    monkeypatch.setattr(factory, "_now", lambda: datetime.now(UTC) + timedelta(days=2))
    assert json.loads(line.issue("--count", "3", "--json").stdout)["doneBefore"] == 2
    assert line.chain(file.stem) == [leaf]
    assert line.manifest() == [{"deviceId": f"gateways-00000{n}"} for n in (1, 2, 3)]
    assert {each.suffix for each in line.out.iterdir()} == {".pem", ".key", ".csv", ".json"}
    assert len(list(line.out.iterdir())) == 4


def test_devices_that_share_a_certificate_have_no_keys_to_certify(line: Factory) -> None:
    """A manifest of keys is refused for a group that shares a claim certificate."""
    share(line)
    manifest = line.keys([("gw-1", base64_key(public_key()))])
    assert refused(line, "--manifest", str(manifest))["code"] == "group-shared"
