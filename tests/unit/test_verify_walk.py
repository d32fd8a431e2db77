"""The walk of `make verify-aws` takes, skips and fails its steps, and cleans up, without AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from console.cloud import Operate, Refused
from device.refusal import Action
from device.refusal import Refused as DeviceRefused
from firstboot.policy.render import Place
from verify import __main__ as main
from verify import cleaning, leftovers, report, spending
from verify.bench import Addresses, Bench
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Outcome, Result, Step
from verify.steps import STEPS
from verify.walk import walk

_NO_RETRY = 10.0


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the walk ask without pauses whether its devices are gone."""
    monkeypatch.setattr(cleaning, "_EVERY", 0.0)


class Devices:
    """An `operate` with devices, of which those in `stuck` can't be deleted and those in `slow` stay."""

    where = "stack Firstboot in us-east-1, account 123456789012"

    def __init__(self, *names: str, stuck: tuple[str, ...] = (), slow: tuple[str, ...] = ()) -> None:
        self.names = list(names)
        self.stuck = stuck
        self.slow = slow

    def devices(self) -> Iterator[dict[str, Any]]:
        """Return the records of all devices."""
        return iter([{"deviceId": name} for name in self.names])

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Delete a device."""
        assert operation == "devices.delete"
        name = parameters["deviceId"]
        if name in self.stuck:
            raise Refused({"code": "device-not-revocable", "detail": "no"})
        if name not in self.slow:
            self.names.remove(name)
        return {}


def bench(operate: Devices | None = None, *missing: Need) -> Bench:
    """Return a bench without a cloud."""
    place = Place("aws", "us-east-1", "123456789012")
    return Bench(
        operate=cast("Operate", operate or Devices()),
        deployed=cast("Any", SimpleNamespace(stack="Firstboot", place=place, outputs={})),
        fleet=cast("Any", SimpleNamespace(groups={}, grants={}, hash="f" * 64)),
        addresses=Addresses(None, None, None, None),
        factories={},
        folder=Path("unused"),
        missing=frozenset(missing),
    )


def step(name: str, error: Exception | None = None, **more: Any) -> Step:
    """Return a step that measures one thing and then raises `error`."""

    def run(_: Bench) -> Measurements:
        yield Measurement("size", 1, "byte")
        if error:
            raise error

    return Step(name, run, **more)


def taken(*steps: Step, missing: tuple[Need, ...] = ()) -> dict[str, Result]:
    """Walk the steps, and return their results by name."""
    return {result.step: result for result in walk(steps, bench(None, *missing))}


def test_a_step_without_its_need_is_skipped_by_name() -> None:
    """A step whose need is missing is not run, and its result says what is missing."""
    skipped = taken(step("one", needs=frozenset({Need.MTLS})), missing=(Need.MTLS,))["one"]
    assert (skipped.outcome, skipped.reason) == (Outcome.SKIPPED, f"it needs {Need.MTLS}")
    assert not skipped.measurements


def test_what_turns_out_to_be_lacking_skips_the_step() -> None:
    """A step that finds out what the environment lacks counts as skipped."""
    result = taken(step("one", Lacking("a pony")))["one"]
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "it needs a pony")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Failed("a letter", "nothing"), "expected a letter, saw nothing"),
        (DeviceRefused(Action.STOP, "no", code="device-revoked"), "Refused (device-revoked): no"),
        (Refused({"code": "fleet-invalid", "detail": "no"}), "Refused (fleet-invalid): no"),
        (KeyError("MtlsUrl"), "KeyError: 'MtlsUrl'"),
    ],
    ids=["Failed", "device", "operate", "output"],
)
def test_a_failure_ends_only_the_steps_after_it(error: Exception, reason: str) -> None:
    """A failed step keeps what it measured and its reason. Only steps that need it are not taken."""
    found = taken(step("one", error), step("two", after=("one",)), step("three"))
    assert (found["one"].outcome, found["one"].reason) == (Outcome.FAILED, reason)
    assert [str(each) for each in found["one"].measurements] == ["size: 1 byte"]
    assert (found["two"].outcome, found["two"].reason) == (Outcome.SKIPPED, 'the step "one" did not pass')
    assert found["three"].outcome is Outcome.PASSED


def test_a_group_without_a_factory_is_lacking() -> None:
    """A step that needs a group whose CA the operator did not give is skipped with what is missing."""

    def run(here: Bench) -> Measurements:
        yield Measurement("group", here.group_with(lambda _: True, "a group of fridges").name)

    assert taken(Step("one", run))["one"].reason == "it needs a group of fridges, with the key of its CA"


def test_the_steps_fit_together() -> None:
    """Each step has a name of its own, comes after those that it names, and says what its devices cost."""
    names = [each.name for each in STEPS]
    assert len(names) == len(set(names))
    for number, each in enumerate(STEPS):
        assert set(each.after) <= set(names[:number])


def test_only_ids_of_walks_are_removed() -> None:
    """A walk's devices are removed, also an earlier walk's, and every other device stays."""
    operate = Devices("gw-1", "verify-0123abcd-1", "x-verify-0123abcd-22", "verify-1", "verify-0123abcd-1-x")
    assert cleaning.others(cast("Operate", operate)) == ["gw-1", "verify-1", "verify-0123abcd-1-x"]
    assert cleaning.remove(cast("Operate", operate)) == []
    assert operate.names == ["gw-1", "verify-1", "verify-0123abcd-1-x"]


def test_what_stays_is_named() -> None:
    """The walk waits for devices that are being deleted, and names those that it could not remove."""
    stuck, slow = "verify-0123abcd-1", "verify-0123abcd-2"
    operate, times = Devices(stuck, slow, stuck=(stuck,), slow=(slow,)), iter([0.0, 1.0, 601.0])
    left = cleaning.remove(cast("Operate", operate), lambda: next(times), lambda _: None)
    assert sorted(left) == [
        f"device {stuck}: Refused (device-not-revocable): no",
        f"device {slow}: it is still being deleted",
    ]


@pytest.mark.parametrize(("failures", "left"), [(4, 0), (5, 1)], ids=["passing", "lasting"])
def test_a_removal_that_fails_is_repeated(failures: int, left: int) -> None:
    """The walk repeats a call that did not answer some times, and then names what is left."""
    operate = Devices("verify-0123abcd-1", "verify-0123abcd-2")
    problems = iter([Refused({"code": "unavailable", "detail": "no", "action": "retry"})] * failures)
    delete = operate.call

    def call(operation: str, **parameters: Any) -> dict[str, Any]:
        if problem := next(problems, None):
            raise problem
        return delete(operation, **parameters)

    operate.call = call  # type: ignore[method-assign]
    assert len(cleaning.remove(cast("Operate", operate), lambda: 0.0, lambda _: None)) == left
    assert bool(operate.names) == bool(left)


def test_what_has_no_record_is_removed_last_first() -> None:
    """A walk also removes what has no device record, and names a removal that AWS refuses."""
    removed, here = list[str](), bench()

    def refused() -> None:
        raise EndpointConnectionError(endpoint_url="https://iot")

    here.at_end += [("one", lambda: removed.append("one")), ("two", refused)]
    (left,) = cleaning.remove_all(here)
    assert left.startswith("two: EndpointConnectionError")
    assert removed == ["one"]


def _interrupt(_: Bench) -> Measurements:
    yield Measurement("size", 1)
    raise KeyboardInterrupt


def test_an_interrupted_walk_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C the walk removes its devices and keeps the results so far."""
    operate = Devices("verify-0123abcd-1")
    monkeypatch.setattr(main, "STEPS", (step("one"), Step("two", _interrupt), step("three")))
    results, left, cut = main._walked(bench(operate))
    assert ([each.step for each in results], left, cut) == (["one"], [], "interrupted after 1 steps")
    assert operate.names == []


def test_an_unforeseen_error_leaves_no_device_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the walk itself ends it, but not before its devices are removed."""
    operate = Devices("verify-0123abcd-1")
    monkeypatch.setattr(main, "STEPS", (step("one", TypeError("ours")),))
    with pytest.raises(TypeError):
        main._walked(bench(operate))
    assert operate.names == []


def test_a_stack_with_devices_is_refused() -> None:
    """The walk refuses a stack that has a device of its owner, and removes nothing."""
    operate = Devices("gw-1", "verify-0123abcd-1")
    with pytest.raises(Refused, match="has devices"):
        main._check(bench(operate), yes=True)
    assert operate.names == ["gw-1", "verify-0123abcd-1"]


@pytest.mark.parametrize("dollar", [0.000_001, 100.0], ids=["dear", "cheap"])
def test_it_asks_before_it_spends_more(monkeypatch: pytest.MonkeyPatch, dollar: float) -> None:
    """Above a dollar the walk needs an agreement, which is `--yes` where there is no terminal."""
    monkeypatch.setattr(spending, "ASKS_ABOVE", dollar)
    monkeypatch.setattr("console.output.can_ask", lambda: False)
    monkeypatch.setattr(leftovers, "sweep", lambda _: 0)
    refuses = dollar < spending.dollars(report.acts(bench()))
    if refuses:
        with pytest.raises(Refused, match="--yes agrees"):
            main._check(bench(), yes=False)
    main._check(bench(), yes=True)
    assert refuses == (dollar < 1)


def test_what_a_step_needs_decides_what_the_walk_costs() -> None:
    """The estimate leaves out the steps that this walk skips."""
    assert report.acts(bench(None, Need.FACTORY)).total() < report.acts(bench()).total()


def test_each_price_has_its_page() -> None:
    """Each price names the page of AWS that has it, and each act has prices."""
    assert all(price.page.startswith("https://aws.amazon.com/") for price in spending.PRICES.values())
    assert all(spending.dollars({act: 1_000_000}) > 1 for act in spending.Act)
