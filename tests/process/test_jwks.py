"""Issuers' keys are fetched over TLS within limits of size, time and number, and kept while an issuer is
away.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firstboot.pki.errors import TokenUntrusted
from firstboot.runtime import issuer_keys as jwks
from firstboot.runtime.errors import IssuerUnavailable
from firstboot.runtime.issuer_keys import FRESH, MAX_SIZE, PAUSE, STALE, IssuerKeys
from tests.issuers import HOSTILE, NOW, Issuer, Web, serving

ISSUER = Issuer()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Yield the issuer's server, whose CA this process trusts."""
    with serving(tmp_path, ISSUER.document()) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.ca))
        yield server


@pytest.fixture
def failures() -> list[str]:
    """Return an empty list for the reasons of failed fetches."""
    return []


@pytest.fixture
def source(web: Web, failures: list[str]) -> IssuerKeys:
    """Return a source that has fetched nothing yet."""
    return IssuerKeys(failures.append)


SECOND = timedelta(seconds=1)


def after(time: timedelta) -> datetime:
    """Return the instant that long after now."""
    return NOW + time


def test_a_key_is_fetched_once(source: IssuerKeys, web: Web) -> None:
    """While a set is fresh, all its keys are found without another fetch."""
    assert source.key(web.url, "ec", NOW).public == ISSUER.keys["ec"].public_key()
    assert source.key(web.url, "rsa", after(FRESH - SECOND)).public == ISSUER.keys["rsa"].public_key()
    assert web.asked == ["/jwks"]


def test_a_set_is_fetched_anew(source: IssuerKeys, web: Web) -> None:
    """A key that its issuer has withdrawn is refused once the set is read again."""
    source.key(web.url, "ec", NOW)
    web.body = Issuer(keys={"rsa": ISSUER.keys["rsa"]}).document()
    with pytest.raises(TokenUntrusted):
        source.key(web.url, "ec", after(FRESH))
    assert len(web.asked) == 2


def test_a_new_key_is_found_before_the_set_is_old(source: IssuerKeys, web: Web) -> None:
    """An unknown key id makes the source fetch a fresh set again, so that an issuer may change its keys at
    any time.
    """
    source.key(web.url, "ec", NOW)
    web.body = Issuer(keys={"new": ISSUER.keys["rsa"]}).document()
    assert source.key(web.url, "new", after(PAUSE)).public == ISSUER.keys["rsa"].public_key()


def test_invented_key_ids_fetch_once_a_pause(source: IssuerKeys, web: Web) -> None:
    """Invented key ids cost the issuer one fetch per pause, and do not affect known keys."""
    for number in range(50):
        with pytest.raises(TokenUntrusted):
            source.key(web.url, f"invented-{number}", after(number * SECOND / 10))
    assert len(web.asked) == 1
    with pytest.raises(TokenUntrusted):
        source.key(web.url, "invented", after(PAUSE))
    assert len(web.asked) == 2
    assert source.key(web.url, "ec", after(PAUSE))


def test_a_failed_fetch_is_repeated_after_the_pause(
    source: IssuerKeys, web: Web, failures: list[str]
) -> None:
    """After a failed fetch the next one comes after the pause."""
    web.status = 500
    for moment in (0 * SECOND, SECOND, PAUSE - SECOND):
        with pytest.raises(IssuerUnavailable):
            source.key(web.url, "ec", after(moment))
    assert len(web.asked) == len(failures) == 1
    web.status = 200
    assert source.key(web.url, "ec", after(PAUSE))


def test_keys_are_kept_while_the_issuer_is_away(source: IssuerKeys, web: Web, failures: list[str]) -> None:
    """While the issuer is away, its keys are used until they are stale, and no longer."""
    source.key(web.url, "ec", NOW)
    web.status = 503
    assert source.key(web.url, "ec", after(FRESH)) == source.key(web.url, "ec", after(STALE - SECOND))
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", after(STALE))
    assert len(failures) == 2  # the last call was within the pause


def test_issuers_have_keys_of_their_own(source: IssuerKeys, web: Web) -> None:
    """A key of one issuer is not found under another, though the key id is the same."""
    source.key(web.url, "ec", NOW)
    web.body = b'{"keys": []}'
    with pytest.raises(TokenUntrusted):
        source.key(web.url + "?tenant=2", "ec", NOW)
    assert web.asked == ["/jwks", "/jwks?tenant=2"]


def test_a_redirect_is_not_followed(source: IssuerKeys, web: Web, failures: list[str]) -> None:
    """A redirect fails the fetch, even one to the same host, because the fleet names the URL."""
    web.status, web.headers = 302, {"Location": web.url + "/elsewhere"}
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", NOW)
    assert web.asked == ["/jwks"]
    assert "status 302" in failures[0]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"keys": {}}', b"\xff", b"[" * 60_000])
def test_a_malformed_set_is_refused(source: IssuerKeys, web: Web, body: bytes) -> None:
    """A body that is no JWK set fails the fetch."""
    web.body = body
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", NOW)


def test_an_oversized_set_is_not_read(source: IssuerKeys, web: Web, failures: list[str]) -> None:
    """A set above the size limit is refused, though it is valid up to the limit."""
    web.body = ISSUER.document() + b" " * MAX_SIZE
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", NOW)
    assert f"{MAX_SIZE + 1} bytes" in failures[0]


def test_a_silent_issuer_times_out(
    source: IssuerKeys, web: Web, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetch times out when the server does not answer."""
    monkeypatch.setattr(jwks, "_SECONDS", 0.2)
    web.hold.clear()
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", NOW)
    assert "TimeoutError" in failures[0]


def fetching() -> list[str]:
    """Return the names of the threads that fetch keys."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("jwks")]


def until_no_thread() -> None:
    """Wait until no thread fetches keys, at most ten seconds."""
    deadline = time.monotonic() + 10
    while fetching() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fetching() == []


@pytest.mark.parametrize("answer", HOSTILE)
def test_a_fetch_ends_at_its_deadline(
    source: IssuerKeys, web: Web, failures: list[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A fetch ends at its deadline, and its thread and connection with it, for each hostile answer."""
    monkeypatch.setattr(jwks, "_SECONDS", 0.3)
    web.hostile = HOSTILE[answer]
    begun = time.monotonic()
    with pytest.raises(IssuerUnavailable):
        source.key(web.url, "ec", NOW)
    assert time.monotonic() - begun < 10
    until_no_thread()
    assert len(failures) == 1


def test_a_server_that_says_nothing_times_out(failures: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch from a server that accepts connections and never answers ends at the deadline."""
    monkeypatch.setattr(jwks, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(IssuerUnavailable):
        IssuerKeys(failures.append).key(f"https://localhost:{silent.getsockname()[1]}/jwks", "ec", NOW)
    until_no_thread()
    assert "imeout" in failures[0] or "timed out" in failures[0]


def test_an_unended_fetch_is_not_joined_by_another(
    web: Web, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the resolver of names does not answer, an issuer has one thread, and other issuers are served."""
    release, resolve = threading.Event(), socket.getaddrinfo

    def slow(host: str, *rest: Any, **named: Any) -> Any:
        if host == "slow.example":
            release.wait(20)
        return resolve(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(jwks, "_SECONDS", 0.2)
    source = IssuerKeys(failures.append)
    for pause in range(3):
        with pytest.raises(IssuerUnavailable):
            source.key("https://slow.example/jwks", "ec", after(pause * PAUSE))
        assert len(fetching()) == 1
    assert "the last fetch has not ended" in failures[1]
    monkeypatch.setattr(jwks, "_SECONDS", 5)
    assert source.key(web.url, "ec", NOW)
    release.set()
    until_no_thread()
    with pytest.raises(IssuerUnavailable):
        source.key("https://slow.example/jwks", "ec", after(4 * PAUSE))
    assert "has not ended" not in failures[3]


def test_an_issuer_that_is_away_is_unavailable(tmp_path: Path, failures: list[str]) -> None:
    """A refused connection fails the fetch."""
    with serving(tmp_path, b"") as gone:
        url = gone.url
    with pytest.raises(IssuerUnavailable):
        IssuerKeys(failures.append).key(url, "ec", NOW)
    assert "refused" in failures[0]


def test_an_untrusted_server_is_refused(tmp_path: Path, failures: list[str]) -> None:
    """A server whose certificate chains to no root of this machine fails the fetch."""
    with serving(tmp_path, ISSUER.document()) as stranger, pytest.raises(IssuerUnavailable):
        IssuerKeys(failures.append).key(stranger.url, "ec", NOW)
    assert "CERTIFICATE_VERIFY_FAILED" in failures[0]


def test_plain_http_is_never_used(tmp_path: Path, failures: list[str]) -> None:
    """A URL with the scheme http is fetched over TLS too, so a server without TLS gets no request."""
    with serving(tmp_path, ISSUER.document(), tls=False) as plain, pytest.raises(IssuerUnavailable):
        IssuerKeys(failures.append).key(plain.url, "ec", NOW)
    assert plain.asked == []
