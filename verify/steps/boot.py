"""Steps of first boots, log-ins and renewals over HTTPS."""

from __future__ import annotations

import shutil
import time
from functools import partial

from device import certificates
from device.refusal import Refused
from device.store import FileIdentity, Identity
from verify.bench import Bench, Unit, once
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step

_HTTPS = frozenset({Need.FACTORY, Need.HTTPS})


def first_boot(way: Need, bench: Bench, *, inline: bool = False) -> Measurements:
    """Boot a new device, and read its record."""
    unit = bench.unit(way, inline=inline)
    begun = time.monotonic()
    answer = unit.boot()
    yield Measurement("from the CSR to the log-in", time.monotonic() - begun, "s")
    if (answer.get("deviceId"), answer.get("status")) != (unit.name, "active"):
        raise Failed(f"{unit.name} to be active", answer)
    yield Measurement("certificate and its CA", len(unit.live.certificate.read_bytes()), "bytes of PEM")
    for which in ("first", "second"):
        begun = time.monotonic()
        record = unit.service.device(unit.live)
        yield Measurement(f"{which} call with it", time.monotonic() - begun, "s")
    if record.get("deviceId") != unit.name:
        raise Failed(f"the record of {unit.name}", record)


def inline(bench: Bench) -> Measurements:
    """Boot a new device that gets the certificate in the answer and makes no call to S3."""
    yield from first_boot(bench.ways[0], bench, inline=True)


def commit(bench: Bench) -> Measurements:
    """Log in twice with a new certificate, and repeat the request of it before."""
    unit = once(bench.unit())
    key = certificates.new_key()
    first, again = (unit.service.enroll(unit.bootstrap, certificates.csr(key), None) for _ in range(2))
    if first.certificate_id != again.certificate_id:
        raise Failed("the same certificate for a repeated request", "another one")
    with unit.store.locked():
        identity = unit.store.keep_next(key, first.chain)
    answers = [unit.service.commit(identity).get("status") for _ in range(2)]
    if answers != ["active", "active"]:
        raise Failed("two log-ins to succeed", answers)
    yield Measurement("certificates of two equal requests", 1)


def renewal(bench: Bench) -> Measurements:
    """Renew a certificate with a new key. Then its predecessor has lost its rights."""
    unit = bench.unit()
    unit.boot()
    former = _copy(unit)
    begun = time.monotonic()
    unit.renew()
    yield Measurement("renewal", time.monotonic() - begun, "s")
    if unit.live.certificate.read_bytes() == former.certificate.read_bytes():
        raise Failed("another certificate", "the former one")
    try:
        unit.service.device(former)
    except Refused as refused:
        yield Measurement("a call with the former certificate", refused.code or refused.detail)
    else:
        raise Failed("the former certificate to be refused", "an answer")


def _copy(unit: Unit) -> Identity:
    """Return a copy of the live identity, which the next renewal does not replace."""
    folder = unit.bootstrap.certificate.parent
    copy = FileIdentity(folder / "former.crt", folder / "former.key")
    shutil.copy(unit.live.certificate, copy.certificate)
    shutil.copy(unit.live.key, copy.key)
    return copy


def same_key(bench: Bench) -> Measurements:
    """Ask for a certificate of the same key before it is time, as a secure element with one key may."""
    unit = bench.unit()
    unit.boot()
    before = unit.live.certificate.read_bytes()
    unit.renew(same_key=True)
    is_same = unit.live.certificate.read_bytes() == before
    yield Measurement("before it is time, the answer is", "the same" if is_same else "another certificate")
    if not is_same:
        raise Failed("the same certificate", "another one")


def expired(_: Bench) -> Measurements:
    """Say that no walk can renew an expired certificate."""
    raise Lacking("a certificate that ends during the walk: the shortest lifetime of a group is a day")
    yield  # the step is a generator, as all are


STEPS = (
    Step(
        "first boot over mTLS",
        partial(first_boot, Need.MTLS),
        frozenset({Need.FACTORY, Need.MTLS}),
        spends={Act.BOOT: 1, Act.CALL: 2},
    ),
    Step(
        "first boot with signed proofs",
        partial(first_boot, Need.PUBLIC),
        frozenset({Need.FACTORY, Need.PUBLIC}),
        spends={Act.BOOT: 1, Act.CALL: 3},
    ),
    Step("first boot with the certificate in the answer", inline, _HTTPS, spends={Act.BOOT: 1, Act.CALL: 2}),
    Step("repeated request and log-in", commit, _HTTPS, spends={Act.BOOT: 1, Act.CALL: 2}),
    Step("renewal", renewal, _HTTPS, spends={Act.BOOT: 2, Act.CALL: 1}),
    Step("renewal with the same key", same_key, _HTTPS, spends={Act.BOOT: 1, Act.CALL: 2}),
    Step("renewal of an expired certificate", expired, _HTTPS),
)
