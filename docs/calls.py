"""The messages of each HTTPS call and each MQTT call: one entry for every route and every topic.

`check` refuses a route or a call without an entry. A test over moto compares the entries with what the Lambda
functions accept and answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from firstboot.domain import topics
from firstboot.exchange.messages import (
    CertificateAnswer,
    CertificateRequest,
    CommitAnswer,
    DelayedAnswer,
    HealthAnswer,
    MqttCertificateRequest,
    NonceAnswer,
)
from firstboot.runtime import routes
from firstboot.runtime.http import NONCE_HEADER
from firstboot.runtime.messages import Answer, NoMembers, Request
from firstboot.runtime.routes import Route
from firstboot.vend.credential_provider import CredentialsAnswer, ProviderError
from firstboot.vend.endpoints import MqttCredentialsRequest
from firstboot.vend.hub_signature import SasAnswer
from firstboot.vend.record import DeviceAnswer
from firstboot.vend.roles_anywhere import CreateSessionAnswer, CreateSessionRequest


@dataclass(frozen=True)
class Parameter:
    """A parameter of a call that is not in its body."""

    name: str
    where: str
    description: str


@dataclass(frozen=True)
class Success:
    """A successful answer: its members, and the name of a header that comes with them."""

    members: type[Answer]
    header: str | None = None


@dataclass(frozen=True)
class HttpCall:
    """The request of an HTTPS route, and its possible answers.

    `refusals` are the statuses of Firstboot's own refusals. `problems` says whether these are problem+json,
    and whether answers have the member `time`. Otherwise they have the form of AWS IoT's credential provider,
    or the form `refusal` of another protocol.
    """

    answers: Mapping[HTTPStatus, Success]
    refusals: tuple[int, ...] = (500, 503)
    request: type[Request] | None = None
    parameters: tuple[Parameter, ...] = field(default=())
    problems: bool = True
    refusal: type[Answer] | None = None


@dataclass(frozen=True)
class MqttCall:
    """The request of an MQTT call, its possible answers, and the certificate that it accepts."""

    request: type[Request]
    answers: tuple[type[Answer], ...]
    certificate: str


HTTP: Mapping[Route, HttpCall] = {
    routes.CERTIFICATES: HttpCall(
        answers={
            HTTPStatus.CREATED: Success(CertificateAnswer),
            HTTPStatus.ACCEPTED: Success(DelayedAnswer, "Retry-After"),
        },
        refusals=(400, 401, 403, 409, 413, 415, 429, 500, 503),
        request=CertificateRequest,
        parameters=(
            Parameter(
                "deviceId", "query", "The `deviceId` of a JSON body, for a body of `application/pkcs10`"
            ),
        ),
    ),
    routes.COMMIT: HttpCall(
        answers={HTTPStatus.OK: Success(CommitAnswer)}, refusals=(400, 401, 403, 500, 503)
    ),
    routes.NONCE: HttpCall(answers={HTTPStatus.OK: Success(NonceAnswer, NONCE_HEADER)}),
    routes.HEALTH: HttpCall(answers={HTTPStatus.OK: Success(HealthAnswer)}),
    routes.DEVICE: HttpCall(
        answers={HTTPStatus.OK: Success(DeviceAnswer)}, refusals=(400, 401, 403, 500, 503)
    ),
    routes.CREDENTIALS: HttpCall(
        answers={HTTPStatus.OK: Success(CredentialsAnswer)},
        refusals=(400, 401, 403, 404, 500, 503),
        parameters=(
            Parameter("alias", "path", "The role alias"),
            Parameter("x-amzn-iot-thingname", "header", "The device's own id; optional"),
        ),
        problems=False,
    ),
    routes.SAS: HttpCall(
        answers={HTTPStatus.OK: Success(SasAnswer)},
        refusals=(400, 401, 403, 404, 500, 503),
        parameters=(Parameter("hub", "path", "The hub's host name"),),
    ),
    routes.SESSIONS: HttpCall(
        answers={HTTPStatus.CREATED: Success(CreateSessionAnswer)},
        refusals=(400, 403, 404, 429, 500, 503),
        request=CreateSessionRequest,
        parameters=tuple(
            Parameter(name, "query", "As in the body; a client writes it into one of them or into both")
            for name in ("profileArn", "roleArn", "trustAnchorArn")
        ),
        problems=False,
        refusal=ProviderError,
    ),
}

MQTT: Mapping[topics.Call, MqttCall] = {
    topics.CERTIFICATES: MqttCall(
        MqttCertificateRequest,
        (CertificateAnswer, DelayedAnswer),
        "a bootstrap certificate to enroll, an operational certificate to renew",
    ),
    topics.COMMIT: MqttCall(
        NoMembers, (CommitAnswer,), "an operational certificate. Connecting with it commits too"
    ),
    topics.CREDENTIALS: MqttCall(MqttCredentialsRequest, (CredentialsAnswer,), "an operational certificate"),
}


def check(http: Collection[Route] = tuple(HTTP), mqtt: Collection[topics.Call] = tuple(MQTT)) -> None:
    """Raise ValueError unless exactly the declared routes and MQTT calls have entries."""
    if set(http) != set(routes.ROUTES):
        raise ValueError(f"docs/calls.py needs exactly {[route.key for route in routes.ROUTES]}")
    if set(mqtt) != set(topics.CALLS):
        raise ValueError(f"docs/calls.py needs exactly {[call.request for call in topics.CALLS]}")
