"""Conversion of what file systems and their clients raise into our own errors, without signatures and passwords."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import (
    AccessDenied,
    Changed,
    Expired,
    InTheWay,
    NoRoom,
    NotFound,
    StorageError,
    Unreachable,
    UsageError,
)
from pipeline.storage.urls import S3, WEB, is_bucket, protocol_of, redacted

SAID: dict[type[StorageError], str] = {
    NotFound: "nothing is there; check the path",
    AccessDenied: "access denied ({reason}); check the credentials or permissions",
    Expired: "credentials have expired ({reason}); renew them and run the same command again",
    Unreachable: "no usable answer ({reason}); check the endpoint and the network, or run again later",
    NoRoom: "no room to write ({reason}); free some space and run again",
    Changed: "changed since it was listed; run again to process the new version",
    InTheWay: "already exists, and nightlift has no record of writing it; move it away or choose another destination",
    StorageError: "{reason}",
}
NO_SUCH_BUCKET, BAD_NAME = "NoSuchBucket", {"InvalidBucketName", "400", "403", "AccessDenied"}  # codes of S3
NO_BUCKET = "{bucket}: there is no such bucket; check the name and the endpoint, or create it first"
NAMES = "; most stores allow names of 3 to 63 characters: small letters, digits, '-' and '.'"
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
SET_CREDENTIALS = "{reason}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or --storage-options"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
NO_FOLDER = "; a part of its path is a file, not a folder: choose another destination"
REMEDIES_BY_NUMBER = {
    errno.EEXIST: NO_FOLDER,
    errno.ENOTDIR: NO_FOLDER,
    errno.EFBIG: "; the disk does not support files of this size: choose another destination",
    errno.EROFS: "; choose another destination",
    errno.ENAMETOOLONG: "; rename it, or choose a bucket as the destination",
}
# names of exceptions that clients raise, most of which do not derive from OSError, and error codes of S3 responses
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
EXPIRED = {
    "CredentialRetrievalError",  # of a program that prints keys
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
    "RefreshError",  # Google's
}
REFUSED_RENEWAL = "refreshed credentials are still expired"  # botocore's RuntimeError
OUTDATED = {"FileExpired"}
NO_ANSWER = {
    "ConnectionError",
    "TimeoutError",
    "HTTPClientError",
    "IncompleteReadError",
    "ResponseParserError",  # the response is not XML, as from a busy proxy
    "ClientConnectionError",
    "ClientPayloadError",
    "FSTimeoutError",
    "ServiceRequestError",
    "ServiceResponseError",
}
PASSING = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "NoSuchUpload",  # an earlier request completed the upload, but its response was lost
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}  # Ceph; MinIO
BUSY = {408, 429, 500, 502, 503, 504}
OF_CLIENTS = {"BotoCoreError", "ClientError", "ParamValidationError", "HttpError", "AzureError", "ClientResponseError"}
REGIONS = {"301", "307", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
OF_TLS = {"SSLError", "ClientSSLError", "ClientConnectorCertificateError"}
# what is said where a word is found among an error's code, its classes' names and its text
REMEDIES = {
    "RequestTimeTooSkewed": "{reason}; set the clock of this machine right",
    "ProxyConnectionError": "no usable answer ({reason}); correct or unset HTTP_PROXY and HTTPS_PROXY, or set NO_PROXY",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted ({reason}); set {bundle} to a file with the "
    "certificate of its authority",
    "[SSL": "it does not answer as https:// must ({reason}); write its address as http:// if it has no certificate",
    "TooManyRedirects": "it redirects without end; give the address where the file is",
    'endpoint URL: "http://': "no usable answer ({reason}); check the endpoint, which may need https://, and the "
    "network, or run again later",
}
LONGEST = 500  # characters kept of a client's message: some contain a whole response
ADDRESSES = re.compile(r"""(https?://)(?:[^\s/?#'"]*@)?([^\s?#'"]*)(?:[?#]\S*?(?=['")]*(?:\s|$)))?""", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Remove user, password, query and fragment from each web address in a text."""
    return ADDRESSES.sub(r"\1\2", text)


@contextmanager
def errors_at(url: str, place: str) -> Iterator[None]:
    """Convert what a client raises into our own errors. `place`: the URL in a form that is safe to show."""

    def reason(error: BaseException) -> str:
        text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        if text == url and error.__cause__ is not None:  # fsspec's errors of the web name only the address
            cause = error.__cause__
            text = f"{getattr(cause, 'status', '')} {getattr(cause, 'message', '') or cause}"
        text = text.replace(url, place).replace(urlsplit(url).query or "\0", "...") if place != url else text
        return without_secrets(" ".join(text.split())).rstrip(".")[:LONGEST]

    try:
        yield
    except TypeError as error:
        raise UsageError(f"{place}: cannot be reached with these --storage-options ({reason(error)})") from error
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        # the message includes the endpoint, which may contain a password
        raise UsageError(
            f"{place}: cannot be reached: its endpoint is not a web address; write it as https://HOST"
        ) from None
    except Exception as error:
        kind = _kind(error)
        if kind is None:
            raise
        message = _message(kind, error, url, reason(error))
        remedy = REMEDIES_BY_NUMBER.get(getattr(error, "errno", None) or 0, "") if kind is StorageError else ""
        raise kind(message if _answer(error)[0] == NO_SUCH_BUCKET else f"{place}: {message}{remedy}") from error


@contextmanager
def with_reason(url: str, fs: Any, path: str) -> Iterator[None]:
    """Convert errors as `errors_at` does; where S3 sends only a status, also find out why access was denied."""
    try:
        with errors_at(url, redacted(url)):
            yield
    except AccessDenied:  # S3's HEAD response omits the reason; a one-byte GET includes it, or a listing
        if protocol_of(url) != S3:
            raise
        with errors_at(url, redacted(url)):
            if is_bucket(url):
                check_bucket(fs, path)
            else:
                fs.cat_file(path, start=0, end=1)
        raise


def check_bucket(fs: Any, path: str) -> None:
    """Check that an S3 store lists the bucket of `path`. Raises what the client raises if the store refuses."""
    fs.call_s3("list_objects_v2", Bucket=fs.split_path(path)[0], MaxKeys=1, **fs.req_kw)


def no_bucket(url: str) -> str:
    """Return the message for a bucket that does not exist, which also says if its name is an unlikely one."""
    protocol, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    names = NAMES if protocol == S3 and not BUCKET_NAME.fullmatch(bucket) else ""
    return NO_BUCKET.format(bucket=f"{protocol}://{bucket}") + names


def _message(kind: type[StorageError], error: Exception, url: str, reason: str) -> str:
    """Return what is said of an error: what was found, and what to do."""
    names, (code, _) = _names(error) | _names(error.__cause__), _answer(error)
    if code == NO_SUCH_BUCKET:
        return no_bucket(url)
    if code in REGIONS or (code == "400" and _region(error)):
        region = f"={_region(error)}" if _region(error) else " to the bucket's region"
        return f"the bucket is in another region or at another endpoint ({reason}); set AWS_DEFAULT_REGION{region}"
    bundle = "SSL_CERT_FILE" if protocol_of(url) in WEB else "AWS_CA_BUNDLE"
    found = " ".join([code, *names, str(error), str(error.__cause__)])
    said = next((said for word, said in REMEDIES.items() if word in found), SAID[kind])
    said = SET_CREDENTIALS if names & NO_CREDENTIALS else said
    unlikely = protocol_of(url) == S3 and code in BAD_NAME and NAMES in no_bucket(url)
    return said.format(reason=reason, bundle=bundle) + (NAMES if unlikely else "")


def _region(error: Exception) -> str:
    """Return the region of the bucket that an S3 answer names; "" if it names none."""
    answers = [getattr(each, "response", None) for each in (error, error.__cause__)]
    response = next((answer for answer in answers if isinstance(answer, dict)), {})
    return str(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


@contextmanager
def takes_new(place: str) -> Iterator[None]:
    """Raise StorageError where the system does not find what is to be made at `place`, as below /proc."""
    try:
        yield
    except FileNotFoundError as error:
        reason = "the file system there takes no new files or folders"
        raise StorageError(f"{place}: {reason}; choose another destination") from error


@contextmanager
def no_room(place: str, remedy: str) -> Iterator[None]:
    """Raise NoRoom where the disk at `place` is full, or StorageError where it takes no file of this size.

    `remedy`: what else the user can do about a full disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise StorageError(f"{place}: {os.strerror(error.errno)}{REMEDIES_BY_NUMBER[error.errno]}") from error
        if error.errno not in NO_ROOM:
            raise
        raise NoRoom(f"{place}: {SAID[NoRoom].format(reason=os.strerror(error.errno))}, or {remedy}") from error


def _kind(error: Exception) -> type[StorageError] | None:
    """Return our class for an error of a file system or its client; None for an error of another origin."""
    names, (code, status) = _names(error), _answer(error)
    kinds: tuple[tuple[type[StorageError], object], ...] = (
        (Changed, names & OUTDATED or code == "PreconditionFailed"),
        (Expired, names & EXPIRED or code in EXPIRED or REFUSED_RENEWAL in str(error)),
        (NoRoom, (isinstance(error, OSError) and error.errno in NO_ROOM) or code in FULL),
        (StorageError, (names | _names(error.__cause__)) & OF_TLS),  # would be the same again
        (StorageError, code in REGIONS or (code == "400" and _region(error))),
        (Unreachable, (names | _names(error.__cause__)) & NO_ANSWER or code in PASSING or status in BUSY),
        (AccessDenied, isinstance(error, PermissionError) or names & NO_CREDENTIALS or status in {401, 403}),
        (StorageError, "TooManyRedirects" in _names(error.__cause__)),
        (NotFound, isinstance(error, FileNotFoundError) and status in {0, 404, 410}),
        (AccessDenied, code == "400"),  # S3's HEAD response gives no reason: usually expired credentials
        (StorageError, isinstance(error, OSError) or names & OF_CLIENTS),
    )
    return next((kind for kind, applies in kinds if applies), None)


def _names(error: BaseException | None) -> set[str]:
    """Return the names of an error's classes: the classes of clients that are not installed cannot be imported."""
    return {kind.__name__ for kind in type(error).__mro__}


def _answer(error: Exception) -> tuple[str, int]:
    """Return the S3 error code and the HTTP status behind an error; "" and 0 where there are none."""
    for each in (error, error.__cause__):
        answer = getattr(each, "response", None)
        if isinstance(answer, dict):
            return answer.get("Error", {}).get("Code", ""), answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    of_clients = ("status", "status_code", "code")  # aiohttp, Azure, gcsfs
    numbers = (getattr(each, name, None) for each in (error, error.__cause__) for name in of_clients)
    return "", next((number for number in numbers if isinstance(number, int)), 0)
