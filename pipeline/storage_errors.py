"""What file systems and their clients raise, as errors of ours, without signatures and passwords."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from pipeline.errors import AccessDenied, NotFound, StorageError, Unreachable, UsageError

REMEDIES: dict[type[StorageError], str] = {
    AccessDenied: "; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --storage-options",
    Unreachable: "; check the endpoint and the network",
}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
REMEDIES_BY_NUMBER = {
    **dict.fromkeys(NO_ROOM, "; free some space and run again"),
    errno.EROFS: "; choose another destination",
    errno.ENAMETOOLONG: "; rename it, or choose a bucket for a destination",
}
LONGEST = 500  # characters of a client's message: some of them hold a whole answer
WEB_ADDRESS = re.compile(r"""(https?://)(?:[^\s/?#'"]*@)?([^\s?#'"]*)(?:[?#][^\s'"]*)?""")


def without_secrets(text: str) -> str:
    """Each web address as it may be shown: without query and password."""
    return WEB_ADDRESS.sub(r"\1\2", text)


@contextmanager
def errors_at(url: str, place: str) -> Iterator[None]:
    """Turn what a client raises into our own errors. `place`: the URL as it may be shown."""

    def reason(error: BaseException) -> str:
        text = str(error) or type(error).__name__
        text = text.replace(url, place).replace(urlsplit(url).query or "\0", "...") if place != url else text
        return without_secrets(" ".join(text.split()))[:LONGEST]

    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{place}: nothing is there") from error
    except PermissionError as error:
        raise AccessDenied(f"{place}: access denied ({reason(error)}); check the credentials or permissions") from error
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(f"{place}: no answer ({reason(error)}){REMEDIES[Unreachable]}") from error
    except OSError as error:
        kind = _client_error(error) or StorageError
        remedy = REMEDIES_BY_NUMBER.get(error.errno or 0) or REMEDIES.get(kind, "")
        raise kind(f"{place}: {reason(error)}{remedy}") from error
    except TypeError as error:
        raise UsageError(f"{place}: cannot be reached with these --storage-options ({reason(error)})") from error
    except Exception as error:
        known = _client_error(error)
        if known is None:
            raise
        raise known(f"{place}: {reason(error)}{REMEDIES.get(known, '')}") from error


@contextmanager
def no_room(place: str, remedy: str) -> Iterator[None]:
    """Want of room for what the block writes at `place` becomes a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        reason = os.strerror(error.errno).lower()
        raise StorageError(
            f"{place}: no room to write ({reason}); free some space and run again, or {remedy}"
        ) from error


def _client_error(error: Exception) -> type[StorageError] | None:
    """The class for errors that S3 and HTTP clients raise outside of OSError."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"}:
        return AccessDenied
    if names & {
        "EndpointConnectionError",
        "HTTPClientError",
        "ClientConnectionError",
        "ClientPayloadError",
        "FSTimeoutError",
    }:
        return Unreachable
    if names & {
        "BotoCoreError",
        "ClientError",
        "ParamValidationError",
        "HttpError",
        "AzureError",
        "ClientResponseError",
    }:
        return StorageError
    return None
