"""What signed proofs need of the table: used proofs, nonce keys, certificates by thumbprint."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.rows import Row, number
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.clock import EPOCH
from firstboot.domain.proof_id import ProofId
from firstboot.pki import certificate, chain, nonce
from firstboot.pki.certificate import Certificate

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEPT = timedelta(days=2)
"""How long after its day's beginning a nonce key's row is kept."""


class DynamoProofs(DynamoTable):
    """Used proofs, nonce keys and certificates by thumbprint."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._nonce_keys: dict[date, bytes] = {}

    def spend(self, proof: ProofId) -> bool:
        """UpdateItem where there is none. If botocore repeats it after a lost reply, the proof
        counts as used: its sender signs another.
        """
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.update_item(
                    TableName=self._table,
                    Key={"pk": {"S": f"PROOF#{proof.digest}"}},
                    UpdateExpression="SET expiresAt = :expires",
                    ConditionExpression="attribute_not_exists(pk)",
                    ExpressionAttributeValues={":expires": number(proof.expires_at)},
                )
        except ClientError:
            return False
        return True

    def make_known(self, leaf: x509.Certificate) -> None:
        """UpdateItem: the certificate under its thumbprint."""
        with answered():
            self._client.update_item(TableName=self._table, **certificate_row(leaf))

    def certificate(self, thumbprint: str) -> Certificate | None:
        """GetItem."""
        row = self._get(_certificate_key(thumbprint))
        return certificate.parse(row["der"]["B"]) if row else None

    def nonce_key(self, day: date) -> bytes:
        """UpdateItem that makes the day's key unless it is there; once a day and process."""
        if day not in self._nonce_keys:
            made, known = self._nonce_key(day), self._nonce_keys
            self._nonce_keys = {each: key for each, key in known.items() if abs(each - day) < _KEPT}
            self._nonce_keys[day] = made
        return self._nonce_keys[day]

    def _nonce_key(self, day: date) -> bytes:
        with answered():
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"NONCE#{(day - EPOCH.date()).days}"}},
                UpdateExpression="SET secret = if_not_exists(secret, :fresh), expiresAt = :expires",
                ExpressionAttributeValues={
                    ":fresh": {"B": os.urandom(nonce.KEY_BYTES)},
                    ":expires": number(datetime.combine(day, time(), UTC) + _KEPT),
                },
                ReturnValues="ALL_NEW",
            )
        return answer["Attributes"]["secret"]["B"]


def certificate_row(leaf: x509.Certificate) -> Row:
    """An update that makes a certificate known by its thumbprint."""
    return {
        "Key": _certificate_key(chain.fingerprint(leaf)),
        "UpdateExpression": "SET der = :der",
        "ExpressionAttributeValues": {":der": {"B": leaf.public_bytes(Encoding.DER)}},
    }


def _certificate_key(thumbprint: str) -> Row:
    return {"pk": {"S": f"CERT#{thumbprint}"}}
