"""Admission: the group of a bootstrap certificate follows from its anchor, and from no other group's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from firstboot.domain.clock import EPOCH
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.plans import CertificatePlan
from firstboot.domain.proof_id import ProofId
from firstboot.identity.admission import admit, verify_bootstrap
from firstboot.identity.possession import Proven
from firstboot.pki.errors import CertificateUntrusted
from tests import factories
from tests.field.encode import own

NOW = datetime.now(UTC) + timedelta(hours=1)  # certificates that a slow run makes later are valid, too
ROOT = factories.authority("Maker Root")
# The maker has a CA between its root and its lines, which is no group's anchor. So the compiler sees no path.
MAKER = ROOT.intermediate("Maker")
LINE = MAKER.intermediate("Line 1")
RENEWED = factories.Authority(MAKER.issue("Line 1", LINE.key, ca=True), LINE.key)
LONG_AGO = NOW - timedelta(days=9)
EXPIRED = factories.Authority(MAKER.issue("Line 1", LINE.key, ca=True, not_before=LONG_AGO, days=1), LINE.key)
RENAMED = factories.Authority(MAKER.issue("Line One", LINE.key, ca=True), LINE.key)
LEAF = LINE.issue("gw-1", factories.ec_key())


def fleet(**trust: factories.Authority) -> Fleet:
    """Return a fleet of groups, each with one anchor."""
    plan = CertificatePlan(days=365, renew_at=0.66, grace_days=90)
    groups = {
        name: Group(
            name=name,
            trust=(factories.pem(anchor.certificate),),
            device_id="subject.CN",
            reenroll="replace",
            reenroll_per_day=10,
            certificate=plan,
            mqtt="registry",
            budget=None,
        )
        for name, anchor in trust.items()
    }
    return Fleet(groups=groups, role_aliases={}, grants={}, rules="", schema="")


def proven(*above: factories.Authority) -> Proven:
    """Return the leaf as a signed proof brings it, with intermediates."""
    return Proven(
        own(LEAF), tuple(own(each.certificate) for each in above), ProofId("p", EPOCH, has_nonce=False)
    )


def test_the_anchor_decides_the_group() -> None:
    """The admission has the group of the anchor, its key and its subject, and each id of the certificate."""
    admission = admit(proven(), None, fleet(sensors=LINE, others=factories.authority()), NOW)
    assert admission.group.name == "sensors"
    assert admission.by.identifier == own(LEAF).identifier
    assert admission.by.bootstrap_ids == {own(each).fingerprint for each in (LEAF, factories.twin(LEAF))}
    assert admission.by.anchor.key == own(LINE.certificate).spki_fingerprint()
    assert admission.by.anchor.subject == "CN=Line 1"


@pytest.mark.parametrize("anchor", [EXPIRED, RENAMED], ids=["expired", "renamed"])
def test_a_device_does_not_change_its_group(anchor: factories.Authority) -> None:
    """A path around a group's anchor to another group's anchor is refused."""
    both = fleet(gateways=ROOT, sensors=anchor)
    with pytest.raises(CertificateUntrusted):
        verify_bootstrap(proven(RENEWED, MAKER), both, NOW)
    # Without the group of the lower anchor the same path is good.
    assert verify_bootstrap(proven(RENEWED, MAKER), fleet(gateways=ROOT), NOW).group.name == "gateways"


def test_a_path_through_another_groups_key_is_refused_for_that() -> None:
    """The refusal names the group of the path and the reason."""
    with pytest.raises(CertificateUntrusted, match="to group gateways leads through another group's"):
        verify_bootstrap(proven(RENEWED, MAKER), fleet(gateways=ROOT, sensors=RENAMED), NOW)


def test_a_path_through_a_key_of_the_same_group_is_good() -> None:
    """A group may have a CA and one below it as anchors."""
    group = fleet(gateways=ROOT).groups["gateways"]
    object.__setattr__(group, "trust", (*group.trust, factories.pem(RENAMED.certificate)))
    one = Fleet({"gateways": group}, {}, {}, "", "")
    assert verify_bootstrap(proven(RENEWED, MAKER), one, NOW).anchor == own(ROOT.certificate)
