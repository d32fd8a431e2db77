"""AWS IoT fleet provisioning around the hook: a device's RegisterThing, and what AWS IoT does about it.

moto has no provisioning over MQTT. `tests/flows` carries out the deployed template on a broker.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography import x509

from firstboot.domain.errors import Unavailable
from firstboot.exchange.provisioning import DEVICE_ID
from firstboot.pki import chain
from firstboot.policy.service import ServicePolicy
from tests import factories
from tests.aws.deployed import ACCOUNT, REGION
from tests.aws.product import CONTEXT
from tests.faults.clients import ASYNC_TRIES
from tests.faults.other_ways import NAME, until
from tests.faults.world import World, device_key, direct

ACCEPTED, REJECTED = 200, 403
"""The statuses of AWS IoT's two answers to RegisterThing. The first one has none on the wire."""

_STACK = "Firstboot"


@cache
def _aws() -> factories.Authority:
    """Return the CA of the certificates that AWS IoT makes, which no group trusts."""
    return factories.authority("Amazon Root")


@cache
def certificate(number: int) -> x509.Certificate:
    """Return the certificate that AWS IoT makes for one of the devices' keys, the same one in all runs."""
    return _aws().issue("AWS IoT Certificate", device_key(number))


def prepare(claim: x509.Certificate, *numbers: int) -> None:
    """Have JITR admit the claim certificate, and AWS IoT make certificates for the keys with these numbers.

    A made certificate is PENDING_ACTIVATION until the template makes it active.
    """
    iot = direct("iot")
    iot.create_thing_type(thingTypeName=_STACK)
    _register(claim, "ACTIVE")
    for number in numbers:
        _register(certificate(number), "PENDING_ACTIVATION")


def _register(leaf: x509.Certificate, status: Any) -> None:
    direct("iot").register_certificate_without_ca(certificatePem=factories.pem(leaf), status=status)


def ask(world: World, claim: x509.Certificate, made: x509.Certificate) -> int:
    """Invoke the hook once, as AWS IoT does for a RegisterThing, and return the status of AWS IoT's answer.

    AWS IoT rejects the device unless the hook answers that it may be provisioned (AWS IoT developer guide,
    "Pre-provisioning hooks"). So a hook that fails rejects it too.
    """
    event = {
        "claimCertificateId": chain.fingerprint(claim),
        "certificateId": chain.fingerprint(made),
        "certificatePem": factories.pem(made),
        "templateArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:provisioningtemplate/{_STACK}",
        "clientId": f"boot-{NAME}",
        "parameters": {"SerialNumber": NAME},
    }
    try:
        answer = world.product.lambdas.provisioning(event, CONTEXT)
    except Unavailable:
        return REJECTED
    if answer != {"allowProvisioning": False}:
        assert answer == {"allowProvisioning": True, "parameterOverrides": {DEVICE_ID: NAME}}
        return ACCEPTED
    return REJECTED


def provision(world: World, claim: x509.Certificate, number: int) -> bool:
    """Repeat RegisterThing until AWS IoT accepts it, and have the template carried out.

    Return whether it was accepted.
    """
    made = certificate(number)
    is_accepted = until(world, lambda: ask(world, claim, made), ACCEPTED)
    if is_accepted:
        _carry_out(chain.fingerprint(made))
    return is_accepted


def connect(world: World, number: int) -> None:
    """Let AWS IoT publish that the device has connected with its certificate."""
    event = {"clientId": NAME, "principalIdentifier": chain.fingerprint(certificate(number))}
    world.invoke_event("presence", event, ASYNC_TRIES)


def _carry_out(certificate_id: str) -> None:
    """Carry out the template of infra/provisioning.py. A thing that exists stays as it is."""
    iot = direct("iot")
    if NAME not in [each["thingName"] for each in iot.list_things()["things"]]:
        iot.create_thing(thingName=NAME, thingTypeName=_STACK)
    arn = f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{certificate_id}"
    iot.update_certificate(certificateId=certificate_id, newStatus="ACTIVE")
    iot.attach_policy(policyName=ServicePolicy.DEVICE.policy_name(_STACK), target=arn)
    iot.attach_thing_principal(thingName=NAME, principal=arn)
