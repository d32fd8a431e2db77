"""Rows that proofs need: used ones, the keys of nonces and of passwords, certificates by thumbprint."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.rows import Row, number
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import NONCE_KEY, PASSWORD_KEY
from firstboot.domain.proof_id import ProofId
from firstboot.pki import certificate, chain, nonce, password
from firstboot.pki.certificate import Certificate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoProofs(DynamoTable):
    """Used proofs, the keys of nonces and passwords, certificates by thumbprint.

    Every method raises Unavailable.
    """

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._secrets: dict[str, bytes] = {}

    def spend(self, proof: ProofId) -> bool:
        """Record that a proof was used; return False if it was recorded before (UpdateItem).

        When the reply is lost, botocore's retry finds the row, and a signed proof counts as used. Its sender
        has to sign another. A one-time password may be used again for the same key.
        """
        # When the proof has expired it is refused anyway, and time-to-live removes the row.
        update, condition = "SET expiresAt = :expires", "attribute_not_exists(pk)"
        values = {":expires": number(proof.expires_at)}
        if proof.used_for:
            update, condition = f"{update}, usedFor = :key", f"{condition} OR usedFor = :key"
            values[":key"] = {"S": proof.used_for}
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": f"PROOF#{proof.digest}"}},
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                )
        except ClientError:
            return False
        return True

    def make_known(self, leaf: x509.Certificate) -> None:
        """Store a certificate under its thumbprint (UpdateItem). A repeat changes nothing."""
        with answered():
            self._client.update_item(TableName=self._table, **certificate_row(leaf))

    def certificate(self, thumbprint: str) -> Certificate | None:
        """Return the certificate with this thumbprint (SHA-256, hex), or None (GetItem)."""
        row = self._get(_certificate_key(thumbprint))
        return certificate.parse(row["der"]["B"]) if row else None

    def nonce_key(self) -> bytes:
        """Return the key of all nonces (GetItem, once in a process)."""
        return self._secret(NONCE_KEY)

    def password_key(self) -> bytes:
        """Return the key of all one-time passwords (GetItem, once in a process)."""
        return self._secret(PASSWORD_KEY)

    def make_nonce_key(self) -> None:
        """Make the key of all nonces unless there is one (UpdateItem). A repeat changes nothing."""
        self._make_secret(NONCE_KEY, nonce.KEY_BYTES)

    def make_password_key(self) -> None:
        """Make the key of all one-time passwords unless there is one (UpdateItem)."""
        self._make_secret(PASSWORD_KEY, password.KEY_BYTES)

    def _secret(self, name: str) -> bytes:
        # All processes must accept what others have made, so a key is in the table. The deployment makes it,
        # and a request does not: a caller that is not verified yet must not cause a write.
        if name not in self._secrets:
            row = self._get({"pk": {"S": name}})
            if row is None:
                raise Unavailable(log=f"the table has no row {name}: docs/operations.md says what to do")
            self._secrets[name] = row["secret"]["B"]
        return self._secrets[name]

    def _make_secret(self, name: str, size: int) -> None:
        with answered():
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": name}},
                UpdateExpression="SET secret = if_not_exists(secret, :fresh)",
                ExpressionAttributeValues={":fresh": {"B": os.urandom(size)}},
            )


def certificate_row(leaf: x509.Certificate) -> Row:
    """Return the update that stores a certificate under its thumbprint."""
    return {
        "Key": _certificate_key(chain.fingerprint(leaf)),
        "UpdateExpression": "SET der = :der",
        "ExpressionAttributeValues": {":der": {"B": leaf.public_bytes(Encoding.DER)}},
    }


def _certificate_key(thumbprint: str) -> Row:
    return {"pk": {"S": f"CERT#{thumbprint}"}}
