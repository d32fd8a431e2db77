"""Rows that signed proofs need: used proofs, nonce keys, and certificates by thumbprint."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.rows import Row, day_number, number
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.proof_id import ProofId
from firstboot.pki import certificate, chain, nonce
from firstboot.pki.certificate import Certificate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEPT = timedelta(days=2)
"""How long a nonce key's row is kept, counted from the beginning of its day."""


class DynamoProofs(DynamoTable):
    """Used proofs, nonce keys and certificates by thumbprint. Every method raises Unavailable."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._nonce_keys: dict[date, bytes] = {}

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

    def nonce_key(self, day: date) -> bytes:
        """Return the key of a day's nonces, and make it if there is none (UpdateItem).

        All processes must accept each other's nonces, so the key is in the table: nothing has to be deployed,
        rotated or kept secret elsewhere. A process calls DynamoDB once a day. When the reply is lost, the
        repeat returns the key that was stored.
        """
        if day not in self._nonce_keys:
            # Yesterday's nonces may be presented after midnight. Older keys are dropped.
            made, known = self._nonce_key(day), self._nonce_keys
            self._nonce_keys = {each: key for each, key in known.items() if abs(each - day) < _KEPT}
            self._nonce_keys[day] = made
        return self._nonce_keys[day]

    def _nonce_key(self, day: date) -> bytes:
        with answered():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"NONCE#{day_number(day)}"}},
                # The first process of the day stores its key, and all others get that one.
                UpdateExpression="SET secret = if_not_exists(secret, :fresh), expiresAt = :expires",
                ExpressionAttributeValues={
                    ":fresh": {"B": os.urandom(nonce.KEY_BYTES)},
                    ":expires": number(datetime.combine(day, time(), UTC) + _KEPT),
                },
                ReturnValues="ALL_NEW",
            )
        return answer["Attributes"]["secret"]["B"]


def certificate_row(leaf: x509.Certificate) -> Row:
    """Return the update that stores a certificate under its thumbprint."""
    return {
        "Key": _certificate_key(chain.fingerprint(leaf)),
        "UpdateExpression": "SET der = :der",
        "ExpressionAttributeValues": {":der": {"B": leaf.public_bytes(Encoding.DER)}},
    }


def _certificate_key(thumbprint: str) -> Row:
    return {"pk": {"S": f"CERT#{thumbprint}"}}
