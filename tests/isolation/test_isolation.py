"""No device can be another: what we render, decided by evaluators that are not ours."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.names import DeviceId
from firstboot.policy.render import Place
from tests.isolation.devices import neighbours
from tests.isolation.evaluators import Evaluator
from tests.isolation.fleets import Grant, fleets
from tests.isolation.pairs import pairs, wrong

PLACES = st.sampled_from(
    [Place("aws", "eu-central-1", "123456789012"), Place("aws-us-gov", "us-gov-west-1", "210987654321")]
)
COUNT = 10_000


def test_no_device_touches_what_is_anothers(evaluators: tuple[Evaluator, ...]) -> None:
    """Over random fleets: each device may do what its grants say with its own, and nothing with any
    other's, by session, by certificate and by token.
    """
    counted: Counter[str] = Counter()

    @settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fleets(), neighbours(), PLACES, st.data())
    def check(grants: dict[str, Grant], devices: tuple[DeviceId, ...], place: Place, data: Any) -> None:
        names = st.sets(st.sampled_from(sorted(grants)))
        held = {device: tuple(sorted(data.draw(names))) for device in devices}
        found = pairs(grants, held, place)
        bad = wrong(found, evaluators)
        assert not bad, f"{len(bad)} of {len(found)}, the first: {bad[0]}"
        for pair in found:
            counted["allowed" if pair.expected else "denied"] += 1
            counted[pair.way] += 1
            counted[pair.request.action.partition(":")[0] + str(pair.expected)] += 1

    check()
    print(counted)
    assert counted["allowed"] + counted["denied"] >= COUNT
