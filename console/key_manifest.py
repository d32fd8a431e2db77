"""Read a manifest of public keys that were made in secure elements: CSV with `deviceId,publicKey`.

It is read twice, one row at a time: once to find every problem, and once to issue.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from console.bootstrap import Wanted
from console.csv_file import Row, changed, checked_rows, invalid, rows
from console.manifest import DEVICE_ID, no_id
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Group
from firstboot.domain.names import IdRule, device_id
from firstboot.pki.profile import unwritable
from firstboot.pki.signature import DevicePublicKey, is_strong, spki_fingerprint

PUBLIC_KEY = "publicKey"

Made = Callable[[str], x509.Certificate | None]


@dataclass(frozen=True)
class Run:
    """The demands of a run on its manifest.

    `made` finds the certificate that an earlier attempt made. `rule` is the fleet's rule for device ids, and
    `group` bounds them. `ignores_case` returns whether the disk of the run's folder takes `a` and `A` for one
    file.
    """

    made: Made
    group: Group
    rule: IdRule
    ignores_case: Callable[[], bool]


def checked(file: Path, run: Run) -> int:
    """Return how many devices the manifest has.

    Raises Refused with every problem found.
    """
    problems: list[str] = []
    lines: dict[str, int] = {}  # by ids and fingerprints, because whole rows would take too much memory
    devices = 0
    for row in rows(file, DEVICE_ID, PUBLIC_KEY):
        problems += [f"line {row.line}: {text}" for text in _problems(row, lines, run)]
        devices += 1
    if not devices:
        problems.append("there is no row in it")
    if problems:
        raise invalid(file, problems)
    return devices


def wanted(file: Path, rule: IdRule) -> Iterator[Wanted]:
    """Yield the certificates to issue for a manifest that was checked by the same `rule`.

    Raises Refused if the file has changed since and is invalid now.
    """
    for line, cells, _ in checked_rows(file, DEVICE_ID, PUBLIC_KEY):
        try:
            yield Wanted(device_id(cells[DEVICE_ID], rule), _key(cells[PUBLIC_KEY]))
        except (ValueError, DeviceIdInvalid) as error:
            raise changed(file, [f"line {line}: {error}"]) from error


def _problems(row: Row, lines: dict[str, int], run: Run) -> list[str]:
    line, cells, problem = row
    if problem:  # any cell may be in another column than it should be
        return [problem]
    name, problems = cells[DEVICE_ID], []
    try:
        device_id(name, run.rule)
    except DeviceIdInvalid as error:
        return [no_id(name, error)]
    if not run.group.may_name(name):
        space = f"group {run.group.name} has {run.group.space}"
        problems.append(f"column {DEVICE_ID}: {space}, and {name} is another")
    if why := unwritable(run.group, name):
        problems.append(f"column {DEVICE_ID}: {why}")
    like = lines.setdefault(f"case {name.lower()}", line)
    if (first := lines.setdefault(name, line)) != line:
        problems.append(f"column {DEVICE_ID}: device {name} is on line {first} already")
    elif like != line and run.ignores_case():
        problems.append(
            f"column {DEVICE_ID}: device {name} and the device of line {like} differ in case only, and the"
            " disk would take their files for one"
        )
    try:
        key = _key(cells[PUBLIC_KEY])
    except ValueError as error:
        return [*problems, f"column {PUBLIC_KEY}: device {name}: {error}"]
    if (first := lines.setdefault(f"spki {spki_fingerprint(key)}", line)) != line:
        problems.append(f"column {PUBLIC_KEY}: device {name} has the key of line {first}")
    certificate = run.made(name)
    if certificate and certificate.public_key() != key:
        problems.append(f"column {PUBLIC_KEY}: device {name} has a certificate for another key")
    return problems


def _key(text: str) -> DevicePublicKey:
    """Return the key of a SubjectPublicKeyInfo (RFC 5280 section 4.1), as base64 of its DER or as PEM.

    Raises ValueError.
    """
    try:
        if text.lstrip().startswith("-----BEGIN"):
            key = load_pem_public_key(text.encode())
        else:
            key = load_der_public_key(base64.b64decode("".join(text.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("the public key can't be parsed") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not is_strong(key):
        raise ValueError("the public key must be P-256, P-384 or RSA of 2048 to 4096 bits")
    return key
