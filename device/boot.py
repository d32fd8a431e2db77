"""First boot: from a bootstrap certificate to an identity of one's own, exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device import certificates
from device.patience import Patience
from device.refusal import Action, Refused
from device.service import Service
from device.store import Identity, Store


@dataclass(frozen=True)
class Wish:
    """What to enroll with, and as. `inline` asks for the certificate in the answer, for a device
    that can't reach S3.
    """

    bootstrap: Identity
    device_id: str | None = None
    inline: bool = False


def boot(store: Store, service: Service, wish: Wish, patience: Patience) -> dict[str, Any]:
    """Log in, with a certificate enrolled for if need be; carries on where an earlier run ended.

    Each step leaves what the next run needs, so this may be killed between any two instructions.
    Returns the service's answer to the log-in. Raises Refused.
    """
    store.settle()
    if begun := store.next():
        if answer := _log_in(service, begun, patience):
            store.promote()
            return answer
        store.forget_next()
    if (live := store.live()) and (answer := _log_in(service, live, patience)):
        return answer
    # 1. The key, on disk before anyone hears of it: the service certifies one key, not two.
    key = store.next_key() or _begin(store)
    # 2. Ask, fetch, check: repeated as one, since a new URL comes only with a new answer.
    chain = patience(lambda: _obtain(service, wish, key))
    # 3. On disk before the log-in.
    new = store.keep_next_chain(chain)
    # 4. Log back in: only this makes the certificate the device's own.
    answer = patience(lambda: service.commit(new))
    # 5. Only now may an older identity go.
    store.promote()
    return answer


def _log_in(service: Service, identity: Identity, patience: Patience) -> dict[str, Any] | None:
    """The service's answer, or None if it wants a new enrollment."""
    try:
        return patience(lambda: service.commit(identity))
    except Refused as refusal:
        if refusal.action is Action.REENROLL:
            return None
        raise


def _begin(store: Store) -> bytes:
    key = certificates.new_key()
    store.keep_next_key(key)
    return key


def _obtain(service: Service, wish: Wish, key: bytes) -> bytes:
    issued = service.enroll(
        wish.bootstrap, certificates.csr(key), device_id=wish.device_id, inline=wish.inline
    )
    certificates.check(
        issued.chain,
        key,
        device_id=wish.device_id or issued.device_id,
        certificate_id=issued.certificate_id,
        moment=issued.moment,
    )
    return issued.chain
