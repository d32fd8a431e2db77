"""What the operate Lambda function is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class OperateSettings(Settings):
    """What the operator's calls need: the device records, the fleet, and where policies apply.
    `dead_letters` is JSON: what a dead-letter queue holds, to its URL as `dead`, and that of the
    queue which its letters go back to as `source`, if there is one.
    """

    table: str
    bucket: str
    partition: str
    region: str
    account: str
    dead_letters: str
