"""The settings of the operate Lambda function, from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class OperateSettings(Settings):
    """The settings of `invoke`.

    `ca_certificate` is the issuing CA's certificate in PEM.
    `partition`, `region` and `account` are the place that policies are rendered for. `dead_letters` is JSON.
    It maps the name of each dead-letter queue to its URL as `dead` and, if its messages came from a queue of
    ours, that queue's URL as `source`. `public_host` is `true` if the stack has a public host, else `false`.
    """

    table: str
    bucket: str
    ca_certificate: str
    partition: str
    region: str
    account: str
    dead_letters: str
    public_host: str
