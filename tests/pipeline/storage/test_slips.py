"""Slips in URLs, options and settings: each is one line that says what was found and what to do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import AccessDenied, NightliftError, NotFound, StorageError, Unreachable, UsageError
from pipeline.storage.credentials import parse_options
from pipeline.storage.storage import Storage
from pipeline.storage.urls import absolute
from tests.support.certificates import certificate
from tests.support.fake_s3 import KEY, SECRET, FakeS3, Refusal, Request, fake_s3, s3_in_environment
from tests.support.web_server import web_server

KEYS = {"key": KEY, "secret": SECRET}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    monkeypatch.setattr("pipeline.storage.retries.LEAST_ATTEMPTS", 1)
    with s3_in_environment(monkeypatch) as fake:
        yield fake


def _said(url: str, kind: type[NightliftError], **options: object) -> str:
    """Return what is said where a place is listed, after the URL is checked as jobs do."""
    with pytest.raises(kind) as told:
        place = absolute(url)
        Storage.from_environment([place], options).list_files(place)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("zip://*.jpg::/tmp/x.zip", "archives"),
        ("TAR://a.tar", "archives"),
        ("memory://in", "files can stay"),
        ("data://in", "files can stay"),
        ("simplecache::s3://b/in", "files can stay"),
        ("ftp://127.0.0.1:9/in", "'host'"),
        ("foo://in", "not known"),
        ("hdfs://127.0.0.1:9/in", "cannot be reached"),
        ("ftp://me:hush@host/in", "--storage-options"),
        ("s3://", "incomplete"),
        ("s3:///in", "incomplete"),
    ],
)
def test_urls_that_name_no_place(url: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    said = _said(url, UsageError)
    assert words in said
    assert said.startswith(url.replace("me:hush@", ""))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"foo": 1}, '"foo"'),
        ({"endpoint": "http://h"}, "endpoint_url"),
        ({"s4": {}}, '"s4"'),
        ({"key": 1}, "key must be text"),
        ({"token": {"a": 1}}, "token must be text"),
        ({"key": "k"}, "secret"),
        ({"anon": "yes"}, "true or false"),
        ({"default_block_size": "x"}, "whole number"),
        ({"client_kwargs": 5}, "JSON object"),
        ({"client_kwargs": {"verify": "/none.pem"}}, "/none.pem"),
        ({"config_kwargs": {"foo": 1}}, "config_kwargs"),
        ({"config_kwargs": {"retries": 5}}, "config_kwargs"),
        ({"endpoint_url": "localhost:9000"}, "not a web address"),
        ({"client_kwargs": {"endpoint_url": "localhost:9000"}}, "not a web address"),
    ],
)
def test_options_that_s3_does_not_have(store: FakeS3, options: dict[str, object], words: str) -> None:
    given = parse_options(json.dumps(options))
    for each in (given, {"s3": given}):
        assert words in _said("s3://in", UsageError, **each)
    assert not store.requests


def test_options_that_are_null_are_not_given(store: FakeS3) -> None:
    store.buckets["in"].clear()
    Storage.from_environment(["s3://in"], {"key": None, "endpoint_url": None}).write("s3://in/a", b"-")
    assert "a" in store.buckets["in"]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_without_a_scheme_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "me:hush@localhost:9000")
    said = _said("s3://in", UsageError, **KEYS)
    assert "AWS_ENDPOINT_URL" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("refusal", "kind", "words"),
    [
        (Refusal(301, "PermanentRedirect", headers={"x-amz-bucket-region": "eu-west-3"}), StorageError, "eu-west-3"),
        (Refusal(400, "AuthorizationHeaderMalformed", "expecting 'eu-west-3'"), StorageError, "eu-west-3"),
        (Refusal(403, "RequestTimeTooSkewed", "The difference is too large."), AccessDenied, "set the clock"),
        (Refusal(403, "SignatureDoesNotMatch", "The signature differs."), AccessDenied, "The signature differs)"),
        (Refusal(400, "InvalidBucketName", "The name is not valid."), AccessDenied, "small letters"),
    ],
)
def test_a_store_that_refuses_says_why(store: FakeS3, refusal: Refusal, kind: type[StorageError], words: str) -> None:
    """Though its answer to a HEAD request is only a status."""

    def refuses(request: Request) -> Refusal:
        return refusal

    store.refuses = refuses
    for url in ("s3://Night_Bad", "s3://Night_Bad/in"):
        assert words in _said(url, StorageError if "letters" in words else kind)
    with pytest.raises(StorageError, match=words.replace(")", "")):
        Storage.from_environment(["s3://in"], {}).is_folder("s3://Night_Bad/out")
    assert len(store.requests) < 12


@pytest.mark.parametrize(("bucket", "hint"), [("night", False), ("Night_Bad", True), ("ab", True), ("a" * 64, True)])
def test_a_bucket_that_does_not_exist(store: FakeS3, bucket: str, hint: bool) -> None:
    store.buckets["other"].clear()
    for url in (f"s3://{bucket}", f"s3://{bucket}/in", f"s3://{bucket}/*.jpg"):
        said = _said(url, NotFound)
        assert said.startswith(f"s3://{bucket}: there is no such bucket")
        assert ("small letters" in said) == hint
    with pytest.raises(StorageError, match=f"^s3://{bucket}: there is no such bucket"):
        Storage.from_environment([f"s3://{bucket}"], {}).write(f"s3://{bucket}/a", b"-")


def test_tls_that_is_missing_or_not_trusted(store: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_s3(certificate(tmp_path)) as secure:
        secure.buckets["in"].clear()
        plain = store.url.replace("http:", "https:")
        assert "http://" in _said("s3://in", StorageError, endpoint_url=plain)
        assert "http://" in _said(f"{plain}/a.jpg", StorageError)
        assert "https://" in _said("s3://in", Unreachable, endpoint_url=secure.url.replace("https:", "http:"))
        assert "AWS_CA_BUNDLE" in _said("s3://in", StorageError, endpoint_url=secure.url)
        assert "SSL_CERT_FILE" in _said(f"{secure.url}/in/a.jpg", StorageError)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert "none.pem" in _said("s3://in", UsageError)


def test_a_proxy_that_does_not_answer(store: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:9")
    said = _said("s3://in", Unreachable, endpoint_url="http://night.example:9000")
    assert "NO_PROXY" in said
    assert "127.0.0.1:9" in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, AccessDenied, "401"),
        (403, AccessDenied, "403"),
        (404, NotFound, "nothing is there"),
        (410, NotFound, "nothing is there"),
        (400, StorageError, "400"),
        (302, StorageError, "redirects"),
        (500, Unreachable, "500"),
        (503, Unreachable, "503"),
    ],
)
def test_a_web_server_that_refuses(
    status: int, kind: type[StorageError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.retries.LEAST_ATTEMPTS", 1)
    with web_server(b"-") as server:
        server.refusal = status
        said = _said(f"{server.url}/a.jpg?signature=hush", kind)
        assert said.startswith(f"{server.url}/a.jpg: ")
        assert words in said
        assert "hush" not in said
