"""Steps of requests that must be refused, and of requests that meet each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from console.cloud import Refused as ConsoleRefused
from device import certificates
from device.patience import Patience
from device.refusal import Action, Refused
from verify.bench import Bench, Unit
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step

_HTTPS = frozenset({Need.FACTORY, Need.HTTPS})
_AT_ONCE = 4
_SOON = 5.0


def refusal(call: Callable[[], object], what: str, *, in_handshake: bool = False) -> Measurement:
    """Return how a call is refused.

    Raises Failed if it is accepted. A missing answer is no refusal, so it is raised as it is, unless the call
    may be refused in a handshake: then the connection ends, with or without a reason.
    """
    try:
        call()
    except Refused as refused:
        if refused.code is None and refused.action is Action.RETRY and not in_handshake:
            raise
        return Measurement(what, refused.code or refused.detail)
    raise Failed(f"{what}: a refusal", "an answer")


def another_name(bench: Bench) -> Measurements:
    """Ask for a certificate in another device's name."""
    unit, other = bench.unit(), bench.name()
    csr = certificates.csr(certificates.new_key())
    yield refusal(lambda: unit.service.enroll(unit.bootstrap, csr, other), "another device's name")
    try:
        bench.operate.call("devices.show", deviceId=other)
    except ConsoleRefused as refused:
        yield Measurement("the other device", str(refused.problem.get("code")))
    else:
        raise Failed("no record of the other device", "a record")


def foreign_ca(way: Need, bench: Bench) -> Measurements:
    """Ask for a certificate with a bootstrap certificate of a CA that no group trusts."""
    name = bench.name()
    unit = bench.unit_of(name, bench.bootstrap(name, issuer=bench.foreign_ca()), way)
    csr = certificates.csr(certificates.new_key())
    call = partial(unit.service.enroll, unit.bootstrap, csr, None)
    yield refusal(call, "a CA that no group trusts", in_handshake=way is Need.MTLS)


def other_board(bench: Bench) -> Measurements:
    """Ask for a device's certificate with another bootstrap certificate of its name and its factory."""
    if not bench.group.pins:
        raise Lacking("a group with pin_bootstrap")
    unit = bench.unit()
    unit.boot()
    other = bench.bootstrap(unit.name)
    csr = certificates.csr(certificates.new_key())
    yield refusal(lambda: unit.service.enroll(other, csr, None), "another board with the name")


def at_once(bench: Bench) -> Measurements:
    """Ask for certificates of one name for several keys at once, and count conflicts and certificates."""
    unit, conflicts = bench.unit(), Counter[str]()
    # A transaction that met another one is repeated at once, as the reference client does. A device that must
    # wait longer has its answer.
    patience = Patience(longest=_SOON, report=lambda refused, _: conflicts.update([_why(refused)]))
    with ThreadPoolExecutor(_AT_ONCE) as together:
        answers = Counter(together.map(lambda _: _answer(unit, patience), range(_AT_ONCE)))
    yield from (Measurement(answer, count) for answer, count in sorted(answers.items()))
    yield from (Measurement(f"repeated after {code}", count) for code, count in sorted(conflicts.items()))
    found = bench.client("s3").list_objects_v2(
        Bucket=bench.outputs("CertificatesBucket"),
        Prefix=f"certificates/{unit.name}/",
        ExpectedBucketOwner=bench.deployed.place.account,
    )
    yield Measurement("certificates in S3", found["KeyCount"])
    if (answers["a certificate"], found["KeyCount"]) != (1, 1):
        raise Failed("one certificate", f"{answers['a certificate']} answers, {found['KeyCount']} objects")


def _answer(unit: Unit, patience: Patience) -> str:
    csr = certificates.csr(certificates.new_key())
    try:
        patience(lambda: unit.service.enroll(unit.bootstrap, csr, None))
    except Refused as refused:
        return _why(refused)
    return "a certificate"


def _why(refused: Refused) -> str:
    return refused.code or refused.detail


STEPS = (
    Step("another device's name is refused", another_name, _HTTPS, spends={Act.CALL: 2, Act.OPERATE: 1}),
    Step(
        "a foreign CA is refused over mTLS",
        partial(foreign_ca, Need.MTLS),
        frozenset({Need.FACTORY, Need.MTLS}),
        after=("first boot over mTLS",),  # otherwise a host that does not answer would pass
        spends={Act.CALL: 1},
    ),
    Step(
        "a foreign CA is refused with signed proofs",
        partial(foreign_ca, Need.PUBLIC),
        frozenset({Need.FACTORY, Need.PUBLIC}),
        spends={Act.CALL: 2},
    ),
    Step(
        "another board with a device's name is refused",
        other_board,
        _HTTPS,
        spends={Act.BOOT: 1, Act.CALL: 1},
    ),
    Step("one certificate for simultaneous requests", at_once, _HTTPS, spends={Act.BOOT: 1, Act.CALL: 4}),
)
