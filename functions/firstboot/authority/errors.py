"""Errors of making and reading the CA. They fail a deployment."""

from __future__ import annotations

from firstboot.domain.errors import AuthorityError


class AuthorityKeyChanged(AuthorityError):
    code = "authority-key-changed"
    title = "The CA certificate belongs to another key"


class AuthorityTermsChanged(AuthorityError):
    code = "authority-terms-changed"
    title = "The CA certificate has another name or lifetime than configured"
