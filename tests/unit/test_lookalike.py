"""A trust anchor's look-alike is refused where the anchor is, and the compiler reports a useless anchor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstboot.compiler import outlook
from firstboot.domain.errors import Reason
from firstboot.pki import lookalike, signature
from tests import factories
from tests.field.corpus import Case, cases
from tests.field.encode import own
from tests.unit.fleet_folders import TOML, fleet, problems

NOW = datetime.now(UTC) + timedelta(hours=1)  # certificates that a slow run makes later are valid, too
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.7"), b"\5\0")


def directory(**parts: str) -> x509.DirectoryName:
    """Return a name of an organization, and of a common name if there is one."""
    oids = {"o": x509.NameOID.ORGANIZATION_NAME, "cn": x509.NameOID.COMMON_NAME}
    return x509.DirectoryName(x509.Name([x509.NameAttribute(oids[key], text) for key, text in parts.items()]))


def constrained(permitted: Any = None, excluded: Any = None) -> Any:
    """Return a CA certificate with name constraints."""
    return ca((x509.NameConstraints(permitted, excluded), True))


def ca(
    *extra: tuple[Any, bool], start: datetime = NOW - timedelta(days=1), days: float = 3650
) -> x509.Certificate:
    """Return a CA certificate that another CA issued, with more extensions."""
    upper = factories.authority("Root")
    return upper.issue("Factory", factories.ec_key(), ca=True, extra=list(extra), not_before=start, days=days)


@pytest.mark.parametrize("case", [case for case in cases("chain") if case.is_good], ids=str)
def test_the_anchors_of_the_field_admit_devices(case: Case) -> None:
    """A certificate under the look-alike of each good chain's anchor is accepted."""
    assert lookalike.refusal(case.anchor(), case.at) is None


@pytest.mark.parametrize(
    "anchor",
    [
        factories.authority(key=factories.rsa_key()).certificate,
        constrained([directory(o="Acme")]),
        constrained([directory(o="Acme"), directory(o="Beta", cn="x")]),
        constrained([x509.DNSName("acme.example")]),
        constrained(None, [directory(o="Acme")]),
        ca((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), True)),
        ca((UNKNOWN, False)),
    ],
)
def test_an_anchor_of_devices_passes(anchor: x509.Certificate) -> None:
    """An anchor that restricts names or uses passes if some device's certificate fulfils the restriction."""
    assert lookalike.refusal(own(anchor), NOW) is None


@pytest.mark.parametrize(
    ("anchor", "reason"),
    [
        (ca((UNKNOWN, True)), Reason.CERTIFICATE_CONSTRAINT),
        (constrained(None, [x509.DirectoryName(x509.Name([]))]), Reason.CERTIFICATE_CONSTRAINT),
        (constrained([directory(o="Acme")], [directory(o="Acme")]), Reason.CERTIFICATE_CONSTRAINT),
    ],
)
def test_a_useless_anchor_is_a_problem_of_the_fleet(anchor: x509.Certificate, reason: Reason) -> None:
    """The compiler names the file and the reason if no certificate under an anchor could ever be accepted."""
    refused = lookalike.refusal(own(anchor), NOW)
    assert refused
    assert refused.reason == reason
    (problem,) = problems(trust={"factory.pem": factories.pem(anchor).encode()})
    assert problem.startswith("trust/factory.pem: CN=Factory admits no device")
    assert reason in problem


def test_an_anchor_that_never_holds_is_a_problem_of_the_fleet() -> None:
    """The compiler refuses an anchor that ends before it begins, which is so on every day."""
    certificate = ca(start=NOW, days=1)
    builder = (
        x509.CertificateBuilder(extensions=list(certificate.extensions))
        .subject_name(certificate.subject)
        .issuer_name(certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
    )
    made = builder.sign(factories.ec_key(), hashes.SHA256())
    (problem,) = problems(trust={"factory.pem": factories.pem(made).encode()})
    assert problem == "trust/factory.pem: CN=Factory ends before it begins"


def test_a_teletex_name_is_no_traceback() -> None:
    """An anchor whose subject has a Latin-1 TeletexString compiles and is looked at."""
    (case,) = (case for case in cases("chain") if str(case) == "teletex-latin-1-ca")
    compiled = fleet(trust={"factory.pem": case.read("anchor")})
    assert outlook.warnings(compiled, case.at) == []


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "days", "warning"),
    [
        (NOW - DAY, 92, None),
        (NOW - DAY, 90, "CN=Factory ends on "),
        (NOW - 9 * DAY, 8, "no certificate under CN=Factory is accepted"),
        (NOW + DAY, 900, "no certificate under CN=Factory is accepted"),
    ],
)
def test_an_anchor_without_a_future_is_a_warning(start: datetime, days: float, warning: str | None) -> None:
    """An anchor that has ended, ends within 90 days or has not begun compiles, and there is a warning."""
    made = ca(start=start, days=days)
    found = outlook.warnings(fleet(trust={"factory.pem": factories.pem(made).encode()}), NOW)
    assert len(found) == (1 if warning else 0)
    assert all(line.startswith(f"groups.gateways: {warning}") for line in found)
    if warning and "accepted" in warning:
        assert f"{made.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}" in found[0]


SERVERS, CLIENTS = (
    (x509.ExtendedKeyUsage(list(uses)), True)
    for uses in (
        (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
        (ExtendedKeyUsageOID.CLIENT_AUTH,),
    )
)


@pytest.mark.parametrize(
    ("extra", "eku", "decided", "warned"),
    [
        ([], "optional", False, True),
        ([SERVERS], "optional", False, True),
        ([CLIENTS], "optional", False, False),
        ([], "optional", True, False),
        ([], "required", True, False),
    ],
)
def test_a_ca_that_may_issue_for_servers_is_a_warning(
    extra: Any,
    eku: str,
    *,
    decided: bool,
    warned: bool,
) -> None:
    """A group is warned about if its CA may issue for servers and nothing says that this is meant."""
    toml = TOML.replace("[role_aliases", f'eku = "{eku}"\n[role_aliases')
    compiled = fleet(toml=toml, trust={"factory.pem": factories.pem(ca(*extra)).encode()})
    found = outlook.beyond_clients(compiled, {"gateways"} if decided else set())
    assert len(found) == (1 if warned else 0)


def test_many_anchors_of_one_name_take_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling verifies a number of signatures in proportion to the number of anchors, not to its square."""
    anchors = [factories.authority("One name").certificate for _ in range(300)]
    verified = 0
    is_valid = signature.is_valid

    def counted(*arguments: Any) -> bool:
        nonlocal verified
        verified += 1
        return is_valid(*arguments)

    monkeypatch.setattr(signature, "is_valid", counted)
    pems = [factories.pem(each) for each in anchors]
    two = TOML.replace("[role_aliases", '[groups.others]\ntrust = ["trust/other.pem"]\n[role_aliases')
    trust = {"factory.pem": "".join(pems[:150]).encode(), "other.pem": "".join(pems[150:]).encode()}
    compiled = fleet(toml=two, trust=trust)
    outlook.warnings(compiled, NOW)
    assert verified <= 4 * len(anchors)
