"""The fleet definition in force: the deployed one, or a newer one published on top of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered, error_code
from firstboot.domain.clock import EPOCH
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DEPLOYED = Path(__file__).parents[3] / "fleet.json"


def deployed() -> Fleet:
    """Return the fleet that was deployed with this code, in a file beside the Lambda files."""
    return Fleet.from_json(_DEPLOYED.read_text())


class FleetSource:
    """The fleet in force, read anew every `refresh_seconds`.

    A published fleet that builds on another deployment's fleet is ignored, so a deployment always wins. While
    S3 does not answer, the fleet that was read last stays in force.
    """

    def __init__(self, client: S3Client, bucket: str, deployed: Fleet, refresh_seconds: float) -> None:
        self._client = client
        self._bucket = bucket
        self._deployed = deployed
        self._refresh = timedelta(seconds=refresh_seconds)
        self._current: Fleet | None = None
        self._etag = ""
        self._due = EPOCH

    def current(self, now: datetime) -> Fleet:
        """Return the fleet in force at `now`. At most one GetObject, and none before a refresh is due.

        Raises Unavailable if S3 does not answer and this process has not read the fleet yet.
        """
        if self._current is None or now >= self._due:
            self._current = self._read(self._current)
            # This also holds after a failure, so that an outage of S3 costs one call in each period, not one
            # in each request.
            self._due = now + self._refresh
        return self._current

    def _read(self, known: Fleet | None) -> Fleet:
        try:
            with answered("NoSuchKey", "304"):
                answer = self._client.get_object(
                    Bucket=self._bucket,
                    Key=PUBLISHED_FLEET_KEY,
                    **({"IfNoneMatch": self._etag} if self._etag else {}),  # type: ignore[arg-type]
                )
                body = answer["Body"].read()
        except ClientError as error:
            if known and error_code(error) == "304":
                return known
            self._etag = ""  # if the same fleet is published again, it must be read again
            return self._deployed
        except Unavailable:
            # The deployed fleet is no substitute before the first read: it may grant what a published one
            # took away.
            if known is None:
                raise
            return known
        self._etag = answer["ETag"]
        # A fleet of another version may have another shape, so only its `base` is read.
        if json.loads(body)["base"] != self._deployed.hash:
            return self._deployed
        return Fleet.from_json(body)

    def publish(self, fleet: Fleet) -> None:
        """Store a checked fleet for all Lambda functions (PutObject).

        The last writer wins; the bucket keeps older versions. A repeat after a lost reply stores the same
        content. Raises Unavailable.
        """
        with answered():
            self._client.put_object(
                Bucket=self._bucket, Key=PUBLISHED_FLEET_KEY, Body=fleet.to_json().encode()
            )
