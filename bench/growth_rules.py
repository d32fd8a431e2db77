"""Measure how a fleet's cost grows with its rules and grants: compile, load, decide, a page of devices.

All times are CPU times of this process, since other work on the machine changes the time on the clock. Each
decision is about another device, so that none is remembered. It is measured beside one request to Cedar for
each grant, in turn, because that is Cedar's own way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle
from statistics import quantiles
from typing import Any

from cedarpy import Entities, PolicySet, Schema, is_authorized_batch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firstboot.compiler import fleet as compiler
from firstboot.compiler import sizes
from firstboot.compiler.source import Source
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.domain.sweep import PAGE
from firstboot.operate.excess import Count
from firstboot.policy import vocabulary
from firstboot.policy.attachment import needs_reconciling
from firstboot.policy.render import Place
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.sums import Sums

SIZES = ((1, 1), (10, 10), (100, 100), (sizes.RULES, sizes.GRANTS))
"""The numbers of rules and grants that are measured, the last of which a fleet may just have."""

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PLACE = Place("aws", "us-east-1", "123456789012")
_CONTEXT = RequestContext("telemetry", "192.0.2.7")
_TOML = """
[groups.gateways]
trust = ["trust/factory.pem"]
[role_aliases.telemetry]
[role_aliases.updates]
"""
_SCHEMA = """
entity Group;
entity Grant;
entity Device in [Group] = {
  deviceId: String, quarantined: Bool, claims: { model?: String }, site?: String, floor?: Long
};
action hold appliesTo {
  principal: [Device], resource: [Grant], context: { roleAlias: String, sourceIp?: ipaddr }
};
"""
_CONDITIONS = (
    'principal has site && principal.site == "site-{0}"',
    "principal has floor && principal.floor > {0}",
    'context.roleAlias == "telemetry" && principal has site && principal.site == "site-{0}"',
    "!principal.quarantined && principal has floor && principal.floor == {0}",
)

Row = dict[str, Any]


def measure() -> list[Row]:
    """Return a row for each of the sizes. A cell with three numbers has the median and the quartiles."""
    return [_row(rules, grants) for rules, grants in SIZES]


def source(rules: int, grants: int) -> Source:
    """Return a fleet folder with this number of rules and grants. Each tenth rule forbids."""
    files = {"fleet.toml": _TOML, "schema.cedarschema": _SCHEMA, "trust/factory.pem": _anchor()}
    files["rules.cedar"] = "".join(
        f'@id("rule-{number}") {"forbid" if number % 10 == 9 else "permit"} '
        f'(principal in Group::"gateways", action, resource == Grant::"g{number % grants}") '
        f"when {{ {_CONDITIONS[number % 4].format(number % 20)} }};\n"
        for number in range(rules)
    )
    # A role's policies may have 10,240 characters together, so the statements of some grants are equal.
    for number in range(grants):
        files[f"grants/g{number}.json"] = json.dumps(_grant(number % 50))
    return Source({name: text.encode() for name, text in files.items()})


def devices(count: int = PAGE) -> list[Device]:
    """Return enrolled devices, no two of which the rules need find alike."""
    return [
        Device(
            DeviceId(f"gw-{number:04}"),
            "gateways",
            Status.ENROLLED,
            1,
            NOW,
            NOW,
            attributes={"site": f"site-{number % 40}", "floor": number // 40},
            registered=frozenset({"0" * 64}),
        )
        for number in range(count)
    ]


def decide_for_each_grant(fleet: Fleet) -> Callable[[Device], list[Any]]:
    """Return a function that asks Cedar about each grant by itself, which evaluates all rules for each."""
    schema, policies, names = (
        Schema.from_str(fleet.schema),
        PolicySet.from_str(fleet.rules),
        sorted(fleet.grants),
    )
    said = vocabulary.context(_CONTEXT.role_alias, _CONTEXT.source_ip)

    def decide(device: Device) -> list[Any]:
        entities = Entities.from_json_str(json.dumps(vocabulary.entities(device)), schema)
        asked = [vocabulary.request(device.device_id, name, said) for name in names]
        return list(is_authorized_batch(asked, policies, entities, schema))

    return decide


def _row(rules: int, grants: int) -> Row:
    files, page = source(rules, grants), devices()
    fleet = compiler.compile_fleet(files)
    made, each = Rules(fleet), decide_for_each_grant(fleet)
    repeats, one, other = (40 if rules <= 100 else 10), cycle(page), cycle(page)
    fast, slow = _interleaved(repeats, lambda: made.decide(next(one), _CONTEXT), lambda: each(next(other)))
    return {
        "rules": rules,
        "grants": grants,
        "compile, ms": _text(_times(5, lambda: compiler.compile_fleet(files))),
        "load, ms": _text(_times(9, lambda: Rules(fleet))),
        "decide, ms": _text(fast),
        "decide, a request for each grant, ms": _text(slow),
        f"sweep, {len(page):,} devices, s": _text(_times(3, lambda: _swept(made, page)), 1_000),
        f"fleet diff, {len(page):,} devices, s": _text(_times(3, lambda: _planned(made, page)), 1_000),
    }


def _swept(rules: Rules, page: list[Device]) -> int:
    return sum(needs_reconciling(rules, device, NOW) for device in page)


def _planned(rules: Rules, page: list[Device]) -> int:
    """Do for a page what `fleet.plan` does, with rules of which nothing is remembered."""
    count = Count(Sums(rules, _PLACE), Sums(rules, _PLACE))
    for device in page:
        count.add(device)
    return _swept(rules, page)


def _times(count: int, work: Callable[[], object]) -> list[float]:
    """Return the CPU milliseconds of a number of calls, after one that does not count."""
    work()
    return [_time(work) for _ in range(count)]


def _interleaved(count: int, *works: Callable[[], object]) -> list[list[float]]:
    """Return the CPU milliseconds of calls of several functions, which take turns."""
    rounds = [[_time(work) for work in works] for _ in range(count + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def _time(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) * 1_000


def _text(times: list[float], unit: int = 1) -> str:
    """Return the median and the quartiles of times in milliseconds, divided by `unit`."""
    low, middle, high = (f"{each / unit:.3g}" for each in quantiles(times, n=4, method="inclusive"))
    return f"{middle} ({low} to {high})"


def _grant(number: int) -> Row:
    resource = f"arn:{{partition}}:iot:{{region}}:{{account}}:topic/t{number}/{{deviceId}}"
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _anchor() -> str:
    """Return a factory CA certificate in PEM."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]),
    )
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=3_650))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    rights = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    usage = x509.KeyUsage(**rights, key_cert_sign=True, crl_sign=True)
    made = made.add_extension(usage, critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _lines(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        yield ", ".join(f"{name}: {value}" for name, value in row.items())


if __name__ == "__main__":
    print(*_lines(measure()), sep="\n")
