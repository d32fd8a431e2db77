"""Keys in AWS Secrets Manager."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.domain.bounded import Bounded
from firstboot.domain.errors import Unavailable
from firstboot.domain.secret_keys import KeyPair, KeysMalformed

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

KEPT = timedelta(minutes=5)
"""How long a process uses keys that it has read. After this time a rolled key is in use everywhere."""

_MOST = 1_000
_ABSENT = ("ResourceNotFoundException", "InvalidRequestException")
"""What Secrets Manager answers for a secret that does not exist, and for one that is scheduled for deletion
(AWS Secrets Manager API reference, GetSecretValue)."""


@dataclass(frozen=True)
class _Read:
    """The keys that a secret had at a time; None if there was no secret."""

    keys: KeyPair | None
    at: datetime


class SecretKeys:
    """The keys in the secrets whose names are `prefix`, a slash and the name that a caller gives.

    That a secret is missing is remembered as well. So a caller that asks again and again costs one call to
    Secrets Manager in five minutes, which has a price for each call.
    """

    def __init__(self, client: SecretsManagerClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: Bounded[str, _Read] = Bounded(_MOST)

    def pair(self, name: str, now: datetime) -> KeyPair | None:
        """Return the keys of a secret, or None if there is no such secret. At most one GetSecretValue.

        The caller gives only names that the fleet defines. Raises Unavailable.
        """
        known = self._known.get(name)
        # A clock that was set back does not make keys last longer.
        if known is None or not known.at <= now < known.at + KEPT:
            known = _Read(self._read(name), now)
            self._known.put(name, known)
        return known.keys

    def _read(self, name: str) -> KeyPair | None:
        secret = f"{self._prefix}/{name}"
        try:
            with answered(*_ABSENT):
                answer = self._client.get_secret_value(SecretId=secret)
        except ClientError:
            return None
        try:
            # A secret with a binary value has no such member.
            return KeyPair.from_json(answer.get("SecretString", ""))
        except KeysMalformed as error:
            # The error's text has nothing of the secret's.
            raise Unavailable(log=f"the secret {secret} can't be read: {error}") from None
