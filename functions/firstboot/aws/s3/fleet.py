"""The fleet definition in force: the deployed one, or a newer one published on top of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered, error_code
from firstboot.domain.clock import EPOCH
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.publication import Publication, Unreadable, in_force

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DEPLOYED = Path(__file__).parents[3] / "fleet.json"


def deployed() -> Fleet:
    """Return the fleet that was deployed with this code, in a file beside the Lambda files."""
    return Fleet.from_json(_DEPLOYED.read_text())


class FleetSource:
    """The fleet in force, read anew every `refresh_seconds`.

    A published fleet that builds on another deployment's fleet is ignored, so a deployment always wins. While
    S3 does not answer, or the published fleet can't be read, the fleet that was read last stays in force.
    `unreadable` is called with the reason each time that the published fleet can't be read.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        deployed: Fleet,
        refresh_seconds: float,
        unreadable: Callable[[str], None],
    ) -> None:
        self._unreadable = unreadable
        self._client = client
        self._bucket = bucket
        self._deployed = deployed
        self._refresh = timedelta(seconds=refresh_seconds)
        self._current: Fleet | None = None
        self._etag = ""
        self._due = EPOCH
        self._is_stale = False

    @property
    def is_stale(self) -> bool:
        """Return whether S3 did not answer the last read, so that a newer fleet may be in force.

        An object that can't be read does not count: the publication that repairs it begins a sweep.
        """
        return self._is_stale

    def current(self, now: datetime) -> Fleet:
        """Return the fleet in force at `now`. At most one GetObject, and none before a refresh is due.

        Raises Unavailable if S3 does not answer, or the published fleet can't be read, and this process has
        not read a fleet yet.
        """
        if self._current is None or now >= self._due:
            self._current = self._read(self._current)
            # This also holds after a failure, so that an outage of S3 costs one call in each period, not one
            # in each request.
            self._due = now + self._refresh
        return self._current

    def _read(self, known: Fleet | None) -> Fleet:
        self._is_stale = False
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
            self._is_stale = True
            return known
        try:
            fleet = in_force(Publication(body, answer["ETag"]), self._deployed)
        except Unreadable as error:
            self._unreadable(str(error))
            # What can't be read may take away what the deployed fleet grants. Its ETag is not kept, so that
            # it is read, and reported, again.
            if known is None:
                raise Unavailable(log="the published fleet can't be read") from error
            return known
        self._etag = answer["ETag"]
        return fleet


class PublishedFleet:
    """The published object, for those that write it. Every method raises Unavailable."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def read(self) -> Publication | None:
        """Return the published object, or None without one (GetObject)."""
        try:
            with answered("NoSuchKey"):
                answer = self._client.get_object(Bucket=self._bucket, Key=PUBLISHED_FLEET_KEY)
                return Publication(answer["Body"].read(), answer["ETag"])
        except ClientError:
            return None

    def write(self, text: bytes, over: Publication | None) -> bool:
        """Store `text` if the object is still as it was read; return whether it was (PutObject).

        The bucket keeps older versions. When the reply is lost, the repeat finds its own object and returns
        False.
        """
        condition = {"IfMatch": over.etag} if over else {"IfNoneMatch": "*"}
        try:
            # S3 answers 404 if the object was deleted, 409 for writes at the same time, and 412 for others
            # (user guide, "How to prevent object overwrites with conditional writes").
            with answered("NoSuchKey", "PreconditionFailed", "ConditionalRequestConflict"):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=PUBLISHED_FLEET_KEY,
                    Body=text,
                    **condition,  # type: ignore[arg-type]
                )
        except ClientError:
            return False
        return True
