"""Rows that signed proofs need: used proofs, the key of nonces, and certificates by thumbprint."""

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
from firstboot.domain.names import NONCE_KEY
from firstboot.domain.proof_id import ProofId
from firstboot.pki import certificate, chain, nonce
from firstboot.pki.certificate import Certificate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_NONCE_KEY: Row = {"pk": {"S": NONCE_KEY}}


class DynamoProofs(DynamoTable):
    """Used proofs, the key of nonces, certificates by thumbprint. Every method raises Unavailable."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._nonce_key: bytes | None = None

    def spend(self, proof: ProofId) -> bool:
        """Record that a proof was used; return False if it was recorded before (UpdateItem).

        When the reply is lost, botocore's retry finds the row, and the proof counts as used. Its sender has
        to sign another.
        """
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": f"PROOF#{proof.digest}"}},
                    # When the proof has expired it is refused anyway, and time-to-live removes the row.
                    UpdateExpression="SET expiresAt = :expires",
                    ConditionExpression="attribute_not_exists(pk)",
                    ExpressionAttributeValues={":expires": number(proof.expires_at)},
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
        """Return the key of all nonces (GetItem, once in a process).

        All processes must accept each other's nonces, so the key is in the table. The deployment makes it and
        this method does not: a caller that is not verified yet must not cause a write.
        """
        if self._nonce_key is None:
            row = self._get(_NONCE_KEY)
            if row is None:
                raise Unavailable(log=f"the table has no row {NONCE_KEY}: docs/operations.md says what to do")
            self._nonce_key = row["secret"]["B"]
        return self._nonce_key

    def make_nonce_key(self) -> None:
        """Make the key of all nonces unless there is one (UpdateItem). A repeat changes nothing."""
        with answered():
            self._client.update_item(
                TableName=self._table,
                Key=_NONCE_KEY,
                UpdateExpression="SET secret = if_not_exists(secret, :fresh)",
                ExpressionAttributeValues={":fresh": {"B": os.urandom(nonce.KEY_BYTES)}},
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
