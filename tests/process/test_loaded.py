"""A Lambda's start loads few modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.process.loaded import FUNCTIONS, LAMBDAS, modules, packages


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_lambda_loads_its_own_package_and_no_siblings(name: str) -> None:
    """A Lambda loads its own package, and none of the other Lambdas' packages."""
    loaded = packages(modules(name))
    assert name in loaded
    assert not loaded.keys() & (set(LAMBDAS) - {name})


@pytest.mark.parametrize("name", ["exchange", "authority"])
def test_only_a_lambda_that_decides_loads_cedar(name: str) -> None:
    """A Lambda that decides by no rules does not load the rule engine."""
    assert "cedarpy" not in modules(name)


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_start_without_a_pattern_loads_no_re2(name: str) -> None:
    """RE2 (7 ms) is loaded at the first certificate of a group with a pattern, and not at the start."""
    assert "re2" not in modules(name)


@pytest.mark.parametrize("name", LAMBDAS)
@pytest.mark.parametrize("module", ["boto3", "aws_lambda_powertools.event_handler", "pydantic"])
def test_a_lambda_loads_nothing_heavy_that_it_does_not_use(name: str, module: str) -> None:
    """A Lambda loads neither boto3 (40 ms of its start) nor Powertools' resolver (130 ms) nor pydantic (180
    ms).
    """
    assert module not in modules(name)


@pytest.mark.parametrize("name", LAMBDAS)
@pytest.mark.parametrize("module", ["badkeys", "gmpy2"])
def test_a_start_without_an_rsa_key_loads_no_check_of_rsa_keys(name: str, module: str) -> None:
    """The checks of RSA keys are loaded at the first RSA key, and not at the start."""
    assert module not in modules(name)


@pytest.mark.parametrize("name", ["register", "operate", "authority"])
def test_only_a_lambda_that_verifies_tokens_loads_pyjwt(name: str) -> None:
    """A Lambda that verifies neither proofs nor tokens does not load PyJWT (5 ms)."""
    assert "jwt" not in modules(name)


def test_a_fleet_without_roles_anywhere_does_not_load_it() -> None:
    """The start of `vend` loads the protocol of IAM Roles Anywhere only for a fleet with that way."""
    assert not modules("vend") & {"firstboot.vend.roles_anywhere", "firstboot.pki.sigv4"}


@pytest.mark.parametrize(
    "module",
    [
        "firstboot.exchange.est",
        "firstboot.identity.password",
        "cryptography.hazmat.primitives.serialization.pkcs7",
    ],
)
def test_est_is_loaded_only_where_a_group_has_it(module: str) -> None:
    """A start of `exchange` loads nothing of EST, whose modules follow if the deployed fleet has the way."""
    assert module not in modules("exchange")


@pytest.mark.parametrize(
    "module", ["exchange.dps", "exchange.dps_messages", "identity.dps", "identity.symmetric", "pki.sas"]
)
def test_dps_is_loaded_only_where_a_group_has_it(module: str) -> None:
    """A start of `exchange` loads nothing of DPS's protocol, which follows if the fleet has the way."""
    assert f"firstboot.{module}" not in modules("exchange")


_TIME = "Element(UTC_TIME, bytes(), b'261128000000Z').time()"


def test_the_dates_of_a_certificate_load_no_strptime() -> None:
    """A first request reads dates without `strptime`, whose import and pattern take 2 ms or more."""
    program = f"import sys; from firstboot.pki.der import *; {_TIME}; print('_strptime' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=FUNCTIONS, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", LAMBDAS)
@pytest.mark.parametrize("module", ["firstboot.aws.secrets", "firstboot.vend.hub_signature"])
def test_a_start_loads_nothing_of_a_protocol_that_is_off(name: str, module: str) -> None:
    """The code of signatures for IoT hubs is loaded with a fleet that has a grant for one only."""
    assert module not in modules(name)


def test_exchange_loads_no_fleet_provisioning() -> None:
    """A process of `exchange` that is not the hook loads nothing of fleet provisioning."""
    own = {"firstboot.exchange.provision", "firstboot.exchange.provisioning", "firstboot.aws.iot.thing_types"}
    assert not own & modules("exchange")
