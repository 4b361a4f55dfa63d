"""Training: it learns, what it writes loads, and the darkness it makes is darkness."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.cli import main
from jobs.train import Photo, TrainConfig, crop, load_photos, split, train
from model import Enhancer, load
from model.darkening import darken, tint, to_linear, to_srgb
from pipeline.errors import NotFound, UsageError


def landscape(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """A light sky over darker, textured ground."""
    rng = np.random.default_rng(seed)
    y = np.linspace(0, 1, height)[:, None, None]
    scene = np.where(y < rng.uniform(0.3, 0.6), 190 + 50 * y, 90 + 30 * rng.standard_normal((height, width, 3)))
    return Image.fromarray((scene * rng.uniform(0.8, 1.05, 3)).clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for seed in range(8):
        landscape(seed).save(folder / ("deeper" if seed % 2 else "") / f"{seed}.png")
    return folder


def settings(source: Path, destination: Path, **more: object) -> TrainConfig:
    few = {"epochs": 6, "batch": 4, "size_px": 32, "estimate_size": 64, "validation_share": 0.0}
    return TrainConfig(src=source, dst=destination, **few | more)  # type: ignore[arg-type]


@pytest.mark.parametrize("recipe", ["night", "published"])
@pytest.mark.parametrize("variant", ["dce", "plus"])
def test_training_writes_weights_that_load(photos: Path, tmp_path: Path, variant: str, recipe: str) -> None:
    path = tmp_path / "deep" / "weights.safetensors"
    trained = train(settings(photos, path, variant=variant, recipe=recipe, epochs=1))
    loaded = load(path)
    assert loaded.network.architecture == trained.network.architecture
    assert loaded.estimate_size == 64
    assert json.loads(loaded.notes["photos"])["count"] == 8
    assert json.loads(loaded.notes["training"])["variant"] == variant
    assert str(photos) not in str(dict(loaded.notes))
    dark = np.full((40, 30, 3), 20, np.uint8)
    assert Enhancer(loaded, estimate_size=64).enhance([dark])[0].shape == dark.shape


def test_training_reduces_the_loss(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(settings(photos, tmp_path / "weights.safetensors", epochs=12))
    losses = [float(line.split("training ")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 12
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:2])


def test_one_seed_gives_one_network(photos: Path, tmp_path: Path) -> None:
    first, second = (train(settings(photos, tmp_path / f"{run}.safetensors", epochs=1)) for run in (1, 2))
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name])


def test_held_out_photos_are_measured_and_not_trained_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, held_out = split(load_photos(photos, 64), 0.5)
    assert trained
    assert held_out
    assert {photo.sha256 for photo in trained}.isdisjoint(photo.sha256 for photo in held_out)
    checkpoint = train(settings(photos, tmp_path / "weights.safetensors", validation_share=0.5, epochs=1))
    assert "validation" in capsys.readouterr().out
    assert json.loads(checkpoint.notes["photos"])["count"] == len(trained)
    assert json.loads(checkpoint.notes["validation"])["contrast"] > 0


def test_an_unreadable_photo_is_named_and_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    assert len(load_photos(photos, 64)) == 8
    assert "broken.jpg" in capsys.readouterr().err


def test_command_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    few = ["--epochs", "1", "--size-px", "32", "--estimate-size", "64"]
    assert main(["train", str(photos), str(path), *few]) == 0
    assert path.is_file()
    (tmp_path / "empty").mkdir()
    assert main(["train", str(tmp_path / "empty"), str(path)]) == 2
    assert "no photo" in capsys.readouterr().err
    assert main(["train", str(photos), str(tmp_path / "weights.pth")]) == 2
    assert main(["train", str(photos), str(path), *few, "--validation-share", "0.9999999"]) == 2


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no photo"):
        load_photos(tmp_path, 64)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"size_px": 40}, {"validation_share": 1.0}, {"batch": 0}])
def test_settings_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        settings(tmp_path, tmp_path / "weights.safetensors", **wrong)


def test_crops_are_square_and_in_range_for_any_photo() -> None:
    generator = torch.Generator().manual_seed(4)
    for height, width in ((1, 1), (20, 300), (200, 150)):
        photo = Photo(torch.randint(0, 256, (3, height, width), dtype=torch.uint8), "00" * 32)
        cropped = crop(photo, 64, generator)
        assert cropped.shape == (3, 64, 64)
        assert cropped.min() >= 0
        assert cropped.max() <= 1


def test_darkening_takes_light_and_stores_8_bits() -> None:
    generator = torch.Generator().manual_seed(5)
    photo = torch.rand(64, 3, 64, 64, generator=generator) * 0.5 + 0.4
    dark = darken(photo, generator)
    assert torch.equal((dark * 255).round() / 255, dark)
    assert (dark.mean((1, 2, 3)) <= photo.mean((1, 2, 3)) + 0.01).all()
    assert dark.mean() < 0.6 * photo.mean()
    untouched = (dark - photo).abs().mean((1, 2, 3)) < 0.02
    assert 0 < untouched.float().mean() < 0.4  # some stay as bright as they were


def test_a_tint_keeps_the_strongest_channel_and_takes_from_the_others() -> None:
    photo = torch.full((16, 3, 4, 4), 0.5)
    tinted = tint(photo, torch.Generator().manual_seed(6))
    assert torch.allclose(tinted.amax(1), photo.amax(1), atol=1e-4)
    assert tinted.amin() > 0.25


def test_linear_light_and_back() -> None:
    levels = torch.linspace(0, 1, 256)
    assert torch.allclose(to_srgb(to_linear(levels)), levels, atol=1e-5)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)
