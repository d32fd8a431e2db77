"""Steps of first boots, log-ins and renewals over HTTPS."""

from __future__ import annotations

import time
from functools import partial

from verify.bench import Bench
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step

_MTLS = "first boot over mTLS"
_PROOF = "first boot with signed proofs"
_INLINE = "first boot with the certificate in the answer"


def first_boot(way: Need, bench: Bench, *, inline: bool = False) -> Measurements:
    """Boot a new device, and log in once more."""
    unit = bench.unit(way, inline=inline)
    begun = time.monotonic()
    answer = unit.boot()
    yield Measurement("from the CSR to the log-in", time.monotonic() - begun, "s")
    if (answer.get("deviceId"), answer.get("status")) != (unit.name, "active"):
        raise Failed(f"{unit.name} to be active", answer)
    yield Measurement("certificate and its CA", len(unit.live.certificate.read_bytes()), "bytes of PEM")
    begun = time.monotonic()
    record = unit.service.device(unit.live)
    yield Measurement("next call", time.monotonic() - begun, "s")
    if record.get("deviceId") != unit.name:
        raise Failed(f"the record of {unit.name}", record)


STEPS = (
    Step(
        _MTLS,
        partial(first_boot, Need.MTLS),
        frozenset({Need.FACTORY, Need.MTLS}),
        spends={Act.BOOT: 1, Act.CALL: 1},
    ),
    Step(
        _PROOF,
        partial(first_boot, Need.PUBLIC),
        frozenset({Need.FACTORY, Need.PUBLIC}),
        spends={Act.BOOT: 1, Act.CALL: 2},
    ),
)
