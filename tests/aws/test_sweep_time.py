"""The sweep ends for any cost of a device or a policy, and a plan's page ends in time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain, count, cycle, takewhile
from types import SimpleNamespace
from typing import Any

import botocore.client
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.aws.iot.policies import IotPolicies
from firstboot.domain.device import Device
from firstboot.domain.errors import Unavailable
from firstboot.domain.sweep import SLICE
from firstboot.operate import fleet as operate_fleet
from firstboot.policy.attachment import needs_reconciling
from firstboot.register import sweep
from firstboot.register.sweep import RUN_SECONDS
from tests.aws.product import CONTEXT, Product
from tests.aws.sweeping import GRANTS, MQTT, RULES, Sweeper

DEVICES = 7
NEEDING = [f"gw-{number}" for number in range(2, DEVICES)]


class Died(BaseException):
    """The end of a Lambda's process, which no code can catch."""


@dataclass
class Timed:
    """The sweep with a clock that each device and policy moves by its cost, in seconds.

    A process dies before the device whose turn `deaths` says, and when its time is over.
    """

    sweeper: Sweeper
    costs: Iterator[float] = field(default_factory=lambda: cycle([0.0]))
    deaths: Iterator[bool] = field(default_factory=lambda: cycle([False]))
    looked: list[str] = field(default_factory=list)
    fleets: Iterator[int] = field(default_factory=count)
    end: Any = None

    def work(self) -> None:
        """Let the time pass that one device or policy takes."""
        self.sweeper.now += timedelta(seconds=next(self.costs))
        if self.sweeper.now >= self.end or next(self.deaths):
            raise Died

    def run(self) -> bool:
        """Run the sweep a minute after the last run began; return whether it finished the sweep."""
        begin = self.sweeper.now
        self.end = begin + timedelta(seconds=RUN_SECONDS)
        context: Any = SimpleNamespace(
            **vars(CONTEXT),
            get_remaining_time_in_millis=lambda: (self.end - self.sweeper.now).total_seconds() * 1000,
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Died):
            self.sweeper.product.lambdas.sweep({}, context)
        self.sweeper.now = begin + timedelta(minutes=1)
        return self.sweeper.row().finished_at is not None


@pytest.fixture
def timed(product: Product, monkeypatch: pytest.MonkeyPatch) -> Timed:
    """Return a sweep with three rows a page and seven devices, of which AWS IoT has two as it should."""
    made = Timed(Sweeper(product))
    monkeypatch.setattr(sweep, "PAGE", 3)
    monkeypatch.setattr(sweep, "LEAST_ROWS", 2)
    monkeypatch.setattr(operate_fleet, "PAGE", 5)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", "0")
    product.lambdas.clock = lambda: made.sweeper.now
    product.publish(grants=GRANTS, rules=RULES)
    for number in range(DEVICES):
        attached = {"mqtt"} if number < 2 else set()
        made.sweeper.device(f"gw-{number}", attached, enrolledBy="f0", anchor="ab", anchorSubject="CN=x")

    def needing(rules: Any, device: Device, now: Any) -> bool:
        made.work()
        made.looked.append(device.device_id)
        return needs_reconciling(rules, device, now)

    monkeypatch.setattr(sweep, "needs_reconciling", needing)
    monkeypatch.setattr(operate_fleet, "needs_reconciling", needing)
    return made


def begin(timed: Timed) -> None:
    """Publish another fleet, so that a sweep begins anew."""
    timed.sweeper.product.publish(grants=GRANTS, rules=f"{RULES} // {next(timed.fleets)}")
    timed.looked.clear()


COSTS = st.lists(st.floats(0, 8), min_size=1, max_size=12)
DEATHS = st.lists(st.booleans(), max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(COSTS, DEATHS)
def test_a_sweep_ends_at_any_cost(timed: Timed, costs: list[float], deaths: list[bool]) -> None:
    """For any costs and deaths a sweep ends, orders the right devices, and counts each device exactly once.

    Without a death it looks at each device once.
    """
    begin(timed)
    timed.costs, timed.deaths = cycle(costs), chain(deaths, cycle([False]))
    finished = any(timed.run() for _ in range(3 * DEVICES + len(deaths)))
    row = timed.sweeper.row()
    assert finished
    assert (row.scanned, row.touched, row.policy, row.after) == (DEVICES, len(NEEDING), None, None)
    assert row.origins
    assert row.origins.devices == {"gateways": {"ab": DEVICES}}
    assert sorted(set(timed.looked)) == [f"gw-{number}" for number in range(DEVICES)]
    orders = timed.sweeper.ordered()
    assert sorted(set(orders)) == NEEDING
    if not any(deaths):
        assert len(timed.looked) == DEVICES
        assert orders == NEEDING


def test_progress_is_saved_within_a_page(timed: Timed) -> None:
    """A run that dies within a page leaves the devices that an earlier slice of the page looked at."""
    begin(timed)
    timed.costs = cycle([SLICE.total_seconds()])
    timed.deaths = chain([False, False, True], cycle([False]))
    assert not timed.run()
    row = timed.sweeper.row()
    assert (row.scanned, row.after) == (2, f"DEV#{timed.looked[1]}")
    timed.looked.clear()
    while not timed.run():
        pass
    assert len(timed.looked) == DEVICES - 2
    assert timed.sweeper.row().scanned == DEVICES


def test_the_rows_of_a_page_follow_the_time(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a page that took too long a smaller one is read, and after one in time a larger one."""
    monkeypatch.setattr(sweep, "PAGE", 100)
    asked: list[int] = []
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "Scan":
            asked.append(parameters["Limit"])
        return make(self, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    begin(timed)
    timed.costs = chain([3, 3], cycle([0]))  # the first page has time for two devices
    timed.run()
    assert asked == [100, 4, 8]


def test_the_policies_of_many_grants_are_written_over_several_runs(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each policy is brought up to date once a sweep and before any device, however long each takes."""
    names = [f"Firstboot-grant-g{number}" for number in range(6)]
    ensure = IotPolicies.ensure
    made: list[str] = []

    def slow(self: IotPolicies, name: str, document: str) -> None:
        if name in names:
            timed.work()
            made.append(name)
        ensure(self, name, document)

    monkeypatch.setattr(IotPolicies, "ensure", slow)
    grants = {f"g{number}": MQTT for number in range(6)}
    timed.sweeper.product.publish(grants=grants, rules=RULES)
    timed.costs = cycle([20.0])
    runs = list(takewhile(lambda _: not timed.run(), count()))
    assert len(runs) > 2
    assert made == names
    assert timed.sweeper.policies().keys() == set(names)
    assert sorted(timed.looked) == [f"gw-{number}" for number in range(DEVICES)]


def test_policies_before_a_throttle_count(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS IoT may throttle after any two policies, and the sweep ends."""
    ensure: Callable[..., None] = IotPolicies.ensure
    left = [0]

    def throttled(self: IotPolicies, name: str, document: str) -> None:
        if not left[0]:
            raise Unavailable(log="ThrottlingException")
        left[0] -= 1
        ensure(self, name, document)

    timed.run()
    monkeypatch.setattr(IotPolicies, "ensure", throttled)
    grants = {f"g{number}": MQTT for number in range(6)}
    timed.sweeper.product.publish(grants=grants, rules=RULES)
    for _ in range(4):
        left[0] = 2
        timed.run()
    assert timed.sweeper.row().finished_at is not None
    assert len(timed.sweeper.policies()) == 6


def test_a_page_of_a_plan_ends_in_time(timed: Timed) -> None:
    """A plan's page ends when its time is over, and the pages together have each device once."""
    timed.end = timed.sweeper.now + timedelta(days=1)
    timed.costs = cycle([2.0])
    product = timed.sweeper.product
    definition = product.operate("fleet.show")["result"]["inForce"]["fleet"]
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["next"]:
        after = pages[-1]["next"] if pages else None
        pages.append(product.operate("fleet.plan", fleet=definition, after=after)["result"])
    looked = [page["scanned"] for page in pages]
    assert max(looked) == 3  # the time is over after the third device
    assert sum(looked) == len(timed.looked) == DEVICES
    assert sum(page["touched"] for page in pages) == len(NEEDING)
    assert sum(page["groups"].get("gateways", 0) for page in pages) == DEVICES
