"""Get an identity at first boot and renew it in time, with exactly one certificate each time.

`boot` acts on what it finds in the state directory:

    the next identity, complete          logs in with it, which makes it the live one
    a live identity that can log in      logs in; renews if the service says so or a renewal has begun
    a live identity that can't log in    asks with it for a certificate of the next key (which may have been
                                         lost after the log-in that replaced the live identity); if the live
                                         certificate has expired, for one of its own key (the public host
                                         grants that within the group's grace period)
    neither, or the above was refused    enrolls with the bootstrap certificate
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import certificates
from .patience import Patience
from .refusal import Action, ConnectionEnded, Refused
from .service import Issued, Service
from .store import Identity, Store


@dataclass(frozen=True)
class Requester:
    """The identity that requests a certificate.

    `ask` sends a CSR (PEM). The certificate must name `device_id`, unless that is None because the service
    chooses the name.
    """

    ask: Callable[[str], Issued]
    device_id: str | None


@dataclass(frozen=True)
class Device:
    """A device: its state directory, its service, and how often it repeats a call.

    `first_wait` is called before the first request of a boot that finds no identity. `new_key` makes each new
    key, and `forget_keys` destroys those of them in hardware that are in use no longer.

    Each step stores what the next run needs, so the process may be killed between any two instructions.
    """

    store: Store
    service: Service
    patience: Patience
    first_wait: Callable[[], None] = lambda: None
    new_key: Callable[[], bytes] = certificates.new_key
    forget_keys: Callable[[], None] = lambda: None

    def boot(self, bootstrap: Identity, device_id: str | None = None) -> dict[str, Any]:
        """Log in; get an identity first if none works. `device_id` is the name to enroll under.

        Returns the service's answer to the log-in. A live identity that works is a success even if its
        renewal was refused: the answer's `renewal` then holds the refusal. Raises Refused.
        """
        if answer := self._finish_next():
            return answer
        if live := self.store.live():
            try:
                answer = self.patience(lambda: self.service.commit(live))
            except Refused as refusal:
                # Over MQTT a superseded certificate may not log in, and the broker gives no reason. A request
                # for the next key's certificate is right in any case, because a renewal has begun.
                if not (isinstance(refusal, ConnectionEnded) and self.store.next_key()):
                    _only_reenroll(refusal)
                if new := self._recover(live, refusal):
                    return self._take_over(new)
            else:
                return self._renew_if_due(live, answer)
        else:
            # Nothing is stored about the wait. After a power cut in the middle of it all devices draw again.
            self.first_wait()
        factory = Requester(lambda csr: self.service.enroll(bootstrap, csr, device_id), device_id)
        return self._take_over(self._obtain(factory))

    def renew(self, *, same_key: bool = False) -> dict[str, Any]:
        """Get the next certificate now, due or not, and log in with it. If an earlier run got one and did not
        log in, log in with that one.

        Returns the service's answer to the log-in. Raises Refused.
        """
        if answer := self._finish_next():
            return answer
        live = self.store.live()
        if live is None:
            raise Refused(Action.REENROLL, "There is no identity to renew")
        key = live.key.read_bytes() if same_key else None
        return self._take_over(self._obtain(self._owner(live), key))

    def _obtain(
        self, requester: Requester, key: bytes | None = None, patience: Patience | None = None
    ) -> Identity:
        """Do steps 1 to 3: get a certificate for `key`, for the next key, or for a new key."""
        # 1. Store the key before its CSR is sent, because the service certifies one key at a time.
        certified = key or self.store.next_key() or self._begin()
        # 2. Request, download and check. They are repeated together, because only a new answer has a new URL.
        chain = (patience or self.patience)(lambda: _obtained(requester, certified))
        # 3. Store the certificate before the log-in.
        return self.store.keep_next(certified, chain)

    def _take_over(self, new: Identity) -> dict[str, Any]:
        """Do steps 4 and 5: log in with the next identity and make it the live one."""
        # 4. Log in. Only this commits the certificate.
        answer = self.patience(lambda: self.service.commit(new))
        # 5. Only now replace the older identity.
        self.store.promote()
        self.forget_keys()
        return answer

    def _finish_next(self) -> dict[str, Any] | None:
        """Do steps 4 and 5 for an identity that an earlier run stored, if the service still accepts it."""
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

    def _renew_if_due(self, live: Identity, answer: dict[str, Any]) -> dict[str, Any]:
        # One try only: a device that works must not wait for a renewal that a later run can do.
        try:
            if not self.store.next_key() and self.service.device(live).get("renew") is not True:
                return answer
            new = self._obtain(self._owner(live), patience=replace(self.patience, tries=1))
        except Refused as refusal:
            return answer | {"renewal": refusal.members()}
        # From here on the live identity may have lost its rights, so a refusal must be raised.
        return self._take_over(new)

    def _recover(self, live: Identity, refusal: Refused) -> Identity | None:
        """Return the identity that `live` can still get although its log-in was refused, or None."""
        own = live.key.read_bytes() if refusal.code == "certificate-expired" else None
        for key in filter(None, (self.store.next_key(), own)):
            try:
                return self._obtain(self._owner(live), key)
            except Refused as again:
                _only_reenroll(again)
        return None

    def _owner(self, live: Identity) -> Requester:
        name = certificates.common_name(live.certificate.read_bytes())
        return Requester(lambda csr: self.service.renew(live, csr), name)

    def _begin(self) -> bytes:
        key = self.new_key()
        self.store.keep_next_key(key)
        return key


def _only_reenroll(refusal: Refused) -> None:
    if refusal.action is not Action.REENROLL:
        raise refusal


def _obtained(requester: Requester, key: bytes) -> bytes:
    issued = requester.ask(certificates.csr(key))
    certificates.check(
        issued.chain,
        key,
        device_id=requester.device_id or issued.device_id,
        certificate_id=issued.certificate_id,
        moment=issued.moment,
    )
    return issued.chain
