"""A process knows the group of an issuer whose path it has verified, as long as the fleet is the same."""

from __future__ import annotations

import pytest

from firstboot.domain.fleet import Fleet
from firstboot.identity.known_issuers import KnownIssuers
from firstboot.pki.outline import Outline, outline
from tests import factories
from tests.field.encode import own
from tests.fleets import fleet, group

ONE, OTHER = factories.authority("One CA"), factories.authority("Other CA")
RENEWED = factories.authority("One CA")
GROUP = group("gateways", ONE)
FLEET = fleet(GROUP)


def leaf(issuer: factories.Authority) -> Outline:
    """Return the outline of a certificate of `issuer`."""
    found = outline(factories.pem(issuer.issue("gw-1", factories.ec_key())))
    assert found is not None
    return found


def note(known: KnownIssuers, issuer: factories.Authority, under: Fleet = FLEET) -> None:
    """Note that a certificate of `issuer` was admitted."""
    path = [own(issuer.issue("gw-2", factories.ec_key())), own(issuer.certificate)]
    known.note(path, GROUP, under)


@pytest.fixture
def known() -> KnownIssuers:
    """Return a process's issuers, of which one is known."""
    found = KnownIssuers()
    note(found, ONE)
    return found


def test_another_certificate_of_a_known_issuer_has_its_group(known: KnownIssuers) -> None:
    """The group of an issuer is that of each certificate that its key signed, and of no other one."""
    assert known.group_of(leaf(ONE), FLEET) is GROUP
    assert known.group_of(leaf(OTHER), FLEET) is None
    assert known.group_of(leaf(factories.authority("One CA")), FLEET) is None


def test_the_last_of_two_issuers_with_one_name_is_known(known: KnownIssuers) -> None:
    """A renewed CA with another key takes the place of the old one, whose devices are read strictly again."""
    renewed = factories.authority("One CA")
    note(known, renewed)
    assert known.group_of(leaf(renewed), FLEET) is GROUP
    assert known.group_of(leaf(ONE), FLEET) is None


def test_no_issuer_is_known_under_another_fleet(known: KnownIssuers) -> None:
    """A fleet may have taken the group, so the issuers are forgotten with the fleet that they are of."""
    later = fleet(GROUP)
    assert known.group_of(leaf(ONE), later) is None
    note(known, OTHER, later)
    assert known.group_of(leaf(OTHER), later) is GROUP
    assert known.group_of(leaf(ONE), later) is None


def test_an_admitted_claim_certificate_has_its_group() -> None:
    """A claim certificate that was admitted is known by itself, and no certificate of one device is."""
    known, shared = KnownIssuers(), group("batch", ONE, device_id="request.deviceId")
    under = fleet(shared)
    claim = own(ONE.issue("batch 7", factories.ec_key()))
    known.note([claim, own(ONE.certificate)], shared, under)
    # Another CA takes the place of the issuer of that name, so only the certificate itself is known.
    note(known, RENEWED, under)
    assert known.group_of(claim, under) is shared
    assert known.group_of(leaf(ONE), under) is None
    assert known.group_of(leaf(RENEWED), under) is GROUP
    later = fleet(shared)
    assert known.group_of(claim, later) is None
    note(known, OTHER, later)
    assert known.group_of(claim, later) is None


def test_a_certificate_of_one_device_is_not_remembered(known: KnownIssuers) -> None:
    """Only a certificate that comes again and again is remembered, so that claim certificates stay."""
    own_leaf = own(ONE.issue("gw-2", factories.ec_key()))
    known.note([own_leaf, own(ONE.certificate)], GROUP, FLEET)
    note(known, RENEWED)
    assert known.group_of(own_leaf, FLEET) is None
