"""Errors of the CA's life; a deployment fails with them."""

from __future__ import annotations

from firstboot.domain.errors import AuthorityError


class AuthorityKeyChanged(AuthorityError):
    code = "authority-key-changed"
    title = "The CA certificate belongs to another key"


class AuthorityTermsChanged(AuthorityError):
    code = "authority-terms-changed"
    title = "The CA was made with another name or for another time"
