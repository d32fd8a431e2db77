"""The parts that the steps over MQTT share: the broker, and clients that connect until it lets them in."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from device.mqtt import Broker as Calls
from device.mqtt import parse
from device.patience import Patience
from device.refusal import Action, Refused
from device.service import Service
from device.store import Identity
from firstboot.domain.fleet import Group
from firstboot.policy.service import bootstrap_client_id
from verify.bench import Bench, Unit
from verify.broker import ACCEPTED, Broker, Login
from verify.step import Failed, Lacking, Need

# What changes in AWS IoT takes effect within minutes: a registration, a policy, a certificate's status. The
# pauses are short, because the time until it takes effect is a measurement.
_PATIENCE = Patience(tries=150, base=0.5, cap=4.0)

_APART_SECONDS = 1.1
"""AWS IoT takes one connection of a client id in a second, and the emulator any number (General Reference,
"AWS IoT Core endpoints and quotas", "Connect requests per second per client ID")."""

_QUIET_SECONDS, _EMULATOR_QUIET_SECONDS = 5.0, 1.0
"""How long no message comes after the last one of several. The emulator sends them one after another."""


def broker(bench: Bench) -> Broker:
    """Return AWS IoT's broker. Raises Lacking."""
    if not bench.addresses.broker:
        raise Lacking(str(Need.BROKER))
    is_emulated = Need.AWS in bench.missing
    apart, quiet = (0.0, _EMULATOR_QUIET_SECONDS) if is_emulated else (_APART_SECONDS, _QUIET_SECONDS)
    return Broker(*parse(bench.addresses.broker), bench.transport, apart, quiet)


def group(bench: Bench) -> Group:
    """Return a group whose devices connect to AWS IoT by their certificates, the first one included.

    Raises Lacking.
    """
    return bench.group_with(
        lambda each: each.mqtt == "registry" and each.jitr != "off",
        'a group with mqtt = "registry", and with jitr',
    )


def first_login(bench: Bench, name: str, bootstrap: Identity) -> Login:
    """Return how a new device of `group` connects. Raises Lacking."""
    return Login(bootstrap_client_id(group(bench), name), bootstrap)


def login(unit: Unit) -> Login:
    """Return how a booted device connects."""
    return Login(unit.name, unit.live)


@dataclass(frozen=True)
class Attempts:
    """The answers to a client's attempts to connect, and the seconds from the first to the last."""

    outcomes: list[str]
    seconds: float

    @property
    def refused(self) -> str:
        """Return how often the broker refused the client before, and with which answers."""
        before = self.outcomes[:-1]
        kinds = ", ".join(sorted(set(before)))
        return f"{len(before)} ({kinds})" if before else "0"


def let_in(bench: Bench, who: Login) -> Attempts:
    """Connect until the broker accepts the client. Raises Failed."""
    return _until(bench, who, lambda outcome: outcome == ACCEPTED, "a connection")


def shut_out(bench: Bench, who: Login) -> Attempts:
    """Connect until the broker refuses the client. Raises Failed."""
    return _until(bench, who, lambda outcome: outcome != ACCEPTED, "no connection any more")


def repeated(attempt: Callable[[], bool]) -> bool:
    """Repeat an attempt until it returns true, and return whether it did."""

    def once() -> bool:
        if not attempt():
            raise Refused(Action.RETRY, "not yet")
        return True

    with suppress(Refused):
        return _PATIENCE(once)
    return False


def _until(bench: Bench, who: Login, reached: Callable[[str], bool], expected: str) -> Attempts:
    outcomes, begun, at = list[str](), time.monotonic(), broker(bench)

    def attempt() -> bool:
        outcomes.append(at.outcome(who))
        return reached(outcomes[-1])

    if not repeated(attempt):
        raise Failed(expected, f"{outcomes[-1]} at {len(outcomes)} attempts")
    return Attempts(outcomes, time.monotonic() - begun)


@dataclass(frozen=True)
class Narration:
    """The lines that the device client says, with their monotonic times."""

    lines: list[tuple[float, str]]

    def __call__(self, line: str) -> None:
        """Keep a line."""
        self.lines.append((time.monotonic(), line))

    def connections(self, waits_for: str) -> tuple[int, float]:
        """Return how often the client connected until it first asked for `waits_for`, and how long that
        took from its first line in seconds. Raises LookupError.
        """
        (begun, _), *_ = self.lines
        for number, (at, line) in enumerate(self.lines):
            if line == f"Waiting for {waits_for}":
                until = [said for _, said in self.lines[:number]]
                before = [index for index, said in enumerate(until) if said.startswith("Waiting")]
                after = until[before[-1] + 1 :] if before else until
                return sum(said.startswith("Connecting") for said in after), at - begun
        raise LookupError(f"the client never waited for {waits_for}")


def unit(bench: Bench, name: str, bootstrap: Identity, narration: Narration, of: Group | None = None) -> Unit:
    """Make a device that calls over MQTT. Its client id follows the rule of its group `of`.

    Raises Lacking.
    """
    if not bench.addresses.broker:
        raise Lacking(str(Need.BROKER))
    client_id = bootstrap_client_id(of or group(bench), name)
    calls = Calls(bench.addresses.broker, bench.transport, bootstrap, narration, client_id)
    made = bench.unit_of(name, bootstrap, Need.BROKER)
    return replace(made, service=Service(calls, bench.transport), patience=_PATIENCE)


def over_https(bench: Bench, of: Group | None = None) -> Unit:
    """Return a device that has booted over HTTPS, or over MQTT without a host for HTTPS. Raises Refused."""
    name = bench.name()
    bootstrap = bench.bootstrap(name, of or group(bench))
    way = None if {Need.MTLS, Need.PUBLIC} & set(bench.ways) else Need.BROKER
    made = bench.unit_of(name, bootstrap, way)
    made.boot()
    return made


def connected(bench: Bench) -> Unit:
    """Return a booted device that the broker lets in. Raises Refused, Failed."""
    made = over_https(bench)
    let_in(bench, login(made))
    return made
