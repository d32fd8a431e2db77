"""A group allows ways of asking, and a deployment has the routes of the ways that its groups name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firstboot.compiler.deployment import needs_deployment
from firstboot.domain.fleet import Fleet
from firstboot.domain.ways import DEFAULT, WAYS, Way
from firstboot.identity.errors import WayNotAllowed
from firstboot.identity.ways import check_way
from firstboot.runtime import routes
from tests import factories
from tests.fleets import fleet, group

GROUP = group("gateways", factories.authority())
EST = replace(GROUP, ways=("est",))


@pytest.mark.parametrize("way", WAYS)
def test_only_the_named_ways_are_allowed(way: Way) -> None:
    """A group refuses each way that it does not name, and a lost group allows the default ways only."""
    check_way(way, replace(GROUP, ways=(way,)))
    others = tuple(each for each in WAYS if each != way)
    with pytest.raises(WayNotAllowed):
        check_way(way, replace(GROUP, ways=others))
    if way in DEFAULT:
        check_way(way, GROUP)
        check_way(way, None)
    else:
        for lost in (GROUP, None):
            with pytest.raises(WayNotAllowed):
                check_way(way, lost)


def test_a_connection_is_no_request() -> None:
    """A mere connection to AWS IoT is open to the devices of every way."""
    check_way(None, EST)


def test_a_fleet_keeps_its_ways() -> None:
    """The compiled fleet holds the ways of a group, and a fleet with the default ways keeps its text."""
    assert Fleet.from_json(fleet(EST).to_json()) == fleet(EST)
    assert '"ways"' not in fleet(GROUP).to_json()


def test_a_new_way_needs_a_deployment() -> None:
    """A published fleet opens a way only if a deployed group has it, and closes every way."""
    assert needs_deployment(fleet(GROUP), fleet(EST)) == ["no deployed group has the way est"]
    both = fleet(replace(GROUP, ways=(*DEFAULT, "est")))
    assert needs_deployment(both, fleet(EST)) == []
    assert needs_deployment(fleet(EST), fleet(GROUP)) == []
    assert needs_deployment(fleet(EST), both) == []


def test_a_route_exists_where_its_way_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The route of a way exists only in a deployment whose fleet has the way."""
    route = routes.Route("PUT", "/other", "exchange", "none", "Other", needs="est")
    always = routes.served(())
    monkeypatch.setattr(routes, "ROUTES", (*always, route))
    assert routes.served(fleet(GROUP).offers) == always
    assert routes.served(fleet(EST).offers) == (*always, route)
