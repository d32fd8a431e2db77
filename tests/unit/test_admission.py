"""Admission: the group of a bootstrap certificate follows from its anchor, and from no other group's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firstboot.domain.clock import EPOCH
from firstboot.domain.errors import Reason
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.plans import Budget, CertificatePlan
from firstboot.domain.proof_id import ProofId
from firstboot.identity.admission import admit, verify_bootstrap
from firstboot.identity.errors import (
    BootstrapExpired,
    DeviceIdMismatch,
    DeviceIdRequired,
    EnrollmentClosed,
)
from firstboot.identity.possession import OverMqtt, OverTls, Proven
from firstboot.pki.errors import CertificateUntrusted, CertificateUsageWrong
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


OVER_TLS = OverTls(own(LINE.issue("gw-1", factories.ec_key())))


def test_an_admission_has_the_device_and_the_proof() -> None:
    """An admission has the device's id, the bootstrap key's hash, and the proof that will be recorded."""
    admission = admit(proven(), None, fleet(sensors=LINE), NOW)
    assert admission.device_id == "gw-1"
    assert admission.by.spki == own(LEAF).spki_fingerprint()
    assert admission.proof == ProofId("p", EPOCH, has_nonce=False)
    assert admit(OVER_TLS, "gw-1", fleet(sensors=LINE), NOW).proof is None


def test_a_device_has_the_id_of_its_certificate() -> None:
    """A request may repeat the id of the certificate, and no other id."""
    assert admit(proven(), "gw-1", fleet(sensors=LINE), NOW).device_id == "gw-1"
    with pytest.raises(DeviceIdMismatch):
        admit(proven(), "gw-2", fleet(sensors=LINE), NOW)
    with pytest.raises(DeviceIdMismatch):
        admit(OverMqtt(OVER_TLS.leaf, "gw-2"), None, fleet(sensors=LINE), NOW)


def _changed(**changes: Any) -> Fleet:
    found = fleet(sensors=LINE)
    return replace(found, groups={"sensors": replace(found.groups["sensors"], **changes)})


def test_a_shared_certificate_needs_an_id() -> None:
    """A claim certificate enrolls the device that the request names, and the request must name one."""
    shared = _changed(device_id="request.deviceId")
    assert admit(OVER_TLS, "gw-7", shared, NOW).device_id == "gw-7"
    assert admit(OverMqtt(OVER_TLS.leaf, "boot-gw-7"), "gw-7", shared, NOW).device_id == "gw-7"
    with pytest.raises(DeviceIdRequired):
        admit(OVER_TLS, None, shared, NOW)


@pytest.mark.parametrize(("left", "is_open"), [(1, True), (0, False), (-1, False)])
def test_a_group_closes_when_its_budget_ends(left: int, *, is_open: bool) -> None:
    """A group admits devices until its budget's last day is over."""
    budget = Budget(total=9, per_minute=9, until=NOW + timedelta(seconds=left), freeze_per_hour=None)
    closing = _changed(budget=budget)
    if is_open:
        assert admit(OVER_TLS, None, closing, NOW).group.name == "sensors"
        return
    with pytest.raises(EnrollmentClosed):
        admit(OVER_TLS, None, closing, NOW)


EXPIRED_LEAF = OverTls(
    own(LINE.issue("gw-1", factories.ec_key(), not_before=NOW - timedelta(days=3), days=1))
)


def test_an_expired_bootstrap_certificate_is_named_so() -> None:
    """An expired bootstrap certificate has an error of its own, with its reason and details."""
    with pytest.raises(BootstrapExpired) as caught:
        admit(EXPIRED_LEAF, None, fleet(sensors=LINE), NOW)
    assert caught.value.reason is Reason.CERTIFICATE_DATES
    assert caught.value.log


NO_EKU = OverTls(own(LINE.issue("gw-1", factories.ec_key(), eku=None)))


def test_a_group_may_demand_the_extended_key_usage() -> None:
    """A certificate without extendedKeyUsage is refused in a group that demands it, and in no other."""
    assert admit(NO_EKU, None, _changed(eku="optional"), NOW).device_id == "gw-1"
    with pytest.raises(CertificateUsageWrong) as caught:
        admit(NO_EKU, None, _changed(eku="required"), NOW)
    needs = 'There is no extendedKeyUsage, and the group has eku = "required"'
    assert (caught.value.detail, caught.value.log) == (needs, needs)
    assert caught.value.reason is Reason.CERTIFICATE_USAGE


def test_the_holder_of_a_claim_certificate_gets_no_detail() -> None:
    """The refusal of a certificate that may be shared has the title only, and the log has the detail."""
    with pytest.raises(CertificateUsageWrong) as caught:
        admit(NO_EKU, "gw-1", _changed(device_id="request.deviceId", eku="required"), NOW)
    assert caught.value.detail == CertificateUsageWrong.title
    assert caught.value.log == 'There is no extendedKeyUsage, and the group has eku = "required"'


def test_a_refusal_keeps_its_reason() -> None:
    """The refusal of a certificate that another key signed has that reason, and not its code's usual one."""
    forged = OverTls(own(factories.authority("Line 1").issue("gw-1", factories.ec_key())))
    with pytest.raises(CertificateUntrusted) as caught:
        admit(forged, None, fleet(sensors=LINE), NOW)
    assert caught.value.reason is Reason.CERTIFICATE_SIGNATURE
    assert "is not signed by the key of any CN=Line 1" in caught.value.detail
