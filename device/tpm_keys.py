"""Keys in a TPM 2.0. This module needs tpm2-pytss, so it is imported only for a `tpm2:` URI.

A new key is wrapped by the TPM, and the state directory holds the wrapped key, which no other TPM can use. So
the TPM's own memory does not fill up, and nothing in it has to be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

from tpm2_pytss import (
    ESAPI,
    TPM2_ALG,
    TPM2_RH,
    TPMT_SIG_SCHEME,
    TPMU_SIG_SCHEME,
    TSS2_Exception,
)
from tpm2_pytss.tsskey import TSSPrivKey
from tpm2_pytss.types import TPMS_SCHEME_HASH

from .hardware import Reference
from .key_uri import KeyUri
from .refusal import Action, Refused

_ECDSA = TPMT_SIG_SCHEME(
    scheme=TPM2_ALG.ECDSA, details=TPMU_SIG_SCHEME(ecdsa=TPMS_SCHEME_HASH(hashAlg=TPM2_ALG.SHA256))
)


def sign(reference: Reference, digest: bytes) -> bytes:
    """See Backend."""
    handle, wrapped = reference.uri.text("handle"), _wrapped(reference)
    with _connected(reference.uri) as tpm:
        key = tpm.tr_from_tpmpublic(_number(handle)) if handle else None
        if key is None:
            key = TSSPrivKey.from_pem(wrapped).load(tpm, b"")
        signature = tpm.sign(key, digest, _ECDSA)
        if not handle:
            tpm.flush_context(key)
        return bytes(signature)  # DER for ECDSA


def name(place: KeyUri) -> KeyUri:
    """See Backend. Wrapped keys need no names of their own."""
    if place.octets("handle") is not None or place.octets("file") is not None:
        raise ValueError(f"--key {place} names a key, and not where keys are made")
    return place


def generate(uri: KeyUri) -> Reference:
    """See Backend."""
    parent = uri.text("parent")
    with _connected(uri) as tpm:
        made = TSSPrivKey.create_ecc(tpm, parent=_number(parent) if parent else TPM2_RH.OWNER)
        return Reference(uri, made.public.to_der(), made.to_pem().decode())


def destroy(uri: KeyUri) -> None:
    """See Backend. The TPM keeps no wrapped key, so there is nothing to destroy."""


def for_openssl(reference: Reference) -> Never:
    """Refuse. tpm2-openssl signs in TLS only as the first choice for every algorithm, and cryptography, whose
    OpenSSL reads the same configuration, then fails.
    """
    detail = (
        f"A key of {reference.uri.scheme}: can't be used for TLS here: use the public host, or firstboot.sh"
    )
    raise Refused(Action.STOP, detail)


def _wrapped(reference: Reference) -> bytes:
    if reference.wrapped is not None:
        return reference.wrapped.encode()
    file = reference.uri.text("file")
    return Path(file).read_bytes() if file else b""


def _number(handle: str) -> int:
    return int(handle, 16)


@contextmanager
def _connected(uri: KeyUri) -> Iterator[ESAPI]:
    """Connect to the TPM, by default to that of the operating system. An error of it ends in Refused."""
    try:
        with ESAPI(uri.text("tcti")) as tpm:
            yield tpm
    except TSS2_Exception as error:
        raise Refused(Action.STOP, f"The TPM of {uri}: {error}") from error
