"""Simulate storms, boot real devices, print each result, and write docs/storm.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.storm import page
from bench.storm.scenarios import HTTPS, MQTT, OLD, SCRIPT, Storm, logins
from bench.storm.simulation import Result

PAGE = Path(__file__).parents[2] / "docs/storm.md"

_MINUTE, _SECOND = 60.0, 1.0
_CONNECTS = 3_000
"""A limit of the broker at which it accepts the connections of 100,000 devices that come in one minute."""

SIMULATED = (
    Storm(100_000, 20_000, HTTPS),
    Storm(1_000_000, 20_000, HTTPS),
    Storm(100_000, 1_000, HTTPS),
    Storm(100_000, 20_000, SCRIPT),
    Storm(100_000, 4_200, MQTT),
    Storm(1_000_000, 4_200, MQTT),
    Storm(100_000, 20_000, HTTPS, _MINUTE),
    Storm(100_000, 20_000, HTTPS, _SECOND),
    Storm(1_000_000, 20_000, HTTPS, _MINUTE),
    Storm(100_000, 20_000, SCRIPT, _MINUTE),
    Storm(100_000, 4_200, MQTT, _MINUTE, connects=_CONNECTS),
    Storm(100_000, 4_200, MQTT, _MINUTE),
    Storm(100_000, 20_000, OLD, _MINUTE),
)

_LOGINS = ((100_000, 200.0), (1_000_000, 1_000.0))
"""Devices with an identity, and the requests a second that the gateway admits on each of the two routes."""

_BUDGET = 200
"""The `per_minute` of the real boots, which two cores can serve. For fewer devices it is lower."""


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.storm", description=__doc__)
    parser.add_argument("--boots", type=int, default=1_000, metavar="N", help="real devices; 0 for none")
    boots = parser.parse_args().boots
    simulated = [(storm, _told(storm)) for storm in SIMULATED]
    logged_in = [
        (f"{count:,} devices at {rate:.0f} a second", _logins(count, rate)) for count, rate in _LOGINS
    ]
    compared = list(_compared(boots)) if boots else []
    PAGE.write_text(page.text(simulated, logged_in, compared, datetime.now(UTC)))
    print(f"wrote {PAGE}")


def _told(storm: Storm) -> Result:
    result = storm.run()
    _tell(f"simulated: {storm.devices:,} by {storm.client} within {storm.spread:.0f} s", result)
    return result


def _tell(name: str, result: Result) -> None:
    print(
        f"{name}: time {result.duration:.2f}, requests {result.mean:.2f}, peak {result.peak:.1f}", flush=True
    )


def _logins(devices: int, rate: float) -> Result:
    result = logins(devices, rate, _MINUTE)
    _tell(f"simulated: {devices:,} log in at {rate:.0f} a second", result)
    return result


def _compared(boots: int) -> Iterator[tuple[str, Storm, Result, Result]]:
    """Yield each storm of the real boots, with its simulation and what was measured."""
    # Only the real boots need the packages of the local product.
    from bench.storm import real  # noqa: PLC0415

    per_minute = max(10, min(_BUDGET, boots // 4))
    storms = {
        "HTTPS, first wait": Storm(boots, per_minute, HTTPS, throttled=False),
        "HTTPS, one minute": Storm(boots, per_minute, HTTPS, _MINUTE, throttled=False),
        "MQTT, first wait": Storm(boots, per_minute, MQTT, throttled=False),
    }
    with tempfile.TemporaryDirectory() as folder, real.product(Path(folder), per_minute) as endpoints:
        for number, (name, storm) in enumerate(storms.items()):
            place = Path(folder) / str(number)
            is_mqtt = storm.client == MQTT
            measured = real.boots(endpoints, boots, per_minute, storm.spread, mqtt=is_mqtt, folder=place)
            _tell(f"real: {boots:,}, {name}", measured)
            yield name, storm, _told(storm), measured


if __name__ == "__main__":
    main()
