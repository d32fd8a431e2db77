"""Test the cache of credentials that the device's endpoint serves from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from device.credentials import Cache
from device.refusal import Action, Refused

START = datetime(2026, 11, 28, tzinfo=UTC)
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)


class Vending:
    """A service that gives numbered credentials for `lifetime`, or refuses with `refusal`."""

    def __init__(self, lifetime: timedelta = HOUR) -> None:
        self.now, self.lifetime = START, lifetime
        self.refusal: Refused | None = None
        self.requests = 0

    def __call__(self) -> dict[str, str]:
        """Return credentials."""
        self.requests += 1
        if self.refusal:
            raise self.refusal
        end = (self.now + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"AccessKeyId": f"key{self.requests}", "Expiration": end}

    def cache(self, jitter: float = 0) -> Cache:
        """Return a cache in front of this service."""
        return Cache(self, lambda: self.now, lambda: jitter)


def test_one_request_serves_until_a_minute_before_the_end() -> None:
    """Credentials are fetched once, and given out until a minute before they end."""
    service = Vending()
    cache = service.cache()
    first = cache.get()
    service.now += HOUR - timedelta(seconds=61)
    assert cache.get() == first
    service.now += timedelta(seconds=1)
    assert cache.get() != first
    assert service.requests == 2


def test_many_programs_make_one_request() -> None:
    """However many threads ask at once, the service gets one request."""
    service = Vending()
    begun, go = threading.Barrier(20), threading.Event()

    def slow() -> dict[str, str]:
        go.wait(5)
        return service()

    cache = Cache(slow, lambda: service.now)

    def ask() -> dict[str, str]:
        begun.wait(5)
        return cache.get()

    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(ask) for _ in range(20)]
        go.set()
        assert len({each.result()["AccessKeyId"] for each in answers}) == 1
    assert service.requests == 1


@pytest.mark.parametrize(("lifetime", "ahead"), [(HOUR, timedelta(minutes=25)), (QUARTER, QUARTER / 2)])
def test_credentials_in_use_are_replaced_ahead(lifetime: timedelta, ahead: timedelta) -> None:
    """Credentials are replaced before their end; short ones after half of their life."""
    service = Vending(lifetime)
    cache = service.cache()
    first = cache.get()
    service.now = START + lifetime - ahead - timedelta(seconds=1)
    cache.refresh()
    assert service.requests == 1
    service.now += timedelta(seconds=1)
    cache.refresh()
    assert service.requests == 2
    assert cache.get() != first


def test_devices_refresh_at_different_times() -> None:
    """With jitter the replacement is up to a fifth of the time later, and never after the end."""
    service = Vending()
    cache = service.cache(jitter=1)
    cache.get()
    service.now = START + HOUR - timedelta(minutes=20, seconds=1)
    cache.refresh()
    assert service.requests == 1
    service.now += timedelta(seconds=1)
    cache.refresh()
    assert service.requests == 2


def test_unused_credentials_are_not_replaced_twice() -> None:
    """If no program asks any more, the service gets no more requests."""
    service = Vending()
    cache = service.cache()
    cache.get()
    for _ in range(100):
        service.now += timedelta(minutes=10)
        cache.refresh()
    assert service.requests == 2
    cache.refresh()
    cache.get()
    assert service.requests == 3


def _refusals() -> Iterator[tuple[Refused, timedelta]]:
    yield Refused(Action.RETRY, "no answer"), timedelta(seconds=5)
    yield Refused(Action.WAIT, "later", retry_after=90), timedelta(seconds=90)
    yield Refused(Action.WAIT, "much later", retry_after=3_600), timedelta(hours=1)
    yield Refused(Action.WAIT, "next year", retry_after=1e8), timedelta(minutes=65)
    yield Refused(Action.STOP, "revoked"), timedelta(minutes=5)
    yield Refused(Action.REENROLL, "expired", retry_after=1), timedelta(minutes=5)


@pytest.mark.parametrize(("refusal", "pause"), list(_refusals()))
def test_a_refusal_is_remembered(refusal: Refused, pause: timedelta) -> None:
    """While a refusal holds, programs get it without a request; afterwards one request is made."""
    service = Vending()
    service.refusal = refusal
    cache = service.cache()
    for _ in range(10):
        with pytest.raises(Refused, match=refusal.detail):
            cache.get()
    assert service.requests == 1
    service.now += pause - timedelta(seconds=1)
    with pytest.raises(Refused):
        cache.get()
    assert service.requests == 1
    service.refusal, service.now = None, service.now + timedelta(seconds=1)
    assert cache.get()["AccessKeyId"] == "key2"


def test_a_fault_that_passes_leaves_what_is_good() -> None:
    """If a replacement fails, programs get the present credentials until these end."""
    service = Vending()
    cache = service.cache()
    first = cache.get()
    service.refusal = Refused(Action.RETRY, "no answer")
    service.now = START + timedelta(minutes=50)
    with pytest.raises(Refused):
        cache.refresh()
    assert cache.get() == first
    service.now = START + HOUR
    with pytest.raises(Refused):
        cache.get()


@pytest.mark.parametrize("action", [Action.STOP, Action.REENROLL])
def test_a_device_without_rights_gives_out_nothing(action: Action) -> None:
    """When the service says that the device has lost its rights, programs get no older credentials."""
    service = Vending()
    cache = service.cache()
    cache.get()
    service.refusal = Refused(action, "revoked", code="device-revoked")
    service.now = START + timedelta(minutes=40)
    for call in (cache.refresh, cache.get):
        with pytest.raises(Refused, match="revoked"):
            call()


def test_credentials_without_an_end_are_refused() -> None:
    """Credentials whose end can't be read are not given out."""
    numbers = count()
    cache = Cache(lambda: {"AccessKeyId": f"{next(numbers)}", "Expiration": "soon"}, lambda: START)
    with pytest.raises(Refused, match="not a time"):
        cache.get()


def test_a_lasting_outage_is_asked_about_ever_less_often() -> None:
    """The pause between requests doubles with each refusal to five minutes. A success ends that."""
    service = Vending()
    cache = service.cache()

    def pause() -> float:
        with pytest.raises(Refused):
            cache.get()
        asked, began = service.requests, service.now
        while service.requests == asked:
            service.now += timedelta(seconds=5)
            with pytest.raises(Refused):
                cache.get()
        return (service.now - began).total_seconds()

    service.refusal = Refused(Action.RETRY, "no answer")
    assert [pause() for _ in range(8)] == [5, 10, 20, 40, 80, 160, 300, 300]
    service.refusal, service.now = None, service.now + timedelta(minutes=5)
    cache.get()
    service.refusal, service.now = Refused(Action.RETRY, "no answer"), service.now + HOUR
    assert pause() == 5


def test_devices_come_back_from_an_outage_at_different_times() -> None:
    """With jitter the pause after a refusal is up to half shorter."""
    service = Vending()
    service.refusal = Refused(Action.RETRY, "no answer")
    cache = service.cache(jitter=1)
    for seconds, requests in ((0, 1), (2, 1), (0.5, 2)):
        service.now += timedelta(seconds=seconds)
        with pytest.raises(Refused):
            cache.get()
        assert service.requests == requests


def test_a_clock_that_was_set_back_does_not_lengthen_a_refusal() -> None:
    """A refusal ends when the clock shows a time before it."""
    service = Vending()
    service.refusal = Refused(Action.WAIT, "later", retry_after=60)
    cache = service.cache()
    with pytest.raises(Refused):
        cache.get()
    service.refusal, service.now = None, START - timedelta(days=365)
    assert cache.get()["AccessKeyId"] == "key2"


@pytest.mark.parametrize("fault", [PermissionError("denied"), ValueError("no JSON")])
def test_a_state_that_cannot_be_read_is_a_passing_refusal(fault: Exception) -> None:
    """An unreadable state directory is reported to programs, and does not end the thread that refreshes."""

    def fetch() -> dict[str, str]:
        raise fault

    with pytest.raises(Refused, match="cannot be read") as refused:
        Cache(fetch).get()
    assert refused.value.action is Action.RETRY


def test_a_wrong_clock_is_named_and_causes_one_request() -> None:
    """Credentials that have ended by the device's clock are refused, with one request."""
    service = Vending(lifetime=timedelta(seconds=59))
    cache = service.cache()
    for _ in range(5):
        with pytest.raises(Refused, match="set the clock"):
            cache.get()
    assert service.requests == 1
