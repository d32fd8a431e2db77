"""Some parts of a fleet definition need the public host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firstboot.compiler import public_host
from firstboot.domain.fleet import Fleet
from tests import factories
from tests.unit.fleet_folders import fleet

ROOT = factories.authority("Root CA")


def with_grace(days: int) -> Fleet:
    """Return a fleet of one group with these `grace_days`."""
    made = fleet()
    group = made.groups["gateways"]
    changed = replace(group, certificate=replace(group.certificate, grace_days=days))
    return replace(made, groups={"gateways": changed})


def test_an_expired_certificate_renews_at_the_public_host_only() -> None:
    """A group needs the public host as long as expired certificates may renew."""
    assert public_host.needs(with_grace(0)) == []
    (line,) = public_host.needs(with_grace(1))
    assert line.startswith("groups.gateways: certificate.grace_days is 1, ")


@pytest.mark.parametrize(("path_length", "may"), [(0, False), (1, True), (None, True)])
def test_an_anchor_may_have_cas_below_it(path_length: int | None, may: bool) -> None:  # noqa: FBT001
    """Only an anchor with pathLenConstraint 0 certainly issues its devices' certificates itself."""
    line = ROOT.intermediate("Line CA", path_length=path_length)
    trust = {"factory.pem": factories.pem(line.certificate).encode()}
    found = public_host.may_need(fleet(trust=trust))
    assert [each.partition(" and")[0] for each in found] == (
        ["groups.gateways: CN=Line CA may have CAs below it,"] if may else []
    )
