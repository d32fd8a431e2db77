"""The endpoints of the vend Lambda functions over HTTPS and MQTT."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from firstboot.domain.clock import epoch
from firstboot.domain.errors import FirstbootError, ProofError
from firstboot.domain.session import Credentials
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.login import LogIn, VerifiedIdentity
from firstboot.identity.possession import Presented
from firstboot.identity.proof import Prove
from firstboot.policy.rules import RulesInForce
from firstboot.runtime.callers import present
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import HttpRequest, HttpResponse, respond
from firstboot.runtime.messages import Request
from firstboot.vend import credential_provider
from firstboot.vend.credential_provider import CredentialsAnswer
from firstboot.vend.record import ShowRecord
from firstboot.vend.vend import Vend, VendingRequest


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
    guard: Guard

    def credentials(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Vend credentials. Answers and errors have the form of AWS IoT's credential provider."""
        thing_name = request.headers.get("x-amzn-iot-thingname")
        wanted = VendingRequest(request.parameters["alias"], thing_name, request.source_ip)
        try:
            vended = self._vend(present(request, self.prove, now), wanted, now)
            answer = credential_provider.success(vended)
        except ProofError:
            raise  # AWS IoT's clients sign no proofs; callers that do need problem+json and its nonce
        except FirstbootError as error:
            self.guard.refusal(error)
            return credential_provider.failure(error, request.request_id)
        self._note(wanted, vended)
        return answer

    def record(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Show the device its own record and the grants that it holds now."""
        identity = self._identify(present(request, self.prove, now), now)
        answer = self.show_record(identity, request.source_ip, self.rules.at(now), now)
        return respond(HTTPStatus.OK, answer, now)

    def credentials_message(
        self, client: Connection, request: MqttCredentialsRequest, now: datetime
    ) -> CredentialsAnswer:
        """Vend credentials over MQTT.

        The rules decide without a source address, because AWS IoT does not pass it on.
        """
        wanted = VendingRequest(request.role_alias)
        vended = self._vend(self.connected(client, None), wanted, now)
        self._note(wanted, vended)
        return credential_provider.render(vended)

    def _vend(self, presented: Presented, wanted: VendingRequest, now: datetime) -> Credentials:
        identity = self._identify(presented, now)
        return self.vend(identity, wanted, self.rules.at(now))

    def _identify(self, presented: Presented, now: datetime) -> VerifiedIdentity:
        identity = self.log_in(presented, now)
        self.guard.about(deviceId=identity.device.device_id)
        return identity

    def _note(self, wanted: VendingRequest, vended: Credentials) -> None:
        expiration = epoch(vended.expiration)
        self.guard.info("credentials vended", roleAlias=wanted.role_alias, expiration=expiration)
        self.guard.count("CredentialsVended")
