"""Test that a storm of devices, simulated with the clients' real rules, meets its targets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.storm.clients import clients, gateway_refusal, slot, virtual
from bench.storm.scenarios import HTTPS, MQTT, OLD, SCRIPT, Storm, logins
from bench.storm.service import Bucket
from device.patience import OVERLOAD

DEVICES, PER_MINUTE = 10_000, 2_000


# A login over MQTT takes ten seconds after an enrollment, which count less in a longer storm.
@pytest.mark.parametrize(("client", "devices"), [(HTTPS, DEVICES), (SCRIPT, DEVICES), (MQTT, 60_000)])
def test_a_first_wait_keeps_a_storm_at_the_rate(client: str, devices: int) -> None:
    """With the first wait the devices are done in hardly more than the shortest time, with 2.1 requests each,
    and the busiest second has at most three times the rate.
    """
    storm = Storm(devices, PER_MINUTE, client).run()
    assert storm.duration <= 1.05
    assert storm.mean <= 2.1
    assert storm.peak <= 3
    assert (storm.unnamed, storm.closed, storm.gave_up) == (0, 0, 0)


@pytest.mark.parametrize("client", [HTTPS, SCRIPT, MQTT])
@pytest.mark.parametrize("within", [60, 1])
def test_without_a_first_wait_devices_ask_seldom(client: str, within: float) -> None:
    """If all devices come in one minute, or in one second, each makes at most four requests on average after
    its first answer.
    """
    storm = Storm(DEVICES, PER_MINUTE, client, within).run()
    assert storm.mean - 1 <= 4


@pytest.mark.parametrize("within", [60, 1])
def test_a_million_devices_without_a_first_wait(within: float) -> None:
    """A storm in which the gateway refuses nearly all devices at first also has four requests a device. It is
    that of a million devices at ten times the rate, made smaller.
    """
    storm = Storm(100_000, PER_MINUTE, HTTPS, within).run()
    assert storm.mean - 1 <= 4
    assert storm.duration <= 1.05


def test_an_older_client_asks_more_often() -> None:
    """The client that knew no slots makes more requests in the same storm, and gives up."""
    older, newer = (Storm(DEVICES, PER_MINUTE, client, 60).run() for client in (OLD, HTTPS))
    assert older.mean > 1.4 * newer.mean
    assert older.gave_up > 0 == newer.gave_up


def test_logins_need_no_wait() -> None:
    """Devices with an identity that log in in one minute make at most four requests after their first."""
    assert logins(DEVICES, 100, 60).mean - 1 <= 4


def test_a_storm_is_repeatable() -> None:
    """Two runs with one seed are equal, and another seed gives another run."""
    storm = Storm(1_000, 600, HTTPS, 1)
    assert storm.run(7) == storm.run(7) != storm.run(8)


def test_a_simulated_script_pauses_as_the_script_does() -> None:
    """The simulated firstboot.sh keeps to its slot without jitter and draws whole seconds below a bound."""
    script = clients(virtual(1))[SCRIPT]
    assert script.pause(slot(70), 0) == 70
    drawn = {script.pause(gateway_refusal(), 0) for _ in range(5_000)}
    assert drawn == set(range(int(OVERLOAD.base) + 1))


def test_a_client_gives_up_as_the_real_one_does() -> None:
    """A simulated client gives up a slot beyond the longest, and after its last try."""
    client = clients(virtual(1))[HTTPS]
    assert client.pause(slot(OVERLOAD.longest + 1), 0) is None
    assert client.pause(slot(1), OVERLOAD.tries - 1) is None
    assert replace(client, whole_seconds=True).pause(slot(OVERLOAD.longest + 1), 0) is None


def test_a_throttle_lets_in_its_burst_and_then_its_rate() -> None:
    """A token bucket admits its burst at once, and after that as many as its rate."""
    bucket = Bucket(rate=10, burst=20)
    assert sum(bucket.takes(0) for _ in range(50)) == 20
    assert sum(bucket.takes(1 + n / 1_000) for n in range(1_000)) in (19, 20)
    assert sum(bucket.takes(100 + n / 1_000) for n in range(50)) == 20
