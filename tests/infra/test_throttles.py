"""The hosts' throttles follow from the account's quotas, and leave room in each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from hypothesis import given
from hypothesis import strategies as st

from firstboot.runtime.routes import served
from infra.configuration import Configuration
from infra.throttles import region, throttles
from tests.infra.conftest import ROOT, run_app

CERTIFICATES, CREDENTIALS = "POST /v1/certificates", "GET /role-aliases/{alias}/credentials"
COMMIT, NONCE = "POST /v1/certificates/commit", "GET /v1/nonce"
SMALL = (
    *("af-south-1", "eu-south-1", "ap-southeast-3", "me-central-1", "ap-south-2", "ap-southeast-4"),
    *("eu-south-2", "eu-central-2", "il-central-1", "ca-west-1", "ap-southeast-5", "ap-southeast-7"),
    "mx-central-1",
)


def rates(where: str | None, *offers: str, **quotas: Any) -> tuple[dict[str, int], int, int]:
    """Return the rates of both hosts together by route, their sum, and the sum of the bursts."""
    made = throttles(Configuration(fleet=ROOT / "fleet", **quotas), where, served(offers))
    both = {key: each.rate + each.halved().rate for key, each in made.items()}
    return both, sum(both.values()), sum(each.burst + each.halved().burst for each in made.values())


def test_the_defaults_are_awss() -> None:
    """Both hosts let in what KMS signs (1,000 a second) and STS answers (600), and no more.

    Three times as many devices may ask for a certificate, so that the service refuses before the gateway.
    """
    both, *_ = rates("us-east-1")
    assert (both[COMMIT], both[CREDENTIALS]) == (999, 600)
    assert both[CERTIFICATES] == both[NONCE] == 2_997
    roomy, *_ = rates("us-east-1", api_rate=20_000)
    assert roomy[CERTIFICATES] == 4 * roomy[COMMIT] == 3_996


@pytest.mark.parametrize("where", [*SMALL, None])
def test_a_newer_region_has_less(where: str | None) -> None:
    """In the 13 newer regions, and in an unknown one, all routes together are below 2,500 a second.

    Sessions are as many as elsewhere, and enrollments fewer.
    """
    both, total, burst = rates(where)
    assert total < 2_500
    assert burst < 1_250
    assert (both[CERTIFICATES], both[COMMIT], both[CREDENTIALS]) == (331, 331, 600)


@given(st.integers(1, 20_000), st.integers(1, 5_000), st.integers(2_500, 100_000))
def test_all_routes_together_stay_below_the_quotas(kms: int, sts: int, api: int) -> None:
    """Both hosts stay within all quotas, or the quota that is too low is named."""
    try:
        both, total, burst = rates(None, kms_rate=kms, sts_rate=sts, api_rate=api)
    except ValueError as error:
        assert f"API Gateway's quota of {api}" in str(error)  # noqa: PT017 - not every quota is refused
        return
    assert both[COMMIT] <= kms
    assert both[COMMIT] <= both[CERTIFICATES] == both[NONCE] <= 4 * kms
    assert both[CREDENTIALS] <= sts
    assert total <= 0.8 * api
    assert burst <= 0.4 * api


def test_a_quota_that_is_too_low_is_refused() -> None:
    """Quotas that leave nothing for enrollments, or that are none, are refused with their numbers."""
    with pytest.raises(ValueError, match=r"405 requests .* API Gateway's quota of 500"):
        throttles(Configuration(fleet=ROOT / "fleet", sts_rate=1, api_rate=500), None, served(()))
    for name in ("kms_rate", "sts_rate", "api_rate"):
        with pytest.raises(ValueError, match="must be above 0"):
            rates(None, **{name: -1})


def test_a_region_is_the_stacks_or_the_clis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack without a region of its own goes where the CDK CLI says."""
    app = App()
    own, none = Stack(app, "own", env=Environment(region="eu-south-2")), Stack(app, "none")
    monkeypatch.setenv("CDK_DEFAULT_REGION", "us-east-1")
    assert (region(own), region(none)) == ("eu-south-2", "us-east-1")
    monkeypatch.delenv("CDK_DEFAULT_REGION")
    assert region(none) is None


@pytest.mark.xdist_group("infra")
def test_the_synth_uses_the_region(tmp_path: Path) -> None:
    """A synth for an older region has the larger throttles, and for an unknown region it says so."""

    def synth(folder: Path, **environment: str) -> tuple[int, str]:
        done = run_app(folder, {"aws:cdk:bundling-stacks": []}, **environment)
        assert done.returncode == 0, done.stderr
        template = json.loads((folder / "Firstboot.template.json").read_text())
        (stage,) = (
            each for each in template["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage"
        )
        rate = stage["Properties"]["RouteSettings"][CERTIFICATES]["ThrottlingRateLimit"]
        return rate, "".join(each.read_text() for each in folder.glob("*.json"))

    rate, said = synth(tmp_path / "known", CDK_DEFAULT_REGION="us-east-1")
    assert rate == 1_998
    assert "set apiRate" not in said
    rate, said = synth(tmp_path / "unknown")
    assert rate == 221
    assert "set apiRate" in said
