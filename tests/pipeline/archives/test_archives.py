"""Archives among the inputs: what is in them is told from their headers, damage by name, and what to do with them."""

import io
import os
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from jobs.cli import main
from pipeline.archives import contents, members
from pipeline.archives.advice import advice
from pipeline.archives.contents import contents_of
from pipeline.archives.recognition import archive_of, whole
from pipeline.errors import Damaged
from pipeline.storage.storage import Storage
from pipeline.storage.urls import join
from tests.support.outputs import tree


def _photo(format_name: str = "png") -> bytes:
    pixels = np.random.default_rng(3).integers(0, 40, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), format_name)
    return file.getvalue()


def _tar(path: Path, names: Sequence[str], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            content = _photo() if name.endswith("png") else b"{}"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


SAMPLES = [f"a/{index:03}.{kind}" for index in range(6) for kind in ("png", "json")]


def _told(path: Path, destination: str = "bright") -> list[str]:
    return list(advice(Storage(), Storage().walk(str(path)), destination))


@pytest.mark.parametrize(
    ("name", "noun"),
    [
        ("a.tar", "tar"),
        ("A.TAR", "tar"),
        ("a.tar.gz", "compressed tar"),
        ("s3://b/a.tgz", "compressed tar"),
        ("https://x/a.zip?key=secret", "zip"),
        ("train-0.parquet", "Parquet file"),
        ("/d/x.lance/data/0.lance", "Lance dataset"),
        ("/d/x.lance/_versions/1.manifest", "Lance dataset"),
        ("t.tfrecord-00001-of-00009", "TFRecord file"),
        ("a.h5", "HDF5 file"),
        ("a.jpg", ""),
        (".tar", ""),
        ("x.lance/a.jpg", ""),
        ("notes.txt", ""),
    ],
)
def test_archives_are_known_by_their_names(name: str, noun: str) -> None:
    kind = archive_of(name)
    assert (kind.noun if kind else "") == noun
    assert "secret" not in whole(name)


def test_a_tar_of_samples_is_told_with_the_way_by_ray_data(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", SAMPLES)
    first, by_ray, by_hand = _told(path, "out.tar")
    size = len(_photo())
    assert first == f"{path}: 6 images (.png 6 of {size / 1e3:.1f} kB, .json 6 of 2 bytes)"
    assert f"ray.data.read_webdataset('{path}', decoder=None, file_extensions=['tar']).map_batches(" in by_ray
    assert "fn_constructor_kwargs={'column': 'png'}" in by_ray
    assert by_ray.endswith(".write_webdataset('out', encoder=None)")
    compile(by_ray.partition("Python: ")[2], "advice", "exec")
    assert by_hand == "or unpack it (tar -xf FILE), and give the folder with its files as SRC"


@pytest.mark.parametrize(
    "names",
    [
        [f"{index}.png" for index in range(3)] + [f"{index}.json" for index in range(3)],  # samples are torn apart
        [f"IMG.{index}.png" for index in range(members.MOST_SUFFIXES + 1)],
    ],
)
def test_a_tar_that_ray_data_cannot_take_apart_is_to_be_unpacked(tmp_path: Path, names: list[str]) -> None:
    told = _told(_tar(tmp_path / "a.tar", names))
    assert [line.partition(" (")[0] for line in told[1:]] == ["unpack it"]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_looked_into_as_far_as_that_is_cheap(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _tar(tmp_path / f"a.tar.{mode[2:]}", SAMPLES, mode)
    assert _told(path)[0].startswith(f"{path}: 6 images (")
    monkeypatch.setattr(members, "MOST_UNPACKED_BYTES", 5000)
    assert _told(path)[0].startswith(f"{path}: at least 2 images (")


def test_of_a_long_tar_the_number_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MEMBERS", 12)
    path = _tar(tmp_path / "a.tar", [f"{index:03}.png" for index in range(600)])
    count = int(_told(path)[0].partition("about ")[2].split()[0])
    assert abs(count - 600) < 20


def test_of_a_tar_in_a_bucket_only_a_part_is_fetched(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "REMOTE_MEMBERS", 2)
    path = _tar(tmp_path / "a.tar", [f"{index:03}.png" for index in range(600)])
    Storage().write(url := join(bucket, "a.tar"), path.read_bytes())
    first, by_ray, by_hand = advice(Storage(), Storage().walk(url), "out")
    assert first.startswith(f"{url}: about 6")
    assert f"read_webdataset('{url}'" in by_ray
    assert by_hand.startswith("or copy it to a disk, unpack it")


def test_a_zip_is_told_by_its_directory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x/a.jpg", b"12")
        archive.writestr("x/._a.jpg", b"12")
        archive.writestr("b.mp4", b"1234")
    assert _told(tmp_path / "a.zip") == [
        f"{tmp_path}/a.zip: 1 image and 1 video (.jpg 1 of 2 bytes, .mp4 1 of 4 bytes)",
        "unpack it (unzip FILE), and give the folder with its files as SRC",
    ]


def test_a_table_is_told_by_its_footer(tmp_path: Path) -> None:
    photo = _photo()
    parquet.write_table(pa.table({"key": ["a", "b"], "bytes": [photo, photo]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"image": [{"bytes": photo, "path": "x"}], "label": [1]}), tmp_path / "b.parquet")
    parquet.write_table(pa.table({"label": [1]}), tmp_path / "c.parquet")
    parquet.write_table(pa.table({"image": [{"data": photo, "path": "x"}]}), tmp_path / "d.parquet")
    first, by_ray = _told(tmp_path / "a.parquet")
    assert first.startswith(f"{tmp_path}/a.parquet: 2 rows (key string, bytes bytes, ")
    assert f"ray.data.read_parquet('{tmp_path}/a.parquet', file_extensions=['parquet', 'parq']).map_" in by_ray
    assert "{'column': 'bytes'}" in by_ray
    first, by_ray = _told(tmp_path / "b.parquet")
    assert "image struct with bytes, " in first
    assert "'parq']).map_batches(nightlift.EnhanceImages, fn_constructor_kwargs={'column': 'image'}" in by_ray
    assert ".map(lambda row: {**row, 'image': row['image']['data']}).map_batches(" in _told(tmp_path / "d.parquet")[1]
    assert _told(tmp_path / "c.parquet") == [f"{tmp_path}/c.parquet: 1 row (label int64)"]


def _damage(path: Path) -> None:
    assert 1024 < len(_photo()) <= 1536  # so that a member takes 2048 bytes
    whole_file = path.read_bytes()
    for name, content in {
        "cut.tar": whole_file[:5000],
        "header.tar": whole_file[:2048] + b"x" * 512 + whole_file[2560:],
        "text.tar": b"hello",
        "empty.tar": b"",
        "half.tar.gz": b"\x1f\x8b\x08" + b"\0" * 30,
        "text.zip": b"hello",
        "long.zip": b"PK\x03\x04" + b"\0" * 1000,
        "short.parquet": b"PAR1",
        "long.parquet": b"PAR1" + b"x" * 1000 + b"PAR1",
    }.items():
        (path.parent / name).write_bytes(content)
    path.unlink()


def test_damage_is_told_by_name(tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", [f"{index}.png" for index in range(9)])
    _damage(path)
    for file in Storage().walk(str(tmp_path)):
        kind = archive_of(file.url)
        assert kind is not None
        with pytest.raises(Damaged, match=r"or damaged \([^\n]+\); copy the file again or leave it out"):
            contents_of(Storage(), file, kind)


def test_jobs_tell_of_archives_and_do_the_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    path = _tar(source / "a.tar", SAMPLES)
    for command in (["images", str(path), str(tmp_path / "out.tar")], ["videos", str(path), str(out)]):
        caplog.clear()
        assert main(command) == 2
        assert "read_webdataset" in caplog.text
        assert "unpack it (tar -xf FILE)" in capsys.readouterr().err
    caplog.clear()
    assert main(["images", str(source), str(out)]) == 2
    assert f"{path}: 6 images (" in caplog.text
    assert "archives and tables are not read in place" in capsys.readouterr().err
    for command in (["preview", str(source)], ["train", str(source), str(out)]):
        caplog.clear()
        assert main(command) == 2
        assert f"{path}: 6 images (" in caplog.text
    caplog.clear()
    (source / "b.png").write_bytes(_photo())
    assert main(["images", str(source), str(out), "--no-report"]) == 0
    assert f"{path}: 6 images (" in caplog.text
    assert "b.png" in tree(out)
    caplog.clear()
    assert main(["images", str(source), str(out), "--no-report", "--others", "copy"]) == 0
    assert "6 images" not in caplog.text


def test_folders_that_lie_in_others_are_not_read_twice(tmp_path: Path) -> None:
    for name in ("a/1.tar", "a/b/2.tar", "a2/3.tar"):
        _tar(tmp_path / name, SAMPLES)
    by_ray = next(line for line in _told(tmp_path) if "read_webdataset" in line)
    assert f"read_webdataset(['{tmp_path}/a', '{tmp_path}/a2'], " in by_ray


def test_an_archive_that_is_named_alone_is_no_photo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = _tar(tmp_path / "a.tar", SAMPLES)
    for command in (["preview", str(path)], ["train", str(path), str(tmp_path / "out")]):
        caplog.clear()
        assert main(command) == 2
        assert f"{path}: 6 images (" in caplog.text
        assert "not_media" not in capsys.readouterr().err


def test_what_is_no_file_is_not_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "a.tar")
    assert main(["images", str(tmp_path / "a.tar"), str(tmp_path / "out"), "--no-report"]) == 0
    assert "a.tar: a pipe, socket or device" in capsys.readouterr().out


def test_a_photo_that_is_named_like_an_archive_is_a_photo(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.tar").write_bytes(_photo())
    assert main(["images", str(tmp_path / "a.tar"), str(tmp_path / "out"), "--no-report"]) == 0
    assert "tar" not in "".join(line for line in caplog.messages if "damaged" in line)
