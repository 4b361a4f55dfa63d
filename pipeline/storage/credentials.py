"""Credentials for workers: what this machine would use, in a form that can be sent to machines that lack it."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

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
# botocore's names of credentials that each machine gets and renews for itself
WORKERS_OWN = {"iam-role", "container-role", "assume-role-with-web-identity"}
S3_RETRIES = {"mode": "standard", "total_max_attempts": 4}  # per request; random waits of up to 1, 2, 4 s
AWS_ENDPOINT = re.compile(r"https://s3(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?/?")


def parse_options(text: str) -> dict[str, Any]:
    """Parse `--storage-options`, a JSON object. Raises UsageError."""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UsageError(f"--storage-options is not JSON ({error}); write it like '{{\"anon\": true}}'") from error
    if not isinstance(options, dict):
        raise UsageError("--storage-options must be a JSON object, like '{\"anon\": true}'")
    return options


def worker_options(protocols: Iterable[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return fsspec's options for each protocol, complete enough for a machine without our AWS profile.

    `options`: for all protocols, or keyed by protocol. AWS keys, endpoint and region are looked up here, as the AWS
    tools would; a role of the machine is left for each worker to look up. Raises UsageError, AccessDenied.
    """
    protocols = set(protocols)
    by_protocol = {canonical(name): found for name, found in options.items()}
    keyed = bool(protocols & by_protocol.keys())
    chosen = {protocol: by_protocol.get(protocol, {}) if keyed else options for protocol in protocols}
    for protocol, found in chosen.items():
        if not isinstance(found, Mapping):
            raise UsageError(f"--storage-options: {protocol} must hold a JSON object, like '{{\"anon\": true}}'")
    return {
        protocol: _with_aws_session(_with_retries(found)) if protocol == S3 else dict(found)
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


def _with_retries(options: Mapping[str, Any]) -> dict[str, Any]:
    """Add how often the S3 client repeats a request. Raises UsageError.

    By default the client waits 5 s for a connection and 15 s for an answer.
    """
    given = options.get("config_kwargs", {})
    if not isinstance(given, Mapping):
        raise UsageError("--storage-options: config_kwargs must hold a JSON object")
    return {**options, "config_kwargs": {"retries": S3_RETRIES, **given}}


def _with_aws_session(options: dict[str, Any]) -> dict[str, Any]:
    """Add the keys, endpoint and region that an AWS session of this machine would use. Raises AccessDenied."""
    import botocore.exceptions  # comes with s3fs; slow to import, needed only for s3://
    import botocore.session

    if options.get("anon"):
        return options
    session = botocore.session.Session(profile=options.pop("profile", None))
    try:
        credentials = session.get_credentials()
        region = session.get_config_variable("region")
        endpoint = session.create_client("s3", region_name=region or "us-east-1").meta.endpoint_url
        keys = credentials.get_frozen_credentials() if credentials and credentials.method not in WORKERS_OWN else None
    except botocore.exceptions.BotoCoreError as error:
        raise AccessDenied(f"cannot get AWS credentials from the profile or environment: {error}") from error
    found: dict[str, Any] = {}
    if keys is not None and "key" not in options:
        found = {"key": keys.access_key, "secret": keys.secret_key, "token": keys.token}
    if not AWS_ENDPOINT.fullmatch(endpoint):
        found["endpoint_url"] = endpoint
    if region:
        found["client_kwargs"] = {"region_name": region}
    return {**found, **options}
