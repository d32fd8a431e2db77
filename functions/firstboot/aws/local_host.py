"""The credentials of a function with SnapStart, which a local host gives out.

AWS Lambda developer guide, "Activating and managing Lambda SnapStart", "Using SnapStart with AWS SDKs". Other
functions have their credentials in the environment, and do not import this module, which takes CPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.credentials import ContainerProvider
from botocore.exceptions import CredentialRetrievalError, MetadataRetrievalError, NoCredentialsError
from botocore.utils import ContainerMetadataFetcher


class Fetcher(ContainerMetadataFetcher):
    """Asks the local host at most twice, and at once.

    botocore would ask three times, two seconds each, and wait for a second after each attempt. A device would
    not wait so long, and waiting is billed. `TIMEOUT_SECONDS` is for the connection and for each part of the
    answer, so an answer that comes bit by bit ends with the function's own time-out.
    """

    TIMEOUT_SECONDS = 1
    RETRY_ATTEMPTS = 2
    SLEEP_TIME = 0

    def retrieve_full_uri(self, full_url: str, headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Return the local host's answer. Raises MetadataRetrievalError."""
        try:
            return super().retrieve_full_uri(full_url, headers)
        # botocore logs the text of an error and of its cause, which may have a part of the answer.
        except Exception as error:  # noqa: BLE001 - see above
            raise MetadataRetrievalError(error_msg=type(error).__name__) from None


def credentials() -> Any:  # noqa: ANN401 - botocore's stubs have several types
    """Return the credentials of this moment. Raises CredentialRetrievalError, NoCredentialsError."""
    try:
        return _checked(source().get_frozen_credentials())
    except NoCredentialsError:
        raise
    # botocore raises a bare RuntimeError for credentials that have ended, and KeyError, TypeError, ValueError
    # and others for an answer in another form. OSError is of the token's file.
    except Exception as error:
        # botocore may have kept a part of a wrong answer, and would use it until its end.
        source.cache_clear()
        raise CredentialRetrievalError(
            provider=ContainerProvider.METHOD, error_msg=type(error).__name__
        ) from error


@cache
def source() -> Any:  # noqa: ANN401 - botocore's stubs have several types
    """Return botocore's source of credentials, which fetches them again before they end.

    Raises NoCredentialsError if the environment names no local host, and what botocore raises for an answer.
    """
    # botocore's stubs have another type of fetcher than botocore has.
    fetcher: Any = Fetcher()
    found = ContainerProvider(fetcher=fetcher).load()
    if found is None:
        raise NoCredentialsError
    return found


def _checked(found: Any) -> Any:  # noqa: ANN401 - botocore's stubs have several types
    """Return credentials that can be in a signature and in a header. Raises ValueError."""
    for each in (found.access_key, found.secret_key, found.token):
        if not (isinstance(each, str) and each and each.isascii() and each.isprintable()):
            raise ValueError("a credential is no text")
    return found
