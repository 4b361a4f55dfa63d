"""The evaluation job: right numbers for every photo, several networks side by side, and nothing left out in silence."""

import csv
import logging
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image

from jobs.evaluate import job as evaluate
from jobs.evaluate.job import EvaluateConfig, named_networks, run
from jobs.evaluate.scoring import Evaluation, Judgement, find_pairs
from model import DEFAULT_WEIGHTS, Enhancer, Look, load
from model.quality.metrics import against_reference, statistics
from pipeline.errors import ClusterError, NotFound, StorageError, UsageError
from pipeline.planning.inputs import Selection
from pipeline.storage.storage import Storage
from tests.support.media import jpeg, night, saved
from tests.support.outputs import files_below


def light(seed: int) -> np.ndarray:
    return (night(120, 100, seed=seed).astype(float) ** 0.6 * 9).clip(0, 255).astype(np.uint8)


def no_ray(workers: int | None) -> None:
    raise UsageError("Ray starts")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Photos and references: `a` and `sub/b` are pairs."""
    dark, bright = tmp_path / "dark", tmp_path / "bright"
    for folder in (dark, bright):
        (folder / "sub").mkdir(parents=True)
    for name, seed in (("a", 1), ("sub/b", 2)):
        (dark / f"{name}.png").write_bytes(saved(night(120, 100, seed=seed), "PNG"))
        (bright / f"{name}.bmp").write_bytes(saved(light(seed), "BMP"))
    return dark, bright


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.usefixtures("ray_session")
def test_networks_side_by_side(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark, bright = folders
    out = tmp_path / "out"
    assert run(EvaluateConfig(src=str(dark), out=str(out), ref=str(bright))) == 0
    scores = rows(out / "nightlift_scores.csv")
    assert [(row["photo"], row["version"]) for row in scores] == [
        (photo, version) for photo in ("a.png", "sub/b.png") for version in ("input", "dce", "plus", "reference")
    ]
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    [enhanced] = Enhancer(checkpoint, estimate_size=checkpoint.estimate_size, precision="fp32").enhance(
        [night(120, 100, seed=1)]
    )
    expected = {**against_reference(enhanced, light(1)), **statistics(enhanced)}
    assert {name: float(scores[1][name]) for name in expected} == pytest.approx(expected)
    assert scores[3]["psnr"] == ""
    summary = {row["version"]: row for row in rows(out / "nightlift_summary.csv")}
    both = [float(row["psnr"]) for row in scores if row["version"] == "dce"]
    assert float(summary["dce"]["psnr"]) == pytest.approx(sum(both) / 2)
    assert summary["dce"]["photos"] == "2"
    with Image.open(out / "nightlift_sheet.jpg") as sheet:
        assert sheet.width > 4 * 200
    printed = capsys.readouterr().out
    assert printed.startswith("mean of 2 photos")
    assert f"{sum(both) / 2:.2f}" in printed
    assert str(out / "nightlift_sheet.jpg") in printed


@pytest.mark.usefixtures("ray_session")
def test_bad_files_are_named_and_left_out(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark, bright = folders
    (dark / "broken.jpg").write_bytes(jpeg(night())[:200])
    (dark / "lonely.png").write_bytes(saved(night(), "PNG"))
    (dark / "other_size.png").write_bytes(saved(night(40, 30), "PNG"))
    (bright / "broken.jpg").write_bytes(jpeg(night()))
    (bright / "other_size.png").write_bytes(saved(night(41, 30), "PNG"))
    (dark / "notes.txt").write_text("no photo")
    out = tmp_path / "out"
    assert run(EvaluateConfig(src=str(dark), out=str(out), ref=str(bright), weights=("none",))) == 1
    problems = {row["photo"]: row["problem"] for row in rows(out / "nightlift_scores.csv") if row["problem"]}
    assert problems.keys() == {"broken.jpg", "lonely.png", "other_size.png"}
    assert "copy the file again" in problems["broken.jpg"]
    assert "no reference" in problems["lonely.png"]
    assert "40x30 and 41x30" in problems["other_size.png"]
    printed = capsys.readouterr().out
    assert "3 photos left out" in printed
    assert "mean of 2 photos" in printed


@pytest.mark.usefixtures("ray_session")
def test_without_references_in_a_bucket(bucket: str) -> None:
    fs, _ = Storage.from_environment([bucket], {}).filesystem(bucket)
    fs.pipe_file(f"{bucket}/in/a.jpg", jpeg(night()))
    assert run(EvaluateConfig(src=f"{bucket}/in", out=f"{bucket}/in/scores", weights=("plus",))) == 0
    assert run(EvaluateConfig(src=f"{bucket}/in", out=f"{bucket}/in/scores", weights=("plus",))) == 0  # not the sheet
    scores = fs.cat_file(f"{bucket}/in/scores/nightlift_scores.csv").decode().splitlines()
    assert scores[0].startswith("photo,version,niqe,brisque,luma")
    assert [line.split(",")[:3] for line in scores[1:]] == [["a.jpg", "input", ""], ["a.jpg", "plus", ""]]
    assert Image.open(BytesIO(fs.cat_file(f"{bucket}/in/scores/nightlift_sheet.jpg"))).format == "JPEG"


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ClusterError("gone"), RuntimeError("unforeseen")])
def test_broken_off_it_writes_the_scores_there_are(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    judged = evaluate._judged

    def one_then_over(*arguments: Any) -> Iterator[Judgement]:
        yield next(judged(*arguments))
        raise interruption

    monkeypatch.setattr(evaluate, "_judged", one_then_over)
    with pytest.raises(type(interruption)) as raised:
        run(EvaluateConfig(src=str(folders[0]), out=str(tmp_path / "out"), weights=("none",)))
    assert raised.value is interruption
    [score] = rows(tmp_path / "out" / "nightlift_scores.csv")
    assert score["version"] == "input"
    assert [row["photos"] for row in rows(tmp_path / "out" / "nightlift_summary.csv")] == ["1"]


@pytest.mark.usefixtures("ray_session")
def test_a_cluster_that_is_gone_is_told(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, calls = ray.wait, []

    def once(tasks: list[Any]) -> Any:
        calls.append(tasks)
        if len(calls) > 1:
            raise ray.exceptions.RaySystemError("the raylet died")
        return wait(tasks)

    monkeypatch.setattr(ray, "wait", once)
    with pytest.raises(ClusterError, match="the raylet died"):
        run(EvaluateConfig(src=str(folders[0]), out=str(tmp_path / "out"), weights=("none",), workers=1))
    assert [row["photo"] for row in rows(tmp_path / "out" / "nightlift_scores.csv")] == ["a.png"]


@pytest.mark.usefixtures("ray_session")
def test_a_sheet_that_fails_costs_no_scores(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise OSError("no font")

    monkeypatch.setattr(evaluate, "contact_sheet", fails)
    with pytest.raises(OSError, match="no font"):
        run(EvaluateConfig(src=str(folders[0]), out=str(tmp_path / "out"), weights=("none",)))
    assert [row["photo"] for row in rows(tmp_path / "out" / "nightlift_scores.csv")] == ["a.png", "sub/b.png"]
    assert (tmp_path / "out" / "nightlift_summary.csv").exists()
    assert capsys.readouterr().out.startswith("mean of 2 photos")


def test_out_is_proven_writable_before_ray_starts(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "ray_cluster", no_ray)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        run(EvaluateConfig(src=str(folders[0]), out=str(tmp_path / "file" / "out")))
    config, scores = EvaluateConfig(src=str(folders[0]), out=str(tmp_path / "out")), tmp_path / "out" / evaluate.SCORES
    with pytest.raises(UsageError, match="Ray starts"):
        run(config)
    assert files_below(tmp_path / "out") == []
    scores.parent.mkdir(exist_ok=True)
    scores.write_text("of an earlier run")
    with pytest.raises(UsageError, match="Ray starts"):
        run(config)
    assert scores.read_text() == "of an earlier run"


def test_references_without_a_photo_are_told(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dark, bright = folders
    for name in ("a.png", "c.png", "sub/d.jpg", "scores/nightlift_sheet.jpg", "notes.txt"):
        (bright / name).parent.mkdir(exist_ok=True)
        (bright / name).write_bytes(b"")
    out = str(bright / "scores")
    some = Selection(include=("a.*",))
    assert find_pairs(Storage(), str(dark), str(bright), some, outside=out).unused == ["c.png", "sub/d.jpg"]
    around = find_pairs(Storage(), str(dark), str(bright), some, outside=str(bright.parent / "bright"))
    assert "c.png" in around.unused  # references may lie below OUT
    one = find_pairs(Storage(), str(dark / "a.png"), str(bright / "c.png"), Selection())
    assert (len(one.pairs), one.unused) == (1, [])
    monkeypatch.setattr(evaluate, "ray_cluster", no_ray)
    with caplog.at_level(logging.INFO, "nightlift"), pytest.raises(UsageError, match="Ray starts"):
        run(EvaluateConfig(src=str(dark), out=out, ref=str(bright), weights=("none",)))
    assert "left out 2 references without a photo, such as c.png, sub/d.jpg" in caplog.text


def test_out_may_be_the_folder_of_a_glob_or_the_one_around_the_source(tmp_path: Path) -> None:
    folder, out = tmp_path / "in [2024]", tmp_path / "out"
    for name in ("a.jpg", "nightlift_sheet.jpg"):  # the second one of an earlier evaluation
        for place in (folder, out):
            place.mkdir(exist_ok=True)
            Image.fromarray(night()).save(place / name)
    found = find_pairs(Storage(), f"{out}/*.jpg", None, Selection(), outside=str(out))
    assert [pair.photo for pair in found.pairs] == [str(out / "a.jpg")]
    around = EvaluateConfig(src=str(folder), out=str(tmp_path))
    assert len(find_pairs(Storage(), around.src, None, Selection(), outside=around.out).pairs) == 2
    with pytest.raises(UsageError, match="OUT must differ"):
        EvaluateConfig(src=str(folder), out=str(folder))


def test_pairing(folders: tuple[Path, Path]) -> None:
    dark, bright = folders
    (bright / "a.png").write_bytes(b"")  # the same name goes before another extension
    pairs = find_pairs(Storage(), str(dark), str(bright), Selection()).pairs
    assert [pair.reference for pair in pairs] == [str(bright / "a.png"), str(bright / "sub" / "b.bmp")]
    (bright / "sub" / "b.jpg").write_bytes(b"")
    assert [found.name for found in find_pairs(Storage(), str(dark), str(bright), Selection()).problems] == [
        "sub/b.png"
    ]
    [one] = find_pairs(Storage(), str(dark / "a.png"), str(bright / "sub" / "b.bmp"), Selection()).pairs
    assert one.reference == str(bright / "sub" / "b.bmp")
    with pytest.raises(NotFound):
        find_pairs(Storage(), str(dark), str(bright / "nowhere"), Selection())


def test_look_and_estimate_size_reach_the_networks(folders: tuple[Path, Path]) -> None:
    [pair] = find_pairs(Storage(), str(folders[0]), None, Selection(include=("a.png",))).pairs
    networks = {"dce": load(DEFAULT_WEIGHTS["dce"])}
    found = [
        Evaluation(storage=Storage(), networks=networks, look=look, estimate_size=size)(pair).scores["dce"]["luma"]
        for look, size in ((Look(), "auto"), (Look(iterations=4), "auto"), (Look(), 32))
    ]
    assert len(set(found)) == 3
    assert found[1] < found[0]


def test_names_of_networks(tmp_path: Path) -> None:
    (tmp_path / "plus.safetensors").write_bytes(DEFAULT_WEIGHTS["plus"].read_bytes())
    (tmp_path / "mine.safetensors").write_bytes(DEFAULT_WEIGHTS["plus"].read_bytes())
    paths = [str(tmp_path / "plus.safetensors"), str(tmp_path / "mine.safetensors")]
    assert list(named_networks(["dce", *paths])) == ["dce", "plus", "mine"]
    assert list(named_networks(["plus", paths[0]])) == [str(DEFAULT_WEIGHTS["plus"]), paths[0]]
    assert named_networks(["none"]) == {}
    assert list(named_networks(["none", "dce"])) == ["dce"]
    with pytest.raises(UsageError, match='unknown --weights "dec"'):
        named_networks(["dec"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"limit": 0}, "--limit is 0"),
        ({"sheet_rows": 1000}, "--sheet-rows"),
        ({"estimate_size": 3}, "--estimate-size"),
        ({"out": "photos/"}, "OUT must differ from SRC"),
        ({"ref": "scores"}, "OUT must differ from SRC and --ref"),
        ({"out": "https://example.org/x"}, "web server"),
    ],
)
def test_wrong_usage_is_told_at_once(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvaluateConfig(**{"src": "photos", "out": "scores", **flags})


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UsageError, match=r"nightlift\[evaluate\]"):
        run(EvaluateConfig(src=str(tmp_path), out=str(tmp_path / "out"), ref=str(tmp_path)))
    with pytest.raises(UsageError, match="no photos"):  # not needed without references
        run(EvaluateConfig(src=str(tmp_path), out=str(tmp_path / "out")))
