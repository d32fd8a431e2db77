"""The walk removes what it has in AWS IoT beside its devices, also what a killed walk left."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests import factories
from verify import leftovers

FACTORY, OTHER = factories.authority("factory"), factories.authority("another factory")


class Iot:
    """AWS IoT's control plane: moto's, which can't list CAs, with a list of the CAs that were registered."""

    def __init__(self) -> None:
        self._moto: Any = boto3.client("iot", region_name="eu-central-1")
        self._cas: list[dict[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._moto, name)

    def register_ca_certificate(self, **parameters: str) -> None:
        """Register a CA and note it."""
        made = self._moto.register_ca_certificate(**parameters)
        self._cas.append({"certificateId": made["certificateId"]})

    def get_paginator(self, name: str) -> Any:
        """Return moto's paginator, or that of the CAs."""
        if name != "list_ca_certificates":
            return self._moto.get_paginator(name)
        return SimpleNamespace(paginate=lambda: [{"certificates": self._cas}])


@pytest.fixture
def iot() -> Iterator[Any]:
    """AWS IoT's control plane."""
    with mock_aws():
        yield Iot()


def left(iot: Any, name: str) -> str:
    """Leave a policy and an active certificate with it, and return the certificate's id."""
    iot.create_policy(policyName=name, policyDocument="{}")
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName=name, target=made["certificateArn"])
    return str(made["certificateId"])


def certificates(iot: Any) -> list[str]:
    """Return the ids of all certificates."""
    return [each["certificateId"] for each in iot.list_certificates()["certificates"]]


def bench(iot: Any) -> Any:
    """Return a bench with the factory FACTORY."""
    return SimpleNamespace(client=lambda _: iot, factories={"gateways": FACTORY})


def registered(iot: Any, name: str, factory: factories.Authority = FACTORY) -> str:
    """Register a factory's certificate for `name` with AWS IoT, as JITR does, and return its id."""
    certificate = factory.issue(name, factories.ec_key())
    made = iot.register_certificate(
        certificatePem=factories.pem(certificate), caCertificatePem=factories.pem(factory.certificate)
    )
    return str(made["certificateId"])


def test_a_waiting_certificate_of_a_killed_walk_is_removed(iot: Any) -> None:
    """The certificates of a walk's names go, and those of other names and other factories stay."""
    for factory in (FACTORY, OTHER):
        iot.register_ca_certificate(
            caCertificate=factories.pem(factory.certificate), certificateMode="SNI_ONLY"
        )
    for name in ("gw-verify-0123abcd-1", "verify-0123abcd-12*"):
        registered(iot, name)
    kept = {registered(iot, "gw-1"), registered(iot, "verify-0123abcd-1", OTHER)}
    assert leftovers.sweep(bench(iot)) == 2
    assert set(certificates(iot)) == kept


def test_what_a_killed_walk_left_is_removed(iot: Any) -> None:
    """The policies of walks go with their certificates, and those of others stay."""
    other = left(iot, "another-policy")
    for run in ("1", "2"):
        left(iot, f"{leftovers.OBSERVER}{run}")
    assert leftovers.sweep(bench(iot)) == 2
    assert [each["policyName"] for each in iot.list_policies()["policies"]] == ["another-policy"]
    assert certificates(iot) == [other]


def test_a_repeated_removal_is_no_error(iot: Any) -> None:
    """A policy and a certificate that are gone already are removed without an error."""
    identifier = left(iot, f"{leftovers.OBSERVER}1")
    for _ in range(2):
        leftovers.forget(iot, f"{leftovers.OBSERVER}1")
        leftovers.remove(iot, identifier)
    assert certificates(iot) == []


def test_a_certificate_is_removed_with_all_its_policies(iot: Any) -> None:
    """A certificate that JITR activated has a policy of Firstboot, which does not keep it from going."""
    identifier = left(iot, "Firstboot-bootstrap")
    leftovers.remove(iot, identifier)
    assert certificates(iot) == []
    assert iot.list_policies()["policies"]
