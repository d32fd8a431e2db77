"""Describe which CAs this machine trusts, for messages about TLS that failed."""

from __future__ import annotations

import ssl


def trusted(variable: str, file: str | None) -> str:
    """Describe the CA file that the environment variable `variable` names, and whether it is usable."""
    if not file:
        return f"{variable} is not set, so it adds no CA to those of this machine"
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        return f"{variable} is wrong: {file} has no PEM certificate"
    except OSError as error:
        return f"{variable} is wrong: {file}: {error.strerror}"
    return f"{variable} names {file}: the CA of that host must be in it"
