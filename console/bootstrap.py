"""Make bootstrap certificates, one at a time, in a production run's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from console.production import Folder
from firstboot.domain.clock import iso
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId, IdRule, device_id
from firstboot.pki import chain
from firstboot.pki.profile import Issuer, bootstrap_certificate, unwritable
from firstboot.pki.signature import DevicePublicKey

COLUMNS = ("deviceId", "certificateId", "serial", "notAfter")
DIGITS = 6
CLAIM = "claim-"


@dataclass(frozen=True)
class Wanted:
    """A certificate to make: its common name, and its key in a secure element, or None to make a key here.

    `placed` are values of its other fields; see profile.bootstrap_certificate.
    """

    name: str
    key: DevicePublicKey | None = None
    placed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Terms:
    """The issuer and the lifetime of all certificates of a run. `above` is the PEM after each in its file."""

    issuer: Issuer
    above: bytes
    now: datetime
    not_after: datetime


def device_ids(group: Group, prefix: str, start: int, count: int, rule: IdRule) -> Iterator[DeviceId]:
    """Return `count` ids of devices of the group by the fleet's `rule`, numbered from `start`.

    Raises DeviceIdInvalid at once if the last id is invalid, or if the group can't have one of them. The
    first and the last are the shortest and the longest, so the others are valid if these two are.
    """
    numbers = range(start, start + count)
    device_id(f"{prefix}{numbers[-1]:0{DIGITS}d}", rule)
    texts = [f"{prefix}{number:0{DIGITS}d}" for number in numbers]
    if outside := next((each for each in texts if not group.may_name(each)), None):
        raise DeviceIdInvalid(f"group {group.name} has {group.space}, and {outside} is another")
    if problem := unwritable(group, texts[0]):
        raise DeviceIdInvalid(problem)
    return (device_id(each, rule) for each in texts)


def issue(folder: Folder, terms: Terms, wanted: Iterable[Wanted]) -> Iterator[bool]:
    """Give each of `wanted` its certificate and its row. Yield, for each, whether it had both before.

    Raises Refused before the files of a device that the disk would take for another's.
    """
    recorded = folder.recorded()
    names = {name.lower(): name for name in recorded}
    with folder.working(COLUMNS) as manifest:
        for each in wanted:
            if each.name not in recorded:
                folder.check_apart(each.name, names.setdefault(each.name.lower(), each.name))
                manifest.add(_row(each.name, _certificate(folder, terms, each)))
                manifest.sync()
            yield each.name in recorded


def issue_claim(folder: Folder, terms: Terms, group: Group, ids: Iterable[DeviceId]) -> Iterator[bool]:
    """Make the claim certificate that the devices share, and give each device its row. Yield, for each,
    whether it had its row before.
    """
    recorded = folder.recorded()
    with folder.working(COLUMNS[:1]) as manifest:
        _certificate(folder, terms, Wanted(_claim(folder, group, terms.now)))
        for name in ids:
            if name not in recorded:
                manifest.add([name])
            yield name in recorded


def _claim(folder: Folder, group: Group, now: datetime) -> str:
    """Return the claim certificate's name, which is the one of an earlier attempt if there was one.

    The name contains the day, and the earlier attempt may have been made on another day.
    """
    keys = sorted(folder.path.glob(f"{CLAIM}*.key"))
    # A common name has at most 64 characters (RFC 5280 appendix A.1), and so does a group's name.
    return keys[0].stem if keys else f"{CLAIM}{group.name[:48]}-{now:%Y%m%d}"


def _certificate(folder: Folder, terms: Terms, wanted: Wanted) -> x509.Certificate:
    found = folder.certificate(wanted.name)
    if found and found.public_key() == (wanted.key or folder.key(wanted.name)):
        return found
    key = wanted.key or folder.make_key(wanted.name)
    leaf = bootstrap_certificate(terms.issuer, wanted.name, key, terms.now, terms.not_after, wanted.placed)
    folder.put(f"{wanted.name}.pem", leaf.public_bytes(Encoding.PEM) + terms.above)
    return leaf


def _row(name: str, leaf: x509.Certificate) -> list[str]:
    return [name, chain.fingerprint(leaf), f"{leaf.serial_number:x}", iso(leaf.not_valid_after_utc)]
