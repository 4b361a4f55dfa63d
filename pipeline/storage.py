"""Places: URLs, credentials, listing, whole-or-nothing writes, over fsspec.

A place is a local path or a URL (`s3://bucket/key`, `gs://`, `az://`, `https://`). A `Storage` is small, can be
pickled, and reaches the same places from every worker as from the machine that made it.
"""

import hashlib
import itertools
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fsspec

from pipeline.errors import AccessDenied, NotFound, StorageError, Unreachable, UsageError

PART_SUFFIX = ".nightlift-part"  # of a file being written
LOCAL = "file"
GLOB = re.compile(r"[*?\[]")
WHOLE_PUT = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}  # an object appears whole or not at all
READ_ONLY = {"http", "https"}
EXTRAS = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure", "http": "http", "https": "http"}
VERSION_KEYS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "updated",
    "mtime",
)
FORWARDED = ("AWS_", "AZURE_STORAGE_", "FSSPEC_")  # environment variables that workers are given, but for
LOCAL_FILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")  # these


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One file that a listing found."""

    url: str
    relative: str
    """Path below the root of the listing, `/` between folders."""
    size_bytes: int
    version: str
    """Changes whenever the content does: the store's ETag, or else the time of the last change, and the size."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How to reach places. Make it with `Storage.from_environment`; never shown, as it may hold secrets."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """fsspec's storage options for each protocol."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables for workers that lack them."""

    @classmethod
    def from_environment(cls, urls: list[str], options: Mapping[str, Any]) -> "Storage":
        """For these places, by `options` (fsspec's, for all remote places or keyed by protocol) and the environment.

        AWS keys and endpoint are looked up here, in the environment or a profile, so that workers on machines
        without the profile get them. Credentials that renew themselves (an instance's role) stay each worker's own.
        """
        protocols = {protocol_of(url) for url in urls} - {LOCAL}
        keyed = bool(protocols & options.keys())
        by_protocol = {protocol: dict(options.get(protocol, {}) if keyed else options) for protocol in protocols}
        if "s3" in by_protocol:
            by_protocol["s3"] = _with_aws_session(by_protocol["s3"])
        environment = {
            name: value for name, value in os.environ.items() if name.startswith(FORWARDED) and name not in LOCAL_FILES
        }
        return cls(by_protocol, environment)

    def filesystem(self, url: str) -> tuple[Any, str]:
        """fsspec's file system for `url` and the path in it. Raises UsageError."""
        protocol = protocol_of(url)
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        try:
            fs = fsspec.filesystem(protocol, **self.options.get(protocol, {}))
        except ImportError as error:
            extra = EXTRAS.get(protocol)
            remedy = f'pip install "nightlift[{extra}]"' if extra else str(error)
            raise UsageError(f"{url}: {protocol}:// needs a package that is not installed: {remedy}") from error
        except ValueError as error:
            raise UsageError(f"{url}: cannot be reached: {error}") from error
        return fs, str(fs._strip_protocol(url))

    def list_files(self, url: str) -> list[Listed]:
        """Every file at `url` (a file, a folder with all below it, or a glob), sorted by path.

        Raises NotFound, AccessDenied, Unreachable, StorageError.
        """
        fs, path = self.filesystem(url)
        fs.invalidate_cache()
        with storage_errors(url):
            root, found = _find(fs, path)
        return [
            Listed(
                url=_url(fs, name),
                relative=name.removeprefix(root).lstrip("/"),
                size_bytes=int(info.get("size") or 0),
                version=_version(info),
            )
            for name, info in sorted(found.items())
            if info["type"] == "file" and not name.endswith(("/", PART_SUFFIX))
        ]

    def is_folder(self, url: str) -> bool:
        fs, path = self.filesystem(url)
        with storage_errors(url):
            return bool(fs.isdir(path))

    def read(self, url: str) -> bytes:
        """The whole content. Raises NotFound, AccessDenied, Unreachable, StorageError."""
        fs, path = self.filesystem(url)
        with storage_errors(url):
            return bytes(fs.cat_file(path))

    def write(self, url: str, data: bytes) -> None:
        """Write `data` so that the file is seen whole or not at all, whatever happens in between.

        The name of the unfinished file is fixed by the file's own: a later attempt replaces what a killed one left.
        """
        fs, path = self.filesystem(url)
        with storage_errors(url):
            if protocol_of(url) in WHOLE_PUT:
                fs.pipe_file(path, data)
                return
            folder, name = posixpath.split(path)
            part = posixpath.join(folder, f".{hashlib.sha256(name.encode()).hexdigest()[:16]}{PART_SUFFIX}")
            fs.makedirs(folder, exist_ok=True)
            fs.pipe_file(part, data)
            if protocol_of(url) == LOCAL:
                os.replace(part, path)  # noqa: PTH105 (these are fsspec's paths)
            else:
                fs.mv(part, path)

    def remove(self, urls: list[str]) -> None:
        for url in urls:
            fs, path = self.filesystem(url)
            with storage_errors(url):
                fs.rm_file(path)


def before_glob(path: str) -> str:
    """The folders before the first that is a pattern; all of a path without patterns."""
    folders = path.split("/")
    return "/".join(itertools.takewhile(lambda folder: not GLOB.search(folder), folders))


def protocol_of(url: str) -> str:
    """`s3` for `s3://bucket/key`; `file` for a path."""
    return url.split("://", 1)[0] if "://" in url else LOCAL


def join(folder: str, *names: str) -> str:
    return "/".join([folder.rstrip("/") if folder != "/" else "", *names])


def parent(url: str) -> str:
    """The folder of a file: `s3://bucket/a` for `s3://bucket/a/b.jpg`, `.` for `b.jpg`."""
    return url.rstrip("/").rpartition("/")[0] or ("/" if url.startswith("/") else ".")


def absolute(url: str) -> str:
    """A local path made absolute; a URL as it is, without a trailing slash."""
    if protocol_of(url) == LOCAL:
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))  # noqa: PTH100, PTH111 (keeps globs)
    return url.rstrip("/")


def parse_options(text: str) -> dict[str, Any]:
    """`--storage-options`: a JSON object. Raises UsageError."""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UsageError(f"--storage-options is not JSON ({error}); write it like '{{\"anon\": true}}'") from error
    if not isinstance(options, dict):
        raise UsageError("--storage-options must be a JSON object, like '{\"anon\": true}'")
    return options


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn what file systems and their clients raise into our own errors, which name the place."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{url}: nothing is there") from error
    except PermissionError as error:
        raise AccessDenied(f"{url}: access denied ({_reason(error)}); check the credentials") from error
    except (ConnectionError, TimeoutError) as error:
        raise Unreachable(f"{url}: no answer from the endpoint ({_reason(error)})") from error
    except OSError as error:
        raise StorageError(f"{url}: {_reason(error)}") from error
    except Exception as error:
        known = _client_error(error)
        if known is None:
            raise
        raise known(f"{url}: {_reason(error)}") from error


def _client_error(error: Exception) -> type[StorageError] | None:
    """The class for errors that S3 and HTTP clients raise outside of OSError."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"}:
        return AccessDenied
    if names & {"EndpointConnectionError", "HTTPClientError", "ClientConnectionError", "FSTimeoutError"}:
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


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _find(fs: Any, path: str) -> tuple[str, dict[str, Any]]:
    """The root that relative paths count from, and name -> info of every file."""
    try:
        info = fs.info(path)
    except FileNotFoundError:
        found = fs.glob(path, detail=True) if GLOB.search(path) else {}
        if not found:
            raise
        return before_glob(path), found
    if info["type"] == "file":
        return info["name"].rpartition("/")[0], {info["name"]: info}
    root = str(fs._strip_protocol(info["name"])).rstrip("/")
    return root, fs.find(path, detail=True)


def _url(fs: Any, name: str) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return name if protocol == LOCAL or "://" in name else f"{protocol}://{name}"


def _version(info: Mapping[str, Any]) -> str:
    for key in VERSION_KEYS:
        if info.get(key):
            return f"{str(info[key]).strip(chr(34))}-{info.get('size')}"
    return str(info.get("size"))


def _with_aws_session(options: dict[str, Any]) -> dict[str, Any]:
    """Add the keys, endpoint and region that the AWS session of this machine would use."""
    import botocore.session  # comes with s3fs; slow to import, needed for s3:// alone

    if options.get("anon") or options.get("profile"):
        return options
    session = botocore.session.get_session()
    with storage_errors("s3://"):
        credentials = session.get_credentials()
        client = session.create_client("s3", region_name=session.get_config_variable("region") or "us-east-1")
    found: dict[str, Any] = {}
    if "key" not in options and credentials is not None and credentials.method in STATIC_CREDENTIALS:
        found = {"key": credentials.access_key, "secret": credentials.secret_key, "token": credentials.token}
    endpoint = client.meta.endpoint_url
    if "amazonaws.com" not in endpoint:
        found["endpoint_url"] = endpoint
    elif session.get_config_variable("region"):
        found["client_kwargs"] = {"region_name": client.meta.region_name}
    return {**found, **options}


STATIC_CREDENTIALS = {"env", "shared-credentials-file", "config-file", "boto-config", "explicit"}
