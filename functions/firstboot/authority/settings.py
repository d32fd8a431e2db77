"""The settings of the authority Lambda functions, from their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class AuthoritySettings(Settings):
    """The settings of `resource`.

    `ca_key` is a KMS key's ARN. `subject` is the CA certificate's common name, `years` its lifetime.
    `account` owns the bucket.
    """

    table: str
    bucket: str
    account: str
    ca_key: str
    subject: str
    years: str


@dataclass(frozen=True)
class WatchSettings(Settings):
    """The settings of `watch`.

    `ca_certificate` is PEM, `ca_key` a KMS key's ARN. `key_policy` is the policy (JSON) that the deployment
    wrote for the key; empty for a key from elsewhere.
    """

    ca_certificate: str
    ca_key: str
    key_policy: str
