"""Sessions from STS."""

from __future__ import annotations

from datetime import UTC
from math import ceil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered, error_code
from firstboot.domain.errors import DurationTooLong, RoleNotAssumable, SessionPolicyTooLarge
from firstboot.domain.names import session_name
from firstboot.domain.session import AssumedRole, Credentials, SessionRequest, SessionSizes
from firstboot.policy.limits import SESSION_TOKEN

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient


class StsSessions:
    """The Sessions port."""

    def __init__(self, client: STSClient) -> None:
        self._client = client

    def assume(self, request: SessionRequest) -> Credentials:
        """Return the credentials of a new session (AssumeRole).

        When the reply is lost, the repeat makes another session; the first one's credentials are known to no
        caller and expire. Raises RoleNotAssumable, DurationTooLong, SessionPolicyTooLarge and Unavailable.
        """
        name = session_name(request.device_id)
        try:
            with answered("AccessDenied", "ValidationError", "PackedPolicyTooLarge"):
                answer = self._client.assume_role(
                    RoleArn=request.role_arn,
                    RoleSessionName=name,
                    # CloudTrail shows it with every call of the session, also after a further AssumeRole.
                    SourceIdentity=name,
                    Policy=request.policy,
                    DurationSeconds=request.seconds,
                    Tags=[{"Key": key, "Value": value} for key, value in request.tags.items()],
                )
        except ClientError as error:
            raise _refusal(error) from error
        made = answer["Credentials"]
        return Credentials(
            access_key_id=made["AccessKeyId"],
            secret_access_key=made["SecretAccessKey"],
            session_token=made["SessionToken"],
            expiration=made["Expiration"].astimezone(UTC),
            sizes=_sizes(dict(answer), made["SessionToken"]),
            session=_session(dict(answer), name),
        )


def _session(answer: dict[str, Any], name: str) -> AssumedRole:
    # Only one form of answer shows them, and no other device must go without credentials for them.
    user = answer.get("AssumedRoleUser", {})
    return AssumedRole(user.get("Arn", ""), user.get("AssumedRoleId", ""), name)


def _sizes(answer: dict[str, Any], token: str) -> SessionSizes:
    # STS tells the size and the utilization since September 2026 only; without them they are counted here.
    size = answer.get("SessionTokenSize", len(token))
    return SessionSizes(
        token_bytes=size,
        token_percent=answer.get("SessionTokenUtilization", ceil(100 * size / SESSION_TOKEN)),
        packed_percent=answer.get("PackedPolicySize"),
    )


def _refusal(error: ClientError) -> DurationTooLong | RoleNotAssumable | SessionPolicyTooLarge:
    # AWS documents the code as PackedPolicyTooLargeException; STS sends it without "Exception".
    if error_code(error) == "PackedPolicyTooLarge":
        return SessionPolicyTooLarge(log=str(error))
    # STS reports it as a ValidationError like others; only the message differs.
    if "MaxSessionDuration" in str(error):
        return DurationTooLong(log=str(error))
    return RoleNotAssumable(log=str(error))
