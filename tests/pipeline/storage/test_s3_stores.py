"""S3 stores that differ from AWS, and keys that are renewed while a job runs."""

import os
import pickle
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import Expired, StorageError
from pipeline.planning.same_place import proven
from pipeline.storage import credentials
from pipeline.storage.storage import Storage
from tests.support.certificates import certificate
from tests.support.fake_s3 import FakeS3, Refusal, Request, Stored, refuses_checksums, s3_in_environment
from tests.support.fresh_keys import profile, refuses_old_keys

FILM = os.urandom(12 << 20)
URL = "s3://night/deep/a.jpg"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeS3]:
    """A store with one bucket, `night`, which the environment names."""
    with s3_in_environment(monkeypatch) as fake:
        yield _prepared(fake, monkeypatch)


def _prepared(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    """Make the bucket, and let the client send parts that are small."""
    assert not fake.buckets["night"]
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda *_, **__: 5 << 20)
    return fake


def _storage(**options: object) -> Storage:
    return Storage.from_environment(["s3://night"], options)


def _written_in_every_way(storage: Storage) -> None:
    """Write at once and in parts, read, list and remove."""
    storage.write(URL, b"whole")
    with storage.writing("s3://night/film.mp4") as path:
        Path(path).write_bytes(FILM)
    assert storage.read(URL) == b"whole"
    assert storage.read("s3://night/film.mp4") == FILM
    assert [file.relative for file in storage.list_files("s3://night")] == ["deep/a.jpg", "film.mp4"]
    storage.remove([URL])
    storage.remove_below("s3://night")
    assert not storage.exists(URL)


@pytest.mark.parametrize("tls", [False, True])
def test_a_store_that_refuses_checksums(tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In headers, as they are sent without TLS, or after the content."""
    pem = certificate(tmp_path) if tls else None
    if pem is not None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(pem))
    with s3_in_environment(monkeypatch, pem) as fake:
        _prepared(fake, monkeypatch).refuses = refuses_checksums
        _written_in_every_way(proven(_storage(), "s3://night/out", []))
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
        with pytest.raises(StorageError, match="functionality"):
            _storage().write(URL, b"-")
        _storage(config_kwargs={"request_checksum_calculation": "when_required"}).write(URL, b"-")


def test_aws_itself_gets_checksums_and_every_other_endpoint_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(**options: object) -> object:
        return _storage(**options).options["s3"]["config_kwargs"].get("request_checksum_calculation")

    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    keys = {"key": "k", "secret": "s"}
    aws = "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com"
    assert asked(**keys) is asked(**keys, endpoint_url=aws) is None
    assert asked(**keys, endpoint_url="https://s3.amazonaws.com.example.org") == "when_required"
    assert asked(**keys, client_kwargs={"endpoint_url": "http://host:9000"}) == "when_required"
    monkeypatch.setattr(credentials, "conf", {"s3": {"endpoint_url": "http://host:9000"}})
    assert asked(**keys) == "when_required"


def test_a_store_without_conditional_writes(store: FakeS3) -> None:
    def refuses(request: Request) -> Refusal | None:
        return Refusal(501, "NotImplemented") if "if-none-match" in request.headers else None

    store.refuses = refuses
    storage = proven(_storage(), "s3://night/out", [])
    assert not storage.conditional_puts
    _written_in_every_way(storage)


@pytest.mark.parametrize("status", [400, 501])
def test_a_store_with_conditional_writes_of_small_files_only(store: FakeS3, status: int) -> None:
    def refuses(request: Request) -> Refusal | None:
        conditional = request.method == "POST" and "if-none-match" in request.headers
        return Refusal(status, "NotImplemented" if status == 501 else "InvalidArgument") if conditional else None

    store.refuses = refuses
    storage = proven(_storage(), "s3://night/out", [])
    assert storage.conditional_puts
    _written_in_every_way(storage)
    store.buckets["night"]["film.mp4"] = Stored(b"somebody's", {})
    with pytest.raises(StorageError, match="move it away"), storage.writing("s3://night/film.mp4") as path:
        Path(path).write_bytes(FILM)
    assert store.buckets["night"]["film.mp4"].data == b"somebody's"


@pytest.fixture
def renewed(store: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeS3:
    """The store, which takes only the last keys that a profile's program printed."""
    for name in store.environment:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile(tmp_path, store.url)))
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.setattr(credentials, "_gets_keys", credentials._gets_keys.__wrapped__)
    store.refuses = partial(refuses_old_keys, tmp_path)
    return store


@pytest.mark.parametrize("by", ["environment", "options"])
def test_workers_with_the_profile_renew_their_keys(renewed: FakeS3, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "options":
        monkeypatch.delenv("AWS_PROFILE")
    storage = pickle.loads(pickle.dumps(_storage() if by == "environment" else _storage(profile="night")))
    assert re.fullmatch(r"the AWS keys of profile night expire at \d\d:\d\d on \d\d \w+", storage.expiry)
    for name in ("a", "b"):
        storage.write(f"s3://night/{name}", b"-")
    assert len({request.headers["authorization"] for request in renewed.requests}) == len(renewed.requests)
    assert sorted(renewed.buckets["night"]) == ["a", "b"]


@pytest.mark.parametrize("there", ["", "[profile night]\nregion = eu-west-3\n"])
def test_workers_without_the_profile_use_the_keys_of_the_start(
    renewed: FakeS3, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = _storage()
    (tmp_path / "elsewhere").write_text(there)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "elsewhere"))
    monkeypatch.delenv("AWS_PROFILE")
    storage.write("s3://night/a", b"-")
    (tmp_path / "count").write_text("100")  # by now others are valid
    with pytest.raises(Expired, match="renew them"):
        storage.write("s3://night/b", b"-")
    assert "night-" not in repr(storage.options["s3"])


def test_a_role_with_a_code_from_a_person_is_asked_for_once(renewed: FakeS3, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"{config.read_text()}mfa_serial = arn:aws:iam::1:mfa/me\n")
    assert _storage().options["s3"]["key"].startswith("night-")


def test_keys_that_can_no_longer_be_renewed_have_expired(renewed: FakeS3, tmp_path: Path) -> None:
    storage = _storage()
    storage.write("s3://night/a", b"-")
    (tmp_path / "closed").touch()
    with pytest.raises(Expired, match="renew them"):
        storage.write("s3://night/b", b"-")


def test_keys_of_every_kind_come_back_as_they_are(store: FakeS3) -> None:
    names = [
        "a%20b",
        "a+b",
        "[a]",
        "a#b",
        "a?b",
        "a*b",
        "a&b;c=d",
        " a ",
        "a//b",
        "\u00e9",
        "e\u0301",
        "\U0001f319",
        "a\\b",
    ]
    storage = proven(_storage(), "s3://night/in", [])
    for name in names:
        storage.write(f"s3://night/in/{name}.jpg", name.encode())
    assert sorted(store.buckets["night"]) == sorted(f"in/{name}.jpg" for name in names)
    for file in storage.list_files("s3://night/in"):
        assert f"{storage.read(file.url).decode()}.jpg" == file.relative
        assert [each.relative for each in storage.list_files(file.url)] == [file.relative.rpartition("/")[2]]
