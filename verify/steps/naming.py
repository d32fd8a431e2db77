"""Steps of groups whose devices are not named by the common name of their bootstrap certificates."""

from __future__ import annotations

from functools import partial

from device import certificates
from device.refusal import Refused
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.policy.service import ServicePolicy, bootstrap_policy
from verify import mqtt
from verify.bench import Bench
from verify.broker import ACCEPTED, Login
from verify.mqtt import Narration
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step


def variable(policy: ServicePolicy, source: str, bench: Bench) -> Measurements:
    """Boot over MQTT in a group whose policy has the variable of another field than the common name.

    The certificate's common name is another device's id, under which it must not connect.
    """
    group = bench.group_with(
        lambda each: bootstrap_policy(each) is policy, f'a group with device_id = "{source}"'
    )
    name, other = bench.name(), bench.name()
    bootstrap, narration = bench.bootstrap(name, group, common_name=other), Narration([])
    mqtt.unit(bench, name, bootstrap, narration, group).boot()
    connections, seconds = narration.connections("the certificate")
    yield Measurement("connections until the bootstrap certificate was let in", connections)
    yield Measurement("time until it was let in", seconds, "s")
    outcome = mqtt.broker(bench).outcome(Login(other, bootstrap))
    yield Measurement("the broker's answer to another device's client id", outcome)
    if outcome == ACCEPTED:
        raise Failed("no connection under another device's id", outcome)


def pattern(bench: Bench) -> Measurements:
    """Request a certificate in a group with a pattern, which RE2 matches (it needs libstdc++ in Lambda).

    No text that the pattern matches can be made for every pattern. So the refusal of a name that it does not
    match shows that RE2 works, as a certificate does.
    """
    group = bench.group_with(lambda each: each.pattern is not None, "a group with a pattern")
    name = bench.name()
    placed: dict[str, str] = {} if group.device_id == "subject.CN" else {group.device_id: name}
    bootstrap = bench.certified(name, placed, bench.factories[group.name])
    service = bench.service(None, bootstrap, inline=True)
    try:
        issued = service.enroll(bootstrap, certificates.csr(certificates.new_key()), None)
    except Refused as refusal:
        if refusal.code != DeviceIdInvalid.code:
            raise
        yield Measurement("the answer to a name that the pattern does not match", refusal.code)
    else:
        yield Measurement("the id that the pattern took out", issued.device_id)


_NEEDS = frozenset({Need.FACTORY, Need.BROKER})
_SPENDS = {Act.MQTT_BOOT: 1, Act.CONNECTION: 20}

STEPS = (
    Step(
        "a policy variable for the serial number of a subject",
        partial(variable, ServicePolicy.BOOTSTRAP_SERIAL_NUMBER, "subject.serialNumber"),
        _NEEDS,
        spends=_SPENDS,
    ),
    Step(
        "a policy variable for a URI",
        partial(variable, ServicePolicy.BOOTSTRAP_URI, "san.uri"),
        _NEEDS,
        spends=_SPENDS,
    ),
    Step("a pattern for names", pattern, frozenset({Need.FACTORY, Need.HTTPS}), spends={Act.BOOT: 1}),
)
