"""Test the form of AWS IoT's credential provider for tokens of every length that STS makes."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import EPOCH
from firstboot.domain.session import Credentials
from firstboot.vend import credential_provider

AWSCRT = "aws-sdk-crt/x509-credentials-provider"
LENGTHS = st.integers(400, 4_096)
"""Bytes of session tokens: AWS's single limit is 4,096."""


@given(length=LENGTHS, letter=st.sampled_from(string.ascii_letters + string.digits + "+/="))
def test_a_token_of_any_length_is_answered_unchanged(length: int, letter: str) -> None:
    """An answer has the token unchanged and 169 bytes beside it."""
    made = Credentials("A" * 20, "s" * 40, letter * length, EPOCH)
    answer = credential_provider.success(made)
    assert json.loads(answer.body)["credentials"]["sessionToken"] == letter * length
    assert len(answer.body.encode()) == len(answer.body) == 169 + length


@pytest.mark.parametrize(
    ("user_agent", "limit"),
    [
        (AWSCRT, 2_048),
        (f"{AWSCRT}/0.9", 2_048),
        ("", None),
        ("curl/8.5.0", None),
        ("aws-sdk-crt/sts-web-identity-credentials-provider", None),
        ("Boto3/1.43.106 md/Botocore#1.43.106 exec-env/AWS_Lambda_python3.13", None),
    ],
)
def test_a_client_with_a_known_limit_is_known_by_its_user_agent(user_agent: str, limit: int | None) -> None:
    """Only the User-Agent of awscrt's x509 provider has a limit."""
    assert credential_provider.client_limit(user_agent) == limit
