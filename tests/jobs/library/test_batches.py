"""`nightlift.EnhanceImages`: columns of images in batches of any kind, and on Ray Data from every source of images."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import nightlift
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from nightlift.steps import ImageSteps, kept_steps
from PIL import Image
from ray.data.checkpoint import CheckpointConfig

from pipeline.archives.advice import advice
from pipeline.storage.storage import Storage
from tests.support import media
from tests.support.media import Samples

DARK = [media.night(seed=seed) for seed in range(4)]
CODED = [
    media.jpeg(DARK[0]),
    media.saved(DARK[1], "PNG"),
    media.jpeg(DARK[2], quality=40),
    media.png_16(media.night_16()),
]
ADDED = ["nightlift_error", "nightlift_luma_before", "nightlift_luma_after"]


@pytest.fixture(scope="module")
def bright() -> list[Samples]:
    return [nightlift.enhance(image) for image in DARK]


@pytest.fixture(scope="module")
def coded() -> list[bytes]:
    return [nightlift.enhance(each) for each in CODED]


def _ragged(*images: Any) -> Samples:
    column = np.empty(len(images), object)
    for at, image in enumerate(images):
        column[at] = image
    return column


def test_arrays_of_one_shape_and_of_several(bright: list[Samples]) -> None:
    enhance = nightlift.EnhanceImages()
    whole = enhance({"image": np.stack(DARK), "name": np.array(list("abcd"))})
    assert list(whole) == ["image", "name", *ADDED]
    assert whole["image"].dtype == np.uint8
    assert np.array_equal(whole["image"], np.stack(bright))
    assert whole["nightlift_error"].to_pylist() == [None] * 4
    for name, images in (("nightlift_luma_before", DARK), ("nightlift_luma_after", bright)):
        assert whole[name].to_pylist() == pytest.approx([float((each @ media_luma()).mean()) / 255 for each in images])
    ragged = enhance({"image": _ragged(DARK[0], DARK[1][:30, :50], DARK[2][..., 0])})["image"]
    assert np.array_equal(ragged[0], bright[0])
    assert np.array_equal(ragged[1], nightlift.enhance(DARK[1][:30, :50]))
    assert np.array_equal(ragged[2], nightlift.enhance(DARK[2][..., 0]))


def media_luma() -> Samples:
    """Weights of BT.601."""
    return np.array([0.299, 0.587, 0.114])


def test_a_row_without_an_image_is_told() -> None:
    out = nightlift.EnhanceImages()({"image": _ragged(None, float("nan"))})
    assert out["nightlift_error"].to_pylist() == ["not_media: null: there is no image in this row"] * 2


def test_a_bad_row_keeps_its_value_and_says_why(bright: list[Samples], coded: list[bytes]) -> None:
    floats = DARK[0] / 255
    out = nightlift.EnhanceImages()({"image": _ragged(DARK[0], None, floats, DARK[1][:0], "a.jpg", DARK[3])})
    assert np.array_equal(out["image"][0], bright[0])
    assert np.array_equal(out["image"][5], bright[3])
    assert out["image"][1] is None
    assert out["image"][2] is floats
    errors = out["nightlift_error"].to_pylist()
    assert [error and error.split(": ")[0] for error in errors] == [None, *["not_media"] * 4, None]
    cut = CODED[0][:300]
    column = [CODED[0], b"", b"words", cut, CODED[1]]
    out = nightlift.EnhanceImages("jpg")({"jpg": _ragged(*column)})
    assert list(out["jpg"]) == [coded[0], b"", b"words", cut, coded[1]]
    errors = out["nightlift_error"].to_pylist()
    assert [error and error.split(": ")[0] for error in errors] == [None, "empty", "not_media", "damaged", None]
    assert [value is None for value in out["nightlift_luma_after"].to_pylist()] == [False, True, True, True, False]


def test_tables_and_frames_stay_what_they_are(bright: list[Samples], coded: list[bytes]) -> None:
    table = pa.table({"photo": pa.array([CODED[0], None, CODED[1]], pa.large_binary()), "at": [1, 2, 3]})
    made = nightlift.EnhanceImages("photo")(table)
    assert made.schema.field("photo").type == pa.large_binary()
    assert [made.schema.field(name).type for name in ADDED] == [pa.string(), pa.float64(), pa.float64()]
    assert made["photo"].to_pylist() == [coded[0], None, coded[1]]
    again = nightlift.EnhanceImages("photo", strength=0)(made)  # the columns are there already
    assert again.column_names == made.column_names
    structs = pa.array([{"bytes": CODED[0], "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}])  # of Hugging Face
    made = nightlift.EnhanceImages("image")(pa.table({"image": structs}))
    assert made["image"].to_pylist() == [{"bytes": coded[0], "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}]
    assert made.schema.field("image").type == structs.type
    frame = pd.DataFrame({"image": DARK[:2], "at": [5, 6]}, index=[7, 9])
    made = nightlift.EnhanceImages()(frame)
    assert (list(made.columns), list(made.index)) == (["image", "at", *ADDED], [7, 9])
    assert np.array_equal(np.stack(made["image"]), np.stack(bright[:2]))
    for empty in ({"image": np.stack(DARK)[:0]}, table[:0], frame[:0]):
        column = "image" if not isinstance(empty, pa.Table) else "photo"
        assert len(nightlift.EnhanceImages(column)(empty)[column]) == 0


def test_a_column_that_holds_no_images_ends_the_job() -> None:
    with pytest.raises(ValueError, match="no column image; choose from img, label"):
        nightlift.EnhanceImages()({"img": np.stack(DARK), "label": np.arange(4)})
    with pytest.raises(TypeError, match=r"array of float32; give uint8"):
        nightlift.EnhanceImages()({"image": np.stack(DARK).astype(np.float32)})
    with pytest.raises(TypeError, match="no option column_name"):
        nightlift.EnhanceImages(column_name="image")  # type: ignore[call-arg]


def test_another_process_loads_its_own_network(bright: list[Samples]) -> None:
    sent = pickle.dumps(nightlift.EnhanceImages("photo", strength=0.5))
    assert len(sent) < 500
    assert np.array_equal(pickle.loads(sent)({"photo": DARK[:1]})["photo"][0], nightlift.enhance(DARK[0], strength=0.5))


def test_where_batches_are_shared_images_of_one_shape_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, in groups that bound how many photos are decoded at a time."""
    monkeypatch.setattr(ImageSteps, "shares_batches", True)
    enhance, batches = nightlift.EnhanceImages("photo", strength=0.9), []
    enhancer = kept_steps({"strength": 0.9}).steps.enhance.enhancer
    monkeypatch.setattr(enhancer, "on_batch", lambda images, seconds: batches.append(images))
    photos = _ragged(DARK[0], DARK[1][:30], b"broken", DARK[2], CODED[1], DARK[3][:30])
    made = enhance({"photo": photos})
    assert sorted(batches) == [2, 3]
    assert [error is None for error in made["nightlift_error"].to_pylist()] == [True, True, False, True, True, True]
    for at in (0, 1, 3, 5):
        alone = nightlift.enhance(photos[at], strength=0.9)
        assert np.abs(made["photo"][at].astype(int) - alone).max() <= 1
    batches.clear()
    monkeypatch.setattr("nightlift.batches.TOGETHER_PX", DARK[0][..., 0].size)
    enhance({"photo": np.stack(DARK)})
    assert batches == [1] * 4


@pytest.mark.usefixtures("ray_session")
def test_images_read_by_ray(tmp_path: Path, bright: list[Samples]) -> None:
    (tmp_path / "in").mkdir()
    for at, image in enumerate([*DARK, DARK[0][:30]]):
        Image.fromarray(image).save(tmp_path / f"in/{at}.png")
    images = ray.data.read_images(str(tmp_path / "in"), include_paths=True, override_num_blocks=1)
    images.map_batches(nightlift.EnhanceImages, concurrency=1).write_parquet(str(tmp_path / "out"))
    rows = ray.data.read_parquet(str(tmp_path / "out")).take_all()
    made = {Path(row["path"]).stem: row["image"] for row in rows}
    assert [row["nightlift_error"] for row in rows] == [None] * 5
    for at, image in enumerate([*bright, nightlift.enhance(DARK[0][:30])]):
        assert np.array_equal(made[str(at)], image)


@pytest.mark.usefixtures("ray_session")
def test_photos_of_webdataset(tmp_path: Path, coded: list[bytes]) -> None:
    """Also by the line that jobs print of a folder with tars, which lie among other files."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dark.jpg").write_bytes(CODED[0])
    with tarfile.open(tmp_path / "in/none.tar", "w"):
        pass
    with tarfile.open(tmp_path / "in/some.tar", "w") as tar:
        for at, content in enumerate([*CODED, b"broken"]):
            for name, data in ((f"{at}.jpg", content), (f"{at}.cls", b"%d" % at)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    lines = advice(Storage(), Storage().walk(str(tmp_path / "in")), str(tmp_path / "out"))
    exec(next(line for line in lines if "write_webdataset" in line).partition("in Python: ")[2], {})
    made = dict[str, bytes]()
    for path in (tmp_path / "out").iterdir():
        with tarfile.open(path) as tar:
            made |= {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    assert made.pop("4.nightlift_error").startswith(b"not_media: ")
    assert made == {f"{at}.jpg": content for at, content in enumerate([*coded, b"broken"])} | {
        f"{at}.cls": b"%d" % at for at in range(5)
    }


@pytest.mark.usefixtures("ray_session")
def test_parquet_goes_on_at_the_checkpoint_of_ray(
    tmp_path: Path, coded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for at, content in enumerate(CODED):
        folder = tmp_path / ("before" if at < 2 else "after")
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.table({"id": [at], "bytes": [content]}), folder / f"{at}.parquet")
    tried, checkpoint = tmp_path / "tried", str(tmp_path / "checkpoint")
    settings = CheckpointConfig(id_column="id", checkpoint_path=checkpoint, delete_checkpoint_on_success=False)
    monkeypatch.setattr(ray.data.DataContext.get_current(), "checkpoint_config", settings)

    def noted(batch: dict[str, Samples]) -> dict[str, Samples]:
        with tried.open("a") as file:
            file.write("".join(f"{at}\n" for at in batch["id"]))
        return batch

    def run(*folders: str) -> set[str]:
        tried.write_text("")
        photos = ray.data.read_parquet([str(tmp_path / folder) for folder in folders])
        enhanced = photos.map_batches(noted).map_batches(nightlift.EnhanceImages("bytes"))
        enhanced.write_parquet(str(tmp_path / "out"))
        return set(tried.read_text().split())

    assert run("before") == {"0", "1"}
    assert run("before", "after") == {"2", "3"}
    rows = pq.read_table(tmp_path / "out").sort_by("id").to_pylist()
    assert [row["bytes"] for row in rows] == coded
    assert [row["nightlift_error"] for row in rows] == [None] * 4
