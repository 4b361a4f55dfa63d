"""Credentials for workers: what this machine would use, in a form that can be sent to machines that lack it."""

import inspect
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from fsspec.config import conf

from pipeline.errors import AccessDenied, UsageError
from pipeline.storage.urls import S3, canonical

FORWARDED = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "FSSPEC_")  # variables for workers, except:
STAYS = {  # files of this machine, and keys, which are sent as a whole in the options or not at all
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}
# botocore's names of credentials that each machine gets and renews for itself, unless a profile names their token
WORKERS_OWN = {"iam-role", "container-role", "assume-role-with-web-identity"}
TOKEN_OF_PROFILE, ASKS_A_PERSON = "web_identity_token_file", "mfa_serial"  # in a profile
S3_RETRIES = {"mode": "standard", "total_max_attempts": 4}  # per request; random waits of up to 1, 2, 4 s
PLAIN_ENDPOINT = re.compile(r"https://s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?")  # that clients find by themselves
AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")
WEB_ADDRESS = re.compile(r"https?://[^/]", re.IGNORECASE)
CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")  # options of the S3 client
MORE_OPTIONS = ("profile", "use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache")  # of s3://
FORMS: dict[type, tuple[tuple[str, ...], str]] = {  # names of options whose default does not show their type
    str: (("key", "secret", "token", "endpoint_url", "profile"), "be text in quotes"),
    dict: (("client_kwargs", "config_kwargs", "s3_additional_kwargs"), "hold a JSON object"),
    int: (("default_block_size",), "be a whole number"),
    bool: ((), "be true or false"),
}
NO_ADDRESS = (  # which may contain a password
    "the endpoint of s3:// is not a web address; write it as https://HOST or http://HOST:PORT in AWS_ENDPOINT_URL, the "
    "AWS profile or --storage-options"
)
KEYS = ("key", "secret", "token")  # s3fs's names
RENEWED = "renewed"  # our own option: a `Renewed`, in place of keys


@dataclass(frozen=True, slots=True)
class Renewed:
    """AWS keys that expire, and the profile that renews them on every machine that has it."""

    profile: str
    expires: str
    """Local time when the keys expire; "" if it is not known."""
    section: Mapping[str, Any] = field(repr=False)
    """What the AWS files of the machine where the job began say of the profile."""
    keys: Mapping[str, Any] = field(repr=False)
    """s3fs's options with the keys that were valid when the job began, for machines without the profile."""

    def is_here(self) -> bool:
        """Return whether this machine has the same profile, and gets keys from it."""
        return _gets_keys(self.profile, json.dumps(self.section, sort_keys=True))


@cache
def _gets_keys(profile: str, section: str) -> bool:
    import botocore.session

    session = botocore.session.Session(profile=profile)
    with suppress(Exception):  # whatever a profile leads to: programs, files, services
        same = json.dumps(session.get_scoped_config(), sort_keys=True) == section
        return same and bool(session.get_credentials().get_frozen_credentials().access_key)
    return False


def parse_options(text: str) -> dict[str, Any]:
    """Parse `--storage-options`, a JSON object. Raises UsageError."""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UsageError(f"--storage-options is not JSON ({error}); write it like '{{\"anon\": true}}'") from error
    if not isinstance(options, dict):
        raise UsageError("--storage-options must be a JSON object, like '{\"anon\": true}'")
    return options


def on_this_machine(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return fsspec's options with the keys that this machine uses: those of its profile, if it has the same one."""
    rest = dict(options)
    renewed: Renewed | None = rest.pop(RENEWED, None)
    if renewed is None:
        return rest
    return {**rest, **({"profile": renewed.profile} if renewed.is_here() else renewed.keys)}


def worker_options(protocols: Iterable[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return fsspec's options for each protocol, complete enough for a machine without our AWS profile.

    `options`: for all protocols, or keyed by protocol. AWS keys, endpoint and region are looked up here, as the AWS
    tools would; a role of the machine is left for each worker to look up, and a profile that renews its keys to those
    that have it: see `on_this_machine`. Raises UsageError, AccessDenied.
    """
    protocols = set(protocols)
    by_protocol = {canonical(name): found for name, found in options.items()}
    keyed = bool(protocols & by_protocol.keys())
    chosen = {protocol: by_protocol.get(protocol, {}) if keyed else options for protocol in protocols}
    for protocol, found in chosen.items():
        if not isinstance(found, Mapping):
            raise UsageError(f"--storage-options: {protocol} must hold a JSON object, like '{{\"anon\": true}}'")
    return {
        protocol: _with_aws_session(_with_retries(_checked(found))) if protocol == S3 else dict(found)
        for protocol, found in _with_absolute_files(chosen).items()
    }


def forwarded_environment() -> dict[str, str]:
    """Return the environment variables that workers need to reach the same places."""
    return {name: value for name, value in os.environ.items() if name.startswith(FORWARDED) and name not in STAYS}


def _with_absolute_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """Make relative file paths in options, such as gcsfs's `token`, absolute: workers run in another directory."""
    return {
        name: _with_absolute_files(value) if isinstance(value, Mapping) else _absolute_if_file(value)
        for name, value in options.items()
    }


def _absolute_if_file(value: Any) -> Any:
    """Return the absolute path of a named file; a word without a suffix is kept, even if a file has that name."""
    if isinstance(value, str) and os.path.splitext(value)[1] and os.path.isfile(value):  # noqa: PTH113, PTH122
        return os.path.abspath(value)  # noqa: PTH100
    return value


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for S3, with those of fsspec's configuration. Raises UsageError for what s3fs cannot take."""
    from s3fs import S3FileSystem

    found = {name: value for name, value in {**conf.get(S3, {}), **options}.items() if value is not None}
    taken = inspect.signature(S3FileSystem.__init__).parameters
    for name, value in found.items():
        if name not in (*taken, *MORE_OPTIONS):
            close = get_close_matches(name, [*taken, *MORE_OPTIONS], n=1, cutoff=0.75)
            hint = f"did you mean {close[0]}?" if close else "see the parameters of s3fs.S3FileSystem"
            raise UsageError(f'--storage-options: s3:// has no option "{name}"; {hint}')
        default = taken[name].default if name in taken else None
        for kind, (names, form) in FORMS.items():
            if (name in names or type(default) is kind) and type(value) is not kind:
                raise UsageError(f"--storage-options: {name} must {form}")
    if ("key" in found) != ("secret" in found):
        raise UsageError("--storage-options: key and secret belong together; give both, or none")
    return found


def _with_retries(options: Mapping[str, Any]) -> dict[str, Any]:
    """Add how often the S3 client repeats a request.

    By default the client waits 5 s for a connection and 15 s for an answer.
    """
    return {**options, "config_kwargs": {"retries": S3_RETRIES, **options.get("config_kwargs", {})}}


def _with_aws_session(options: dict[str, Any]) -> dict[str, Any]:
    """Add the keys, endpoint and region that an AWS session of this machine would use.

    Raises AccessDenied, UsageError.
    """
    import botocore.config  # comes with s3fs; slow to import, needed only for s3://
    import botocore.session

    session = botocore.session.Session(profile=options.pop("profile", None))
    try:
        keys = {} if options.get("anon") or "key" in options else _keys(session)
        section, region = session.get_scoped_config(), session.get_config_variable("region")
        client_options = {**({"region_name": region} if region else {}), **options.get("client_kwargs", {})}
        given = options.get("endpoint_url") or client_options.get("endpoint_url")
        endpoint = str(given or session.create_client("s3", region_name=region or "us-east-1").meta.endpoint_url)
    except Exception as error:
        raise _refused(error) from error
    if not WEB_ADDRESS.match(endpoint):
        raise UsageError(NO_ADDRESS)
    authorities = client_options.get("verify", session.get_config_variable("ca_bundle"))
    if isinstance(authorities, str) and not os.path.exists(authorities):  # noqa: PTH110
        raise UsageError(f"{authorities}: no such file; AWS_CA_BUNDLE or verify must name one with certificates")
    found = {} if given or PLAIN_ENDPOINT.fullmatch(endpoint) else {"endpoint_url": endpoint}
    config = {**_checksums(endpoint, section), **options["config_kwargs"]}
    try:
        botocore.config.Config(**config)
    except Exception as error:
        raise UsageError(f"--storage-options: config_kwargs cannot be used ({_one_line(error)})") from error
    return {**keys, **found, **options, "client_kwargs": client_options, "config_kwargs": config}


def _keys(session: Any) -> dict[str, Any]:
    """Return s3fs's options for the keys of a session; none for those that each machine gets for itself."""
    from botocore.credentials import EnvProvider, RefreshableCredentials

    credentials, section = session.get_credentials(), session.get_scoped_config()
    if credentials is None or (credentials.method in WORKERS_OWN and TOKEN_OF_PROFILE not in section):
        return {}
    found = credentials.get_frozen_credentials()
    keys = dict(zip(KEYS, (found.access_key, found.secret_key, found.token), strict=True))
    is_renewed = isinstance(credentials, RefreshableCredentials) and credentials.method != EnvProvider.METHOD
    if not is_renewed or ASKS_A_PERSON in section:
        return keys
    expires = credentials._expiry_time
    until = f"{expires.astimezone():%H:%M on %d %B}" if expires else ""
    return {RENEWED: Renewed(session.profile or "default", until, section, keys)}


def _refused(error: Exception) -> Exception:
    """Return our error for what an AWS session raised: its credentials come from files, programs and services."""
    if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        return UsageError(NO_ADDRESS)
    return AccessDenied(f"cannot get AWS credentials or settings from the profile or environment: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _checksums(endpoint: str, section: Mapping[str, Any]) -> dict[str, str]:
    """Return when the S3 client is to add checksums: always at AWS, elsewhere only if S3 requires or the user asks.

    Ceph, Backblaze B2, older MinIO and others refuse uploads with checksums in headers or after the content.
    """
    if (urlsplit(endpoint).hostname or "").endswith(AWS_HOSTS):
        return {}
    return {name: os.environ.get(f"AWS_{name.upper()}") or section.get(name) or "when_required" for name in CHECKSUMS}
