"""The settings of the operate Lambda function, from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class ReadSettings(Settings):
    """The settings of `read`.

    `partition`, `region` and `account` are the place that policies are rendered for. The account owns the
    bucket. `public_host` is `true` if the stack has a public host, and `false` if it has none.
    """

    table: str
    bucket: str
    partition: str
    region: str
    account: str
    public_host: str


@dataclass(frozen=True)
class OperateSettings(ReadSettings):
    """The settings of `invoke`.

    `ca_certificate` is the issuing CA's certificate in PEM. `dead_letters` is JSON. It maps the name of each
    dead-letter queue to its URL as `dead` and, if its messages came from a queue of ours, that queue's URL as
    `source`. `stack` begins our names in AWS IoT.
    """

    ca_certificate: str
    dead_letters: str
    stack: str
