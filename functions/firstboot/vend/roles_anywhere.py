"""The wire format of IAM Roles Anywhere's CreateSession: `POST /sessions`.

https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html

1. The key of the certificate in the request has signed the request, for this host and within five minutes.
2. The members are well formed. `roleArn` leads to a role alias; the other ARNs name nothing here.
3. The device logs in. The digest of what it signed is spent, so the request cannot be sent again.
4. Credentials are vended as for AWS IoT's credential provider.

An error is `{"message"}` with AWS's name for it in `x-amzn-ErrorType`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit
from uuid import NAMESPACE_URL, uuid5

from msgspec import UNSET, Meta, UnsetType

from firstboot.domain.clock import SKEW
from firstboot.domain.errors import (
    AuthenticationError,
    AuthorizationError,
    DurationTooLong,
    FirstbootError,
    LimitError,
    RequestError,
    RoleAliasNotFound,
    RoleNotAssumable,
    Unavailable,
    VendingError,
)
from firstboot.domain.proof_id import ProofId
from firstboot.domain.session import Credentials
from firstboot.identity.errors import ProofReplayed
from firstboot.identity.possession import Proven
from firstboot.identity.proof import CLOCK_SECONDS
from firstboot.pki import sigv4
from firstboot.pki.errors import ProofMismatch
from firstboot.policy.render import Place
from firstboot.runtime.errors import BodyTooLarge, MalformedRequest
from firstboot.runtime.http import MAX_BODY, HttpRequest, HttpResponse
from firstboot.runtime.messages import Answer, Request, convert, members, parse_json
from firstboot.runtime.problem import waiting_time
from firstboot.vend.credential_provider import CredentialMembers, ProviderError, render
from firstboot.vend.endpoints import Endpoints
from firstboot.vend.errors import SignatureStale
from firstboot.vend.vend import VendingRequest

_WINDOW = timedelta(seconds=CLOCK_SECONDS)
_SECOND = timedelta(seconds=1)
_LONGEST_ARN = 1_011
"""Characters of an ARN (IAM Roles Anywhere API reference, CreateProfile, `roleArns`)."""

_ANYWHERE = "^arn:[a-z-]{3,20}:rolesanywhere:[a-z0-9-]{1,20}:[0-9]{12}:"
ProfileArn = Annotated[str, Meta(pattern=f"{_ANYWHERE}profile/[A-Za-z0-9-]+$", max_length=_LONGEST_ARN)]
AnchorArn = Annotated[str, Meta(pattern=f"{_ANYWHERE}trust-anchor/[A-Za-z0-9-]+$", max_length=_LONGEST_ARN)]
RoleArn = Annotated[
    str, Meta(pattern="^arn:[a-z-]{3,20}:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$", max_length=_LONGEST_ARN)
]
# The range of `durationSeconds` on the page above, "Request Body".
Duration = Annotated[int, Meta(ge=900, le=43_200)]
_QUERY = ("profileArn", "roleArn", "trustAnchorArn")
"""The members that a client may write into the query, as AWS's helper program does."""

Refusal = tuple[int, str]
"""A status, and the value of `x-amzn-ErrorType`."""

_DENIED = (HTTPStatus.FORBIDDEN, "AccessDeniedException")
_INVALID = (HTTPStatus.BAD_REQUEST, "ValidationException")
# The first entry that the error is an instance of decides. The page above names the first three types.
REFUSALS: dict[type[FirstbootError], Refusal] = {
    RoleAliasNotFound: (HTTPStatus.NOT_FOUND, "ResourceNotFoundException"),
    RoleNotAssumable: _DENIED,
    VendingError: _INVALID,
    RequestError: _INVALID,
    AuthenticationError: _DENIED,
    AuthorizationError: _DENIED,
    LimitError: (HTTPStatus.TOO_MANY_REQUESTS, "ThrottlingException"),
    Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
}
_THROTTLED = REFUSALS[LimitError]
_UNFORESEEN = (HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerException")
# The errors whose own text tells a client of Firstboot what it does, and not a client of IAM Roles Anywhere.
_MESSAGES: dict[type[FirstbootError], str] = {
    ProofReplayed: "The request was sent before; sign another one, with a later X-Amz-Date",
    RoleAliasNotFound: "The role roleArn does not exist",
    DurationTooLong: "durationSeconds exceeds the duration of the role's sessions",
}


class CreateSessionRequest(Request, frozen=True, kw_only=True):
    """A request for a session, with the members of its body and of its query.

    `sessionName` and `instanceProperties` are read, and used for nothing.
    """

    profile_arn: ProfileArn
    role_arn: RoleArn
    trust_anchor_arn: AnchorArn
    duration_seconds: Duration | UnsetType = UNSET
    role_session_name: str | UnsetType = UNSET
    session_name: str | UnsetType = UNSET
    instance_properties: dict[str, str] | UnsetType = UNSET


class AssumedRoleUser(Answer, frozen=True, kw_only=True):
    """The session at STS."""

    arn: str
    assumed_role_id: str


class CredentialSet(Answer, frozen=True, kw_only=True):
    """The credentials of a session, and what IAM knows of it."""

    assumed_role_user: AssumedRoleUser
    credentials: CredentialMembers
    packed_policy_size: int
    role_arn: str
    source_identity: str


class CreateSessionAnswer(Answer, frozen=True, kw_only=True):
    """The answer with a session. `credentialSet` has one entry."""

    credential_set: list[CredentialSet]
    subject_arn: str


@dataclass(frozen=True)
class RolesAnywhere:
    """The endpoint of IAM Roles Anywhere. It vends with the use cases of `endpoints`."""

    endpoints: Endpoints
    place: Place

    def __call__(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Vend credentials to a caller whose certificate's key signed the request."""
        try:
            presented = present(request, now)  # 1
            asked = read(request)  # 2
            wanted = VendingRequest(
                self.endpoints.vend.alias(asked.role_arn),
                source_ip=request.source_ip,
                seconds=None if asked.duration_seconds is UNSET else asked.duration_seconds,
            )
            vended, longest = self.endpoints.vended(presented, wanted, now)  # 3, 4
            answer = self._answer(vended, asked.role_arn)
            self.endpoints.check_size(len(answer.body), longest)
        except FirstbootError as error:
            self.endpoints.guard.refusal(error)
            return failure(error, request.request_id)
        self.endpoints.note(wanted, vended)
        return answer

    def _answer(self, vended: Credentials, role_arn: str) -> HttpResponse:
        session = vended.session
        made = CredentialSet(
            assumed_role_user=AssumedRoleUser(arn=session.arn, assumed_role_id=session.role_id),
            credentials=render(vended).credentials,
            packed_policy_size=vended.sizes.packed_percent or 0,
            role_arn=role_arn,
            source_identity=session.name,
        )
        answer = CreateSessionAnswer(credential_set=[made], subject_arn=self._subject(session.name))
        body = json.dumps(members(answer), separators=(",", ":"))
        return HttpResponse(HTTPStatus.CREATED, "application/json", body)

    def _subject(self, name: str) -> str:
        """Return an ARN that stands for the device. AWS has no such subject; clients only show it."""
        place = self.place
        subject = uuid5(NAMESPACE_URL, f"urn:firstboot:device:{name}")
        return f"arn:{place.partition}:rolesanywhere:{place.region}:{place.account}:subject/{subject}"


def present(request: HttpRequest, now: datetime) -> Proven:
    """Return the certificate in a request whose key signed the request.

    Raises ProofError, CertificateMalformed, BodyTooLarge.
    """
    if len(request.body) > MAX_BODY:
        raise BodyTooLarge
    url = urlsplit(request.url)
    signed = sigv4.SignedRequest(request.method, request.path, url.query, request.headers, request.body)
    verified = sigv4.verify(signed)
    # The gateway says which host it served. A request for another service is not for this one.
    if _without_port(verified.host) != _without_port(url.netloc):
        raise ProofMismatch("The request was signed for another host", log=f"{verified.host[:200]!r}")
    if abs(now - verified.signed_at) > _WINDOW:
        raise SignatureStale
    proof = ProofId(verified.digest, verified.signed_at + _WINDOW + _SECOND + SKEW, has_nonce=False)
    return Proven(verified.leaf, verified.intermediates, proof, way="roles-anywhere")


def read(request: HttpRequest) -> CreateSessionRequest:
    """Return the members of a request, from its body and its query.

    Raises MalformedJson, MalformedRequest.
    """
    found = parse_json(request.body) if request.body else {}
    if not isinstance(found, dict):
        raise MalformedRequest("The body must be an object")
    for name, value in parse_qsl(urlsplit(request.url).query, keep_blank_values=True):
        if name not in _QUERY or found.get(name, value) != value:
            raise MalformedRequest(f"The query may have {', '.join(_QUERY)}, each once and as in the body")
        found[name] = value
    asked = convert(CreateSessionRequest, found)
    if asked.role_session_name is not UNSET:
        # IAM Roles Anywhere refuses it too, unless the profile has acceptRoleSessionName.
        raise MalformedRequest("roleSessionName is not accepted: a session has its device's id")
    return asked


def failure(error: FirstbootError, request_id: str) -> HttpResponse:
    """Return the response for an error. `request_id` is for the operator's log."""
    status, kind = next(
        (answer for known, answer in REFUSALS.items() if isinstance(error, known)), _UNFORESEEN
    )
    if isinstance(error, Unavailable) and error.is_throttled:
        status, kind = _THROTTLED
    headers = {"x-amzn-ErrorType": kind, "x-amzn-RequestId": request_id}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(waiting_time(error, request_id))
    message = _MESSAGES.get(type(error), error.detail)
    body = json.dumps(members(ProviderError(message=message)), separators=(",", ":"))
    return HttpResponse(status, "application/json", body, headers)


def _without_port(host: str) -> str:
    """Return a host in lower case without the port of HTTPS, which clients may write or leave out."""
    return host.lower().removesuffix(":443")
