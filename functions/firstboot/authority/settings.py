"""What the authority Lambda functions are told by their environment."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.settings import Settings


@dataclass(frozen=True)
class AuthoritySettings(Settings):
    """`subject` is the CA certificate's common name, `years` its lifetime."""

    bucket: str
    ca_key: str
    subject: str
    years: str


@dataclass(frozen=True)
class WatchSettings(Settings):
    """`ca_certificate` is PEM."""

    ca_certificate: str
