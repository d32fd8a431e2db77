"""Steps of bootstrap certificates that AWS IoT does not know yet (just-in-time registration, JITR)."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from device import form
from device.refusal import Refused
from device.store import Identity
from firstboot.domain import topics
from firstboot.domain.names import JITR_PREFIX
from firstboot.policy.errors import NoGrant
from verify import leftovers, mqtt, observer
from verify.bench import Bench, Unit
from verify.broker import ACCEPTED
from verify.mqtt import Narration
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step

_EVERY_REGISTRATION = f"{topics.REGISTERED}+"
_ATTEMPTS = 4
_DECISION_SECONDS = 120.0


def certificate_id(identity: Identity) -> str:
    """Return AWS IoT's id of a certificate: the SHA-256 of its DER."""
    # cryptography refuses some of the encodings that the walk tries, and the device's own reader does not.
    return hashlib.sha256(form.chain(identity.certificate.read_bytes())[0].der).hexdigest()


def first_boot(bench: Bench) -> Measurements:
    """Boot over MQTT with a certificate that AWS IoT does not know, and get credentials over MQTT."""
    name, narration = bench.name(), Narration([])
    unit = mqtt.unit(bench, name, bench.bootstrap(name, mqtt.group(bench)), narration)
    begun = time.monotonic()
    with observer.observing(bench, _EVERY_REGISTRATION) as events:
        answer = unit.boot()
        yield Measurement("from the first connection to the log-in", time.monotonic() - begun, "s")
        found = _of(events.messages(), unit.bootstrap)
    if (answer.get("deviceId"), answer.get("status")) != (unit.name, "active"):
        raise Failed(f"{unit.name} to be active", answer)
    connections, seconds = narration.connections("the certificate")
    yield Measurement("connections until the bootstrap certificate was let in", connections)
    yield Measurement("time until it was let in", seconds, "s")
    yield Measurement("events about its registration", len(found))
    connections, _ = narration.connections("the answer to the log-in")
    yield Measurement("connections until the new certificate was let in", connections)
    yield from _credentials(bench, unit)


def _credentials(bench: Bench, unit: Unit) -> Measurements:
    withheld = 0
    for alias in bench.fleet.role_aliases:
        begun = time.monotonic()
        try:
            answer = unit.service.credentials(unit.live, alias)
        except Refused as refusal:
            if refusal.code != NoGrant.code:
                raise
            withheld += 1
            continue
        yield Measurement(f"time for credentials of {alias} over MQTT", time.monotonic() - begun, "s")
        yield Measurement(f"session token of {alias} over MQTT", len(answer["SessionToken"]), "characters")
    yield Measurement("role aliases whose credentials the rules withhold from a new device", withheld)


def waiting(bench: Bench) -> Measurements:
    """Connect several times with a certificate of a factory whose name is no device id.

    It can never enroll, so it waits in AWS IoT as PENDING_ACTIVATION.
    """
    name = f"{bench.name()}*"
    bootstrap = bench.bootstrap(name, mqtt.group(bench))
    iot, identifier = bench.client("iot"), certificate_id(bootstrap)
    bench.at_end.append((f"certificate {identifier[:16]}…", lambda: leftovers.remove(iot, identifier)))
    with observer.observing(bench, _EVERY_REGISTRATION) as events:
        broker, who = mqtt.broker(bench), mqtt.first_login(bench, name, bootstrap)
        outcomes = [broker.outcome(who) for _ in range(_ATTEMPTS)]
        found = _of(events.messages(), bootstrap)
    yield Measurement("connections", _ATTEMPTS)
    yield Measurement("the broker's answers", ", ".join(sorted(set(outcomes))))
    yield Measurement("events about its registration", len(found))
    known = [each for each in found if each.get("certificateRegistrationTimestamp") is not None]
    yield Measurement("of these, events that name an earlier registration", len(known))
    if ACCEPTED in outcomes:
        raise Failed("no connection", ACCEPTED)
    yield Measurement("decisions of Firstboot on it", _decisions(bench, identifier))
    status = iot.describe_certificate(certificateId=identifier)["certificateDescription"]["status"]
    if status != "PENDING_ACTIVATION":
        raise Failed("a certificate that waits (PENDING_ACTIVATION)", status)


def _decisions(bench: Bench, identifier: str) -> int:
    """Return how many of the certificate's events Firstboot decided on."""
    table, end = bench.client("dynamodb"), time.monotonic() + _DECISION_SECONDS
    key = {"pk": {"S": f"{JITR_PREFIX}{identifier}"}}
    while time.monotonic() < end:
        row = table.get_item(TableName=bench.outputs("Table"), Key=key).get("Item", {})
        if "decidedAt" in row:
            return int(row["attempts"]["N"])
        time.sleep(1)
    raise Failed(f"a decision on the certificate within {_DECISION_SECONDS:.0f} s", "none")


def _of(messages: list[Any], identity: Identity) -> list[dict[str, Any]]:
    """Return the events about one certificate. Other devices' come on the same topic."""
    events = [json.loads(each.payload) for each in messages]
    return [each for each in events if each.get("certificateId") == certificate_id(identity)]


FIRST_BOOT = "first boot over MQTT"

STEPS = (
    Step(
        FIRST_BOOT,
        first_boot,
        frozenset({Need.FACTORY, Need.BROKER}),
        spends={Act.MQTT_BOOT: 1, Act.CONNECTION: 20, Act.VEND: 4},
    ),
    Step(
        "a bootstrap certificate that can never enroll",
        waiting,
        frozenset({Need.FACTORY, Need.BROKER}),
        spends={Act.CONNECTION: 20},
    ),
)
