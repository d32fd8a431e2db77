"""Keys in AWS Secrets Manager, under the rights of the person who runs the console.

No Lambda function has a part in it, so a key passes through no function, no log and no other process.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from console.cloud import Refused, client, unanswered
from firstboot.domain.secret_keys import KeyPair, KeysMalformed, decoded, prefix

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_UNDO_DAYS = 7
"""How many days a deletion can be undone, which is the least that Secrets Manager offers with a way back
(AWS Secrets Manager API reference, DeleteSecret, RecoveryWindowInDays)."""

_RESTORE = "aws secretsmanager restore-secret --secret-id"


@dataclass(frozen=True)
class Stored:
    """The keys of a secret, the version that they are, and when that version was made (ISO 8601)."""

    keys: KeyPair
    version: str
    made: str


class StoredKeys:
    """The secrets of a kind of one stack. Every method raises Refused and Unreachable."""

    def __init__(self, stack: str, kind: str) -> None:
        self._prefix = prefix(stack, kind)

    def make(self, name: str, keys: KeyPair) -> None:
        """Make the secret of a name (CreateSecret). Refused if there is one."""
        with self._answered(name):
            self._client.create_secret(
                Name=self._named(name),
                Description="Symmetric keys of Firstboot. Change them with its console.",
                SecretString=keys.to_json(),
            )

    def read(self, name: str) -> Stored:
        """Return the keys of a name (GetSecretValue). Refused if there are none."""
        with self._answered(name):
            found = self._client.get_secret_value(SecretId=self._named(name))
        try:
            keys = KeyPair.from_json(found.get("SecretString", ""))
        except KeysMalformed as error:
            raise Refused(
                {"code": "keys-malformed", "detail": f"the secret {self._named(name)}: {error}"}
            ) from None
        return Stored(keys, found["VersionId"], found["CreatedDate"].isoformat(timespec="seconds"))

    def replace(self, name: str, stored: Stored, keys: KeyPair) -> None:
        """Put `keys` in the place of those that were read (PutSecretValue).

        Refused if another person has replaced the same keys meanwhile. A repeat has no further effect.
        """
        with self._answered(name):
            self._client.put_secret_value(
                SecretId=self._named(name),
                # Secrets Manager has one value for a token. So the same version has one successor.
                ClientRequestToken=str(uuid.uuid5(uuid.NAMESPACE_OID, stored.version)),
                SecretString=keys.to_json(),
            )

    def delete(self, name: str) -> str:
        """Delete the keys of a name (DeleteSecret), and return when the deletion becomes final."""
        with self._answered(name):
            done = self._client.delete_secret(SecretId=self._named(name), RecoveryWindowInDays=_UNDO_DAYS)
        return done["DeletionDate"].isoformat(timespec="seconds")

    @cached_property
    def _client(self) -> SecretsManagerClient:
        made: SecretsManagerClient = client("secretsmanager")
        return made

    def _named(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @contextmanager
    def _answered(self, name: str) -> Iterator[None]:
        """Turn Secrets Manager's refusals into Refused, and every other failure into Unreachable."""
        secret = self._named(name)
        refusals = {
            "ResourceNotFoundException": ("keys-missing", f"there is no secret {secret}"),
            "ResourceExistsException": (
                "keys-exist",
                f"the secret {secret} exists already, or was replaced at the same time",
            ),
            "InvalidRequestException": (
                "keys-deleted",
                f"the secret {secret} is scheduled for deletion; {_RESTORE} {secret} brings it back",
            ),
        }
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] not in refusals:
                raise unanswered(f"the secret {secret}", error) from error
            code, detail = refusals[error.response["Error"]["Code"]]
            raise Refused({"code": code, "detail": detail}) from error
        except BotoCoreError as error:
            raise unanswered(f"the secret {secret}", error) from error


def of_file(file: Path) -> KeyPair:
    """Return the keys in a JSON file, with this product's names of them or with Azure's.

    Raises Refused, OSError.
    """
    try:
        found: Any = json.loads(file.read_bytes())
        names = ("primaryKey", "secondaryKey") if "primaryKey" in found else ("primary", "secondary")
        primary, secondary = (decoded(found[name]) for name in names)
        return KeyPair(primary, secondary)
    except KeysMalformed as error:
        reason = str(error)
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = "it must be a JSON object with primary and secondary, or primaryKey and secondaryKey"
    # Not within the handler, because the error of a parser has the file's text.
    raise Refused({"code": "keys-malformed", "detail": f"{file}: {reason}"})
