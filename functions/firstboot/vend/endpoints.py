"""The endpoints of the vend Lambda functions over HTTPS and MQTT."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.clock import epoch
from firstboot.domain.errors import FirstbootError, ProofError
from firstboot.domain.session import Credentials, SessionSizes
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.login import LogIn, VerifiedIdentity
from firstboot.identity.possession import OverTls, Presented
from firstboot.identity.proof import Prove
from firstboot.policy.limits import check_answer
from firstboot.policy.rules import RulesInForce
from firstboot.runtime.callers import present
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import HttpRequest, HttpResponse, respond
from firstboot.runtime.messages import Request, stamped
from firstboot.vend import credential_provider
from firstboot.vend.credential_provider import CredentialsAnswer
from firstboot.vend.record import ShowRecord
from firstboot.vend.vend import Vend, VendingRequest
from firstboot.vend.waiting import Waiting

if TYPE_CHECKING:
    from firstboot.vend.hub_signature import SignForHub


class MqttCredentialsRequest(Request, frozen=True, kw_only=True):
    """A request for credentials over MQTT."""

    role_alias: str


@dataclass(frozen=True)
class Endpoints:
    """The endpoints, with the use cases that they call."""

    rules: RulesInForce
    log_in: LogIn
    prove: Prove
    connected: Connected
    vend: Vend
    show_record: ShowRecord
    waiting: Waiting
    guard: Guard

    def credentials(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Vend credentials. Answers and errors have the form of AWS IoT's credential provider."""
        thing_name = request.headers.get("x-amzn-iot-thingname")
        wanted = VendingRequest(request.parameters["alias"], thing_name, request.source_ip)
        try:
            if request.client_certificate:
                self.guard.about(way=OverTls.way)
                self.waiting.refuse_early(request.client_certificate, now)
            presented = present(request, self.prove, now)
            vended, longest = self.vended(presented, wanted, now)
            answer = credential_provider.success(vended)
            client = credential_provider.client_limit(request.headers.get("user-agent", ""))
            self.check_size(len(answer.body), client, longest)
        except ProofError:
            raise  # AWS IoT's clients sign no proofs; callers that do need problem+json and its nonce
        except FirstbootError as error:
            self.guard.refusal(error)
            return credential_provider.failure(error, request.request_id)
        self.note(wanted, vended)
        return answer

    def vended(
        self, presented: Presented, wanted: VendingRequest, now: datetime
    ) -> tuple[Credentials, int | None]:
        """Return credentials, and the bytes that an answer may have under the role alias (None: any).

        Raises FirstbootError.
        """
        self.waiting.refuse(presented.leaf, now)
        with self.waiting.noticing(presented.leaf.identifier, now):
            return self._vend(presented, wanted, now)

    def record(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Show the device its own record and the grants that it holds now."""
        identity = self._identify(present(request, self.prove, now), now)
        answer = self.show_record(identity, request.source_ip, self.rules.at(now), now)
        return respond(HTTPStatus.OK, answer, now)

    def hub_signature(self, request: HttpRequest, now: datetime, *, sign: SignForHub) -> HttpResponse:
        """Make a shared access signature for an IoT hub."""
        identity = self._identify(present(request, self.prove, now), now)
        hub = request.parameters["hub"]
        answer = sign(identity, hub, request.source_ip, self.rules.at(now), now)
        self.guard.info("shared access signature made", hub=answer.hub, seconds=answer.expires_in)
        self.guard.count("HubSignatures")
        return respond(HTTPStatus.OK, answer, now)

    def credentials_message(
        self, client: Connection, request: MqttCredentialsRequest, now: datetime
    ) -> CredentialsAnswer:
        """Vend credentials over MQTT.

        The rules decide without a source address, because AWS IoT does not pass it on.
        """
        wanted = VendingRequest(request.role_alias)
        # AWS IoT has verified the connection's certificate, which is a device's.
        self.waiting.check(client.principal, now)
        with self.waiting.noticing(client.principal, now):
            vended, longest = self._vend(self.connected(client, None), wanted, now)
        answer = credential_provider.render(vended)
        # The client's token comes on top: its length is the client's choice.
        self.check_size(len(json.dumps(stamped(answer, now), separators=(",", ":"))), longest)
        self.note(wanted, vended)
        return answer

    def _vend(
        self, presented: Presented, wanted: VendingRequest, now: datetime
    ) -> tuple[Credentials, int | None]:
        """Return credentials, and the bytes that an answer may have under the role alias (None: any)."""
        identity = self._identify(presented, now)
        rules = self.rules.at(now)
        vended = self.vend(identity, wanted, rules)
        self._measure(vended.sizes)
        return vended, rules.fleet.role_aliases[wanted.role_alias].max_answer

    def _measure(self, sizes: SessionSizes) -> None:
        """Write the metrics of a session's sizes."""
        measured = (
            ("SessionTokenSize", sizes.token_bytes, MetricUnit.Bytes),
            ("SessionTokenUtilization", sizes.token_percent, MetricUnit.Percent),
            ("PackedPolicySize", sizes.packed_percent, MetricUnit.Percent),
        )
        for metric, value, unit in measured:
            if value is not None:
                self.guard.count(metric, value, unit)

    def check_size(self, size: int, *limits: int | None) -> None:
        """Refuse an answer of `size` bytes that exceeds one of the limits; None is no limit.

        Raises AnswerTooLarge.
        """
        known = [limit for limit in limits if limit is not None]
        if known:
            self.guard.count("AnswerUtilization", 100 * size / min(known), MetricUnit.Percent)
            check_answer(size, min(known))

    def _identify(self, presented: Presented, now: datetime) -> VerifiedIdentity:
        self.guard.about(way=presented.way)
        identity = self.log_in(presented, now)
        self.guard.about(deviceId=identity.device.device_id)
        return identity

    def note(self, wanted: VendingRequest, vended: Credentials) -> None:
        """Log and count vended credentials."""
        expiration = epoch(vended.expiration)
        self.guard.info("credentials vended", roleAlias=wanted.role_alias, expiration=expiration)
        self.guard.count("CredentialsVended")
