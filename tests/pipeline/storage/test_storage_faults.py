"""Storage that misbehaves: a real S3 server behind a proxy that fails on purpose."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import AccessDenied, Expired, NotFound, StorageError, Unreachable
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join
from tests.support.faulty_proxy import PASSING, Fault, FaultyProxy, faulty_proxy
from tests.support.s3_server import KEY, SECRET, S3Server

CONTENT = os.urandom(300_000)
TOKEN = "a-session-token-that-nobody-may-see"
HURRIED = {"config_kwargs": {"read_timeout": 1}, "default_block_size": 100_000}
WAITING_LITTLE = {**HURRIED, "config_kwargs": {"read_timeout": 0.4}}


@pytest.fixture(scope="module")
def _proxy(_server: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy: FaultyProxy, bucket: str, monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    """In front of the server, for all that the test does. What repeats a request waits for moments only."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _proxy.url)
    _proxy.behave()
    return _proxy


@pytest.fixture
def storage(proxy: FaultyProxy, bucket: str) -> Storage:
    return Storage.from_environment([bucket], HURRIED)


def _read_in_parts(storage: Storage, url: str) -> bytes:
    with storage.open(url, version=storage.version(url)) as file:
        end = file.seek(200_000) and file.read()
        file.seek(0)
        return file.read(200_000) + end


def _operations(storage: Storage, bucket: str) -> dict[str, Callable[[], bool]]:
    """Everything that a job asks of storage, and whether it came out right."""
    photo = join(bucket, "in/photo.jpg")

    def written() -> bool:
        storage.write(join(bucket, "out/photo.jpg"), CONTENT)
        return storage.exists(join(bucket, "out/photo.jpg"))

    def put() -> bool:
        with storage.writing(join(bucket, "out/film.mp4")) as path:
            Path(path).write_bytes(CONTENT)
        return storage.exists(join(bucket, "out/film.mp4"))

    def removed() -> bool:
        storage.remove([join(bucket, "out/photo.jpg"), join(bucket, "out/never-there.jpg")])
        return not storage.exists(join(bucket, "out/photo.jpg"))

    def removed_below() -> bool:
        storage.remove_below(join(bucket, "out"))
        return not storage.is_folder(join(bucket, "out"))

    return {
        "list a folder": lambda: [file.relative for file in storage.list_files(join(bucket, "in"))] == ["photo.jpg"],
        "list a glob": lambda: (
            [file.relative for file in storage.list_files(join(bucket, "*/*.jpg"))] == ["in/photo.jpg"]
        ),
        "read": lambda: storage.read(photo) == CONTENT,
        "read in parts": lambda: _read_in_parts(storage, photo) == CONTENT,
        "write": written,
        "put a file": put,
        "exists": lambda: storage.exists(photo) and not storage.exists(join(bucket, "in/none.jpg")),
        "is a folder": lambda: storage.is_folder(join(bucket, "in")) and not storage.is_folder(photo),
        "remove": removed,
        "remove below": removed_below,
    }


@pytest.mark.parametrize("fault", PASSING)
def test_every_operation_comes_through(proxy: FaultyProxy, bucket: str, fault: Fault) -> None:
    storage = Storage.from_environment([bucket], WAITING_LITTLE if fault == "too_slow" else HURRIED)
    storage.write(join(bucket, "in/photo.jpg"), CONTENT)
    for name, operation in _operations(storage, bucket).items():
        before = proxy.injected.total()
        proxy.plan(fault, times=1 if fault == "too_slow" else 2)
        assert operation(), name
        assert proxy.injected.total() > before, name
    assert storage.read(join(bucket, "in/photo.jpg")) == CONTENT


@pytest.mark.parametrize("fault", [*PASSING, "expired"])
def test_what_fails_for_good_is_one_clear_error_without_secrets(
    proxy: FaultyProxy, bucket: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.retries.LEAST_ATTEMPTS", 1)
    proxy.rates = {fault: 1.0}
    keys = {"key": KEY, "secret": SECRET, "token": TOKEN}
    once = {"read_timeout": 0.2, "retries": {"total_max_attempts": 1}}
    storage = Storage.from_environment([bucket], {**keys, "config_kwargs": once})
    for operation in _operations(storage, bucket).values():
        with pytest.raises(StorageError) as told:
            operation()
        assert bucket in str(told.value)
        assert isinstance(told.value, AccessDenied if fault == "expired" else Unreachable)
        for secret in (SECRET, TOKEN, KEY, "Signature", "AWS4", "X-Amz"):
            assert secret not in str(told.value)


def test_a_server_that_is_down_is_asked_often_and_not_for_ever_and_one_line_says_so(
    proxy: FaultyProxy, storage: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.rates = {"slow_down": 1.0}
    with caplog.at_level("INFO", "nightlift"), pytest.raises(Unreachable, match="check the endpoint"):
        storage.list_files(bucket)
    assert [line.partition(bucket)[0] for line in caplog.messages] == ["trying again for half a minute or so: "]
    assert len(proxy.requests) == 3 * 4


def test_what_is_no_fault_of_the_server_is_neither_repeated_nor_delayed(
    proxy: FaultyProxy, storage: Storage, bucket: str
) -> None:
    stranger = Storage.from_environment([bucket], {"key": KEY, "secret": "wrong", **HURRIED})
    for kind, operation in (
        (NotFound, lambda: storage.read(join(bucket, "none.jpg"))),
        (NotFound, lambda: storage.list_files("s3://no-such-bucket-anywhere")),
        (StorageError, lambda: storage.write("s3://no-such-bucket-anywhere/a", b"-")),
        (AccessDenied, lambda: stranger.read(join(bucket, "none.jpg"))),
        (AccessDenied, lambda: stranger.write(join(bucket, "a"), b"-")),
    ):
        proxy.requests.clear()
        start = time.monotonic()
        with pytest.raises(kind):
            operation()
        assert time.monotonic() - start < 3
        assert len(proxy.requests) <= 2, proxy.requests
        assert len(set(proxy.requests)) == len(proxy.requests)


def test_expired_credentials_say_so_at_once(proxy: FaultyProxy, storage: Storage, bucket: str) -> None:
    proxy.rates = {"expired": 1.0}
    url = join(bucket, "a")
    for operation in (lambda: storage.read(url), lambda: storage.write(url, b"-"), lambda: _opened(storage, url)):
        proxy.requests.clear()
        with pytest.raises(Expired, match=r"renew them") as told:
            operation()
        assert told.value.code == "expired"
        assert len(proxy.requests) <= 3  # the head of an object, and of its bucket, is refused without a reason


def _opened(storage: Storage, url: str) -> None:
    with storage.open(url):
        pass


def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(
    proxy: FaultyProxy, storage: Storage, bucket: str
) -> None:
    for name in ("a/1.jpg", "b/2.jpg"):
        storage.write(join(bucket, name), b"-")
    proxy.plan("slow_down", part="prefix=b/", times=1000)
    with pytest.raises(Unreachable):
        storage.list_files(join(bucket, "*/*.jpg"))


def test_a_film_that_is_sent_in_parts_arrives_whole(
    proxy: FaultyProxy, storage: Storage, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda *_, **__: 5 << 20)
    film = tmp_path / "film"
    film.write_bytes(os.urandom(12 << 20))
    proxy.plan("slow_down", "POST", "film.mp4?uploads")
    proxy.plan("reset", "PUT", "partNumber=1")
    proxy.plan("cut_upload", "PUT", "partNumber=2")
    proxy.plan("internal_error", "PUT", "partNumber=3")
    proxy.plan(
        "lost_answer", "POST", "film.mp4?uploadId"
    )  # the client asks again, and there is no such upload any more
    with storage.writing(join(bucket, "film.mp4")) as path:
        shutil.copyfile(film, path)
    assert proxy.injected.total() == 5
    assert storage.read(join(bucket, "film.mp4")) == film.read_bytes()
