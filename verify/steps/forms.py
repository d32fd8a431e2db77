"""Steps of bootstrap certificates in unusual encodings, at API Gateway's mTLS host and at AWS IoT.

AWS does not document which encodings the two read, so most of what is found is a measurement. What reaches
Firstboot must be accepted (docs/devices.md).
"""

from __future__ import annotations

import ssl
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from device import certificates
from device.refusal import CertificateRefused, Refused
from device.store import Identity
from firstboot.domain.fleet import Group
from verify import encodings, leftovers, mqtt
from verify.bench import Bench
from verify.encodings import Encode
from verify.mqtt import Narration
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step
from verify.steps.jitr import certificate_id

_FORMS: dict[str, Encode] = {
    "X.509 v1": encodings.version_1,
    "GeneralizedTime before 2050": encodings.generalized_time,
    "NULL as ECDSA's parameters": encodings.null_parameters,
}


def at_api_gateway(bench: Bench) -> Measurements:
    """Request a certificate at the mTLS host with a bootstrap certificate of each form."""
    service = bench.service(Need.MTLS, inline=True)
    group = bench.group
    for form, encode in _forms(bench, group).items():
        bootstrap = _encoded(bench, bench.name(), group, encode)
        try:
            service.enroll(bootstrap, certificates.csr(certificates.new_key()), None)
        except CertificateRefused as refusal:
            yield Measurement(form, f"refused before Firstboot: {refusal.detail}")
        except Refused as refusal:
            if refusal.code is None:  # Firstboot's own refusals have a code
                yield Measurement(form, f"no answer: {refusal.detail}")
                continue
            raise Failed(f"{form} to be accepted by Firstboot", f"{refusal.code}: {refusal}") from refusal
        else:
            yield Measurement(form, "accepted")


def at_aws_iot(bench: Bench) -> Measurements:
    """Boot over MQTT with a bootstrap certificate of each form."""
    iot = bench.client("iot")
    group = mqtt.group(bench)
    for form, encode in _forms(bench, group).items():
        name = bench.name()
        bootstrap = _encoded(bench, name, group, encode)
        identifier = certificate_id(bootstrap)
        bench.at_end.append((f"certificate {identifier[:16]}…", partial(leftovers.remove, iot, identifier)))
        first = mqtt.broker(bench).outcome(mqtt.first_login(bench, name, bootstrap))
        if first.startswith("TLS"):
            yield Measurement(form, f"refused in the handshake: {first}")
            continue
        yield Measurement(f"{form}, the first connection", first)
        unit = mqtt.unit(bench, name, bootstrap, Narration([]))
        try:
            unit.boot()
        except Refused as refusal:
            yield Measurement(form, f"not let in: {refusal.detail}")
        else:
            yield Measurement(form, "accepted")


def _forms(bench: Bench, group: Group) -> dict[str, Encode]:
    is_rsa = isinstance(bench.factories[group.name].key, rsa.RSAPrivateKey)
    return {form: encode for form, encode in _FORMS.items() if not (is_rsa and "ECDSA" in form)}


def _encoded(bench: Bench, name: str, group: Group, encode: Encode) -> Identity:
    """Make a bootstrap certificate in another encoding."""
    identity = bench.bootstrap(name, group)
    original, *above = x509.load_pem_x509_certificates(identity.certificate.read_bytes())
    encoded = encode(original, bench.factories[group.name].key)
    ders = [encoded, *(each.public_bytes(Encoding.DER) for each in above)]
    identity.certificate.write_text("".join(map(ssl.DER_cert_to_PEM_cert, ders)))
    return identity


STEPS = (
    Step(
        "encodings of certificates at API Gateway",
        at_api_gateway,
        frozenset({Need.FACTORY, Need.MTLS}),
        spends={Act.BOOT: 3},
    ),
    Step(
        "encodings of certificates at AWS IoT",
        at_aws_iot,
        frozenset({Need.FACTORY, Need.BROKER}),
        spends={Act.MQTT_BOOT: 3, Act.CONNECTION: 60},
    ),
)
