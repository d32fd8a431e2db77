"""An identity of one's own: from first boot on, renewed in time, and exactly one certificate each time.

What `boot` finds, and what it does:

    an identity in the making, complete  logs in with it, which makes it the live one
    a live one that may log in           logs in; renews if the service says so, or if that was begun
    a live one that may not              asks with it for what it may still have: the certificate of a
                                         key that was begun (power failed after the log-in that
                                         replaced the live one); if it has expired, one for its own
                                         key (the public host grants that, within the group's grace)
    nothing, or nothing that helps       enrolls with the bootstrap certificate
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from device import certificates
from device.patience import Patience
from device.refusal import Action, Refused
from device.service import Issued, Service
from device.store import Identity, Store


@dataclass(frozen=True)
class Asker:
    """Who asks for a certificate: `ask` takes a CSR (PEM); the certificate must name `device_id`, if
    that is known beforehand.
    """

    ask: Callable[[str], Issued]
    device_id: str | None


@dataclass(frozen=True)
class Device:
    """A device: its state, its service, its patience.

    Each step leaves what the next run needs, so it may be killed between any two instructions.
    """

    store: Store
    service: Service
    patience: Patience

    def boot(self, bootstrap: Identity, device_id: str | None = None) -> dict[str, Any]:
        """Log in, getting an identity first if there is none that works; `device_id` is the name to
        enroll under.

        Returns the service's answer to the log-in. If the live identity works but its renewal was
        refused, that is no failure: the answer's `renewal` says why. Raises Refused.
        """
        if answer := self._carried_on():
            return answer
        if live := self.store.live():
            try:
                answer = self.patience(lambda: self.service.commit(live))
            except Refused as refusal:
                _only_reenroll(refusal)
                if new := self._still_granted(live, refusal):
                    return self._take_over(new)
            else:
                return self._kept_fresh(live, answer)
        factory = Asker(lambda csr: self.service.enroll(bootstrap, csr, device_id), device_id)
        return self._take_over(self._obtain(factory))

    def renew(self, *, same_key: bool = False) -> dict[str, Any]:
        """Get the next certificate now, due or not, and log in with it; or with the one that an
        earlier run got and did not log in with.

        Returns the service's answer to the log-in. Raises Refused.
        """
        if answer := self._carried_on():
            return answer
        live = self.store.live()
        if live is None:
            raise Refused(Action.REENROLL, "There is no identity to renew")
        key = live.key.read_bytes() if same_key else None
        return self._take_over(self._obtain(self._owner(live), key))

    def _obtain(self, asker: Asker, key: bytes | None = None, patience: Patience | None = None) -> Identity:
        """Steps 1 to 3: a certificate for `key`, or for a new one."""
        # 1. The key, on disk before anyone hears of it: the service certifies one key, not two.
        certified = key or self.store.next_key() or self._begin()
        # 2. Ask, fetch, check: repeated as one, since a new URL comes only with a new answer.
        chain = (patience or self.patience)(lambda: _obtained(asker, certified))
        # 3. On disk before the log-in.
        return self.store.keep_next(certified, chain)

    def _take_over(self, new: Identity) -> dict[str, Any]:
        """Steps 4 and 5: the identity in the making becomes the live one."""
        # 4. Log back in: only this makes the certificate the device's own.
        answer = self.patience(lambda: self.service.commit(new))
        # 5. Only now may an older identity go.
        self.store.promote()
        return answer

    def _carried_on(self) -> dict[str, Any] | None:
        """Finish what an earlier run got as far as step 3, if the service still takes it."""
        self.store.settle()
        new = self.store.next()
        if new is None:
            return None
        try:
            return self._take_over(new)
        except Refused as refusal:
            _only_reenroll(refusal)
            self.store.forget_next()
            return None

    def _kept_fresh(self, live: Identity, answer: dict[str, Any]) -> dict[str, Any]:
        # A device that works must not wait for a renewal that can be had later: one try.
        try:
            if not self.store.next_key() and self.service.device(live).get("renew") is not True:
                return answer
            new = self._obtain(self._owner(live), patience=replace(self.patience, tries=1))
        except Refused as refusal:
            return answer | {"renewal": refusal.members()}
        # From here on the service may have taken the live identity's rights: this must not fail quietly.
        return self._take_over(new)

    def _still_granted(self, live: Identity, refusal: Refused) -> Identity | None:
        """What `live`, whose log-in got `refusal`, could get nevertheless."""
        own = live.key.read_bytes() if refusal.code == "certificate-expired" else None
        for key in filter(None, (self.store.next_key(), own)):
            try:
                return self._obtain(self._owner(live), key)
            except Refused as again:
                _only_reenroll(again)
        return None

    def _owner(self, live: Identity) -> Asker:
        name = certificates.common_name(live.certificate.read_bytes())
        return Asker(lambda csr: self.service.renew(live, csr), name)

    def _begin(self) -> bytes:
        key = certificates.new_key()
        self.store.keep_next_key(key)
        return key


def _only_reenroll(refusal: Refused) -> None:
    if refusal.action is not Action.REENROLL:
        raise refusal


def _obtained(asker: Asker, key: bytes) -> bytes:
    issued = asker.ask(certificates.csr(key))
    certificates.check(
        issued.chain,
        key,
        device_id=asker.device_id or issued.device_id,
        certificate_id=issued.certificate_id,
        moment=issued.moment,
    )
    return issued.chain
