"""Where a training reads and writes: nothing that is not its own is lost, and nothing of its own is trained on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs.cli import main
from jobs.train.checks import check_same
from jobs.train.driver import Driver
from jobs.train.state import State, read_state
from jobs.train.training_run import TrainingImage
from model import DEFAULT_WEIGHTS, Checkpoint, load
from pipeline.errors import NotFound, StorageError, UsageError
from pipeline.planning.inputs import Selection
from pipeline.planning.manifest import Manifest
from pipeline.records import Outcome, Record
from pipeline.storage.storage import Storage
from pipeline.training.files import TrainingFiles, training_files
from pipeline.training.samples import ReadImages, Reading
from tests.support.media import landscape

FEW = ["--epochs", "1", "--batch", "2", "--size-px", "32", "--estimate-size", "32", "--precision", "fp32"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(landscape(seed=seed)).save(folder / f"{seed}.png")
    return folder


def test_results_that_are_not_ours_are_refused_and_fresh_clears_own_names_alone(
    ray_session: None,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    (out / "sheets").mkdir(parents=True)
    (out / "weights.safetensors").write_bytes(b"somebody's only copy")
    (out / "sheets" / "plan.pdf").write_bytes(b"not ours")
    for fresh in ([], ["--fresh"]):
        assert main(["train", str(photos), str(out), *FEW, *fresh]) == 2
        assert "no record of writing it" in capsys.readouterr().err
        assert (out / "weights.safetensors").read_bytes() == b"somebody's only copy"
    (out / "weights.safetensors").unlink()
    origin = DEFAULT_WEIGHTS["plus"]
    other = ["--init-from", str(origin), "--recipe", "published", "--learning-rate", "1e-6", "--limit", "2"]
    assert main(["train", str(photos), str(out), *FEW[:-1], "bf16", *other]) == 0
    assert (out / "sheets" / "plan.pdf").exists()
    trained = load(out / "weights.safetensors")
    assert sum(json.loads(trained.notes["photos"])[part] for part in ("count", "held_out")) == 2
    _check_nearly_same(trained, load(origin))
    inside = ["--init-from", str(out / "weights.safetensors")]
    assert main(["train", str(photos), str(out), *FEW, "--fresh", *inside]) == 2
    assert "which --fresh clears" in capsys.readouterr().err
    assert (out / "weights.safetensors").exists()
    monkeypatch.setattr(Driver, "_follow", lambda *_: None)  # the clearing is over when workers would begin
    assert main(["train", str(photos), str(out), *FEW, "--fresh", "--seed", "1"]) == 0
    assert read_state(Storage(), str(out)) is None
    assert {path.name for path in out.iterdir()} == {"_nightlift", "sheets", "tensorboard"}
    assert [path.name for path in (out / "sheets").iterdir()] == ["plan.pdf"]


def _check_nearly_same(found: Checkpoint, origin: Checkpoint) -> None:
    """One epoch at a low rate changes little; the network is the file's, not the recipe's."""
    assert found.network.architecture == origin.network.architecture
    expected = origin.network.state_dict()
    for name, tensor in found.network.state_dict().items():
        assert torch.allclose(tensor, expected[name], atol=1e-4)


def test_a_source_inside_the_destination_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), str(photos.parent), *FEW]) == 2
    assert "lies inside OUT" in capsys.readouterr().err


def test_own_results_are_no_training_photos_even_through_a_link(photos: Path, tmp_path: Path) -> None:
    run = photos / "run" / "sheets"
    run.mkdir(parents=True)
    Image.fromarray(landscape(seed=9)).save(run / "epoch-0001.png")
    link = tmp_path / "link"
    link.symlink_to(photos)
    files = training_files(Storage(), [str(link)], str(photos / "run"), Selection(), None)
    assert len(files.records) == 3


def _enhanced(folder: Path, *names: str) -> Path:
    """A folder into which the photo job has written `names`."""
    manifest = Manifest(Storage(), str(folder), "f", {})
    outputs = [folder / name for name in names]
    manifest.append(
        Outcome(source=f"/in/{out.name}", version="v", destination=str(out), outcome="done", bytes_out=9)
        for out in outputs
    )
    manifest.close()
    for out in outputs:
        Image.fromarray(landscape(seed=9)).save(out)
    return folder


def _found(
    *sources: Path | str, limit: int | None = None, selection: Selection = Selection()
) -> tuple[list[str], dict[str, int]]:
    files = training_files(Storage(), [str(source) for source in sources], "/nowhere", selection, limit)
    names = sorted(Path(record.source).name for record in files.records)
    return names, {Path(folder).name: count for folder, count in files.results.items()}


def test_enhanced_photos_below_a_source_are_left_out_unless_they_are_named(photos: Path) -> None:
    bright = _enhanced(photos / "bright", "enhanced.png")
    assert _found(photos) == (["0.png", "1.png", "2.png"], {"bright": 1})
    assert _found(bright) == (["enhanced.png"], {})
    assert _found(f"{bright}/*.png") == (["enhanced.png"], {})
    assert _found(photos, bright) == (["0.png", "1.png", "2.png", "enhanced.png"], {})
    with pytest.raises(NotFound, match=r"no files found; nightlift's own results in .*bright are left out"):
        training_files(Storage(), [str(photos)], "/nowhere", Selection(exclude=("[0-9].png",)), None)


def test_originals_beside_enhanced_photos_count(photos: Path) -> None:
    _enhanced(photos, "0-bright.png", "1-bright.png")
    assert _found(photos.parent) == (["0.png", "1.png", "2.png"], {"photos": 2})
    (photos / "sheets").mkdir()
    for name in ("losses.png", "sheets/epoch-0001.png", "sheets/holiday.png"):
        Image.fromarray(landscape()).save(photos / name)
    assert _found(photos.parent) == (["0.png", "1.png", "2.png", "holiday.png"], {"photos": 4})


def test_a_folder_of_enhanced_photos_that_was_moved_is_left_out_whole(photos: Path) -> None:
    _enhanced(photos / "bright", "a.png", "b.png").rename(photos / "moved")
    assert _found(photos) == (["0.png", "1.png", "2.png"], {"moved": 2})


def test_a_limit_takes_from_all_sources_in_turn(photos: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    for name in ("a.png", "b.png", "c.txt"):
        (more / name).write_bytes(b"x")
    assert _found(photos, more, limit=3)[0] == ["0.png", "1.png", "a.png"]
    assert _found(more, photos, limit=3)[0] == ["0.png", "a.png", "b.png"]
    assert _found(more, photos, photos, limit=4)[0] == ["0.png", "1.png", "a.png", "b.png"]


def test_links_are_followed_where_that_is_asked_for(photos: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "0.png").symlink_to(photos / "0.png")
    with pytest.raises(NotFound, match="--follow-links"):
        _found(links)
    assert _found(links, selection=Selection(follow_links=True)) == (["0.png"], {})


def test_other_files_than_it_began_with_are_told_by_name(tmp_path: Path) -> None:
    begun = [("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 3), ("c.jpg", 4)]
    state = State(
        settings={"seed": 0, "files": "4 (x)"},
        precision="",
        photos=[],
        history=[],
        network={},
        optimizer={},
        files=begun,
    )
    names = [("b.jpg", 20), *((f"{number}.jpg", 1) for number in range(5)), ("c.jpg", 3)]
    now = TrainingFiles(records=[], refused=[], names=names, roots=[], results={})
    check_same({"seed": 0, "files": "4 (x)"}, now, state, "/out")
    with pytest.raises(UsageError) as told:
        check_same({"seed": 0, "files": "7 (y)"}, now, state, "/out")
    for words in (
        "2 gone (a.jpg, c.jpg), 5 new (0.jpg, 1.jpg, 2.jpg and 2 more), 1 changed (b.jpg)",
        "--init-from /out/weights.safetensors",
    ):
        assert words in str(told.value)
    with pytest.raises(
        UsageError, match=r"--seed is 1, was 0; files: 2 gone .*--init-from a copy of s3://bucket/out/weights"
    ):
        check_same({"seed": 1, "files": "7 (y)"}, now, state, "s3://bucket/out")


def test_other_settings_are_named_by_their_flags_with_both_ways_out() -> None:
    before = {"variant": "dce", "epochs": 3, "estimate_size": 128, "init_from": None, "losses.flat": 1, "new": 1}
    state = State(settings=before, precision="fp32", photos=[], history=[{}, {}, {}], network={}, optimizer={})
    none = TrainingFiles(records=[], refused=[], names=[], roots=[], results={})
    now = {"variant": "plus", "epochs": 2, "estimate_size": None, "init_from": "abc", "losses.flat": 2, "new": 1}
    for settings, told in (
        (
            now,
            "--variant is plus, was dce; --epochs is 2, was 3; --estimate-size is full, was 128; "
            "--init-from is abc, was not given",
        ),
        ({**before, "new": 2}, "new is 2, was 1"),
    ):
        with pytest.raises(UsageError) as refused:
            check_same(settings, none, state, "/out")
        assert str(refused.value) == (
            f"/out: its training (3 epochs done) has other settings ({told}); to go on, give the same settings; "
            "to train on from its weights, choose another OUT and --init-from /out/weights.safetensors; "
            "to start over, use --fresh"
        )


def test_going_on_needs_the_images_that_were_there_and_no_others() -> None:
    driver = Driver.__new__(Driver)
    driver.root = "out"
    first = TrainingImage(digest="aa", frame=0, name="a.jpg", block=0, row=0)
    second = replace(first, digest="bb", name="b.jpg")
    assert driver._begun_with([first, second], ["aa:0"]) == [first]
    with pytest.raises(UsageError, match="1 of the 2 images"):
        driver._begun_with([first], ["aa:0", "bb:0"])


def test_a_signed_address_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = "https://host/clip.mp4?X-Amz-Signature=SECRET"

    def refuse(self: Storage, url: str) -> bytes:
        raise StorageError(f"{url}: 403")

    monkeypatch.setattr(Storage, "read", refuse)
    monkeypatch.setattr(Storage, "open", refuse)
    for name in ("clip.mp4", "photo.jpg"):
        record = Record(source=signed.replace("clip.mp4", name), version="", size_bytes=1, destination="")
        outcome = ReadImages(Storage(), 64, 1)(Reading.of(record)).outcome
        assert outcome.outcome == "failed"
        assert "SECRET" not in outcome.message
