"""The walk's tokens are those of an issuer of the fleet, and its step fails if a bad one connects."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from firstboot.pki import token as tokens
from tests import factories
from tests.issuers import AUDIENCE, Issuer
from verify.broker import ACCEPTED, CLOSED, Broker, Login, Token
from verify.step import Failed, Lacking
from verify.steps.tokens import issuer_of, refusals, token

ISSUER = Issuer()


def bench(document: bytes) -> Any:
    """Return a bench whose fleet has an issuer with this JWK set."""
    answer = SimpleNamespace(body=document)
    return SimpleNamespace(
        fleet=SimpleNamespace(issuers={"acme": ISSUER.entry()}),
        transport=SimpleNamespace(send=lambda *_, **__: answer),
    )


@pytest.mark.parametrize("name", ["ec", "rsa"])
def test_a_token_verifies_as_the_authorizer_verifies_it(name: str) -> None:
    """A token of the walk is accepted for its device, with the key that the issuer's set has."""
    entry, key_id = issuer_of(bench(ISSUER.document()), ISSUER.keys[name])
    text = token(ISSUER.keys[name], key_id, entry, AUDIENCE, "gw-1")
    key = tokens.signing_keys(ISSUER.document())[key_id]
    found = tokens.verify(tokens.parse(text), entry, key, AUDIENCE, datetime.now(UTC))
    assert found.subject == "gw-1"


def test_a_key_of_no_issuer_is_lacking() -> None:
    """The step is skipped if no issuer of the fleet has the key."""
    with pytest.raises(Lacking, match="--issuer-key"):
        issuer_of(bench(ISSUER.document()), factories.ec_key())


@pytest.mark.parametrize("answer", [CLOSED, ACCEPTED])
def test_a_bad_token_that_connects_is_a_failure(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's refusal of a bad token is a measurement, and a connection with one a failure."""
    monkeypatch.setattr(Broker, "outcome", lambda *_: answer)
    broker: Any = Broker("localhost", 1, None)  # type: ignore[arg-type]
    taken = refusals(broker, {"no token": Login("gw-1", token=Token("authorizer", ""))})
    if answer == ACCEPTED:
        with pytest.raises(Failed):
            list(taken)
    else:
        assert [each.value for each in taken] == [CLOSED]


def test_a_token_s_text_is_not_in_its_repr() -> None:
    """No line that shows a login shows its token."""
    assert "secret" not in repr(Login("gw-1", token=Token("authorizer", "secret")))
