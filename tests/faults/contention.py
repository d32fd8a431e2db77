"""DynamoDB with transactions that conflict, and many threads that claim from one budget.

DynamoDB cancels a transaction while another one works on one of its items (developer guide, "Transaction
conflict handling in DynamoDB"). moto has no such time, so a transaction holds its items here for a while.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import Enrollment, Limits
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Anchor, CertificateRecord
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from tests.faults import answers
from tests.faults.answers import Request, Response
from tests.faults.wire import Wire

_HELD_SECONDS, _AGAIN_SECONDS = 0.005, 5.0
_NOW = from_epoch(1_800_000_000)
_LATER = _NOW + timedelta(minutes=15)


class Contended(Wire):
    """A wire on which a transaction is cancelled while another one holds one of its items."""

    def __post_init__(self) -> None:
        self.conflicts = 0
        self._held: set[str] = set()
        self._guard = threading.Lock()
        super().__post_init__()

    def answer(self, request: Request) -> Response | None:
        """Return the answer to a request."""
        if request.operation != "TransactWriteItems":
            return super().answer(request)
        items = {
            each["Key"]["pk"]["S"] for item in request.members()["TransactItems"] for each in item.values()
        }
        with self._guard:
            if self._held & items:
                self.conflicts += 1
                return answers.conflict(request)
            self._held |= items
        time.sleep(_HELD_SECONDS)
        try:
            return super().answer(request)
        finally:
            with self._guard:
                self._held -= items


def claim_all(
    client: Any, table: str, devices: int, threads: int, limits: Limits
) -> tuple[Counter[str], Counter[str]]:
    """Let devices claim at the same time; return their first outcomes, and those of repeated requests."""
    records, first = DynamoDevices(client, table), Counter[str]()

    def claim(number: int) -> str:
        asked, tries = _asked(number, limits), 0
        while True:
            tries += 1
            try:
                refused = records.claim(asked)
            except Unavailable:
                outcome = "503"
            else:
                outcome = refused.by.value if refused else "claimed"
            if tries == 1:
                first[outcome] += 1
            if outcome != "503":
                return outcome
            time.sleep(random.uniform(0, _AGAIN_SECONDS))  # noqa: S311 - it keeps nothing secret

    with ThreadPoolExecutor(threads) as crowd:
        return first, Counter(crowd.map(claim, range(devices)))


def _asked(number: int, limits: Limits) -> Enrollment:
    certificate = CertificateRecord(f"{number:x}", f"crowd-{number}", _NOW, _LATER, _LATER, _LATER)
    return Enrollment(
        device_id=DeviceId(f"crowd-{number:04}"),
        group="crowd",
        replaces=False,
        certificate=certificate,
        enrolled_by=f"f{number}",
        bootstrap_ids=frozenset({"f1"}),
        anchor=Anchor("a0", "CN=Factory CA"),
        now=_NOW,
        grace=timedelta(0),
        way="mtls",
        limits=limits,
    )
