"""Note the outcome of a request for a certificate in the log and in the metrics, over any protocol."""

from __future__ import annotations

from collections.abc import Callable

from firstboot.domain.errors import DeviceNotExpected
from firstboot.domain.ways import Way
from firstboot.exchange.issue import Claimed, Issued
from firstboot.runtime.guard import Guard


def certify(work: Callable[[], Issued | Claimed], way: Way | None, guard: Guard) -> Issued | Claimed:
    """Return the outcome of `work`, which certifies the key of a device that asks in a way, and note it.

    Raises what `work` raises.
    """
    guard.about(way=way)
    try:
        outcome = work()
    except DeviceNotExpected:
        guard.count("NameGuessed")
        raise
    guard.about(deviceId=outcome.device_id)
    if outcome.anchor:
        guard.about(anchor=outcome.anchor.key, anchorSubject=outcome.anchor.subject)
    if isinstance(outcome, Issued):
        guard.info("certificate issued", serial=outcome.record.serial, by=outcome.by)
        guard.count("CertificateIssued")
    else:
        guard.warning("certificate delayed", reason=outcome.reason)
        guard.count("CertificateDelayed")
    return outcome
