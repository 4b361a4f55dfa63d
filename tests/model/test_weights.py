from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model import DEFAULT_WEIGHTS, Architecture, Checkpoint, WeightsError, build, fingerprint, load, to_bytes


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    architecture = Architecture(variant="plus", maps=1, map_channels=1, context=True, encoded=True, padding="replicate")
    checkpoint = Checkpoint(network=build(architecture), estimate_size=256, notes={"epochs": "3"})
    (tmp_path / "w.safetensors").write_bytes(to_bytes(checkpoint))
    again = load(tmp_path / "w.safetensors")
    assert again.network.architecture == architecture
    assert (again.estimate_size, again.notes) == (256, {"epochs": "3"})
    assert fingerprint(again) == fingerprint(checkpoint)


def test_weights_that_do_nothing_are_none(tmp_path: Path) -> None:
    """Denormal numbers, as weight decay leaves them, are slow to multiply with."""
    network = build(Architecture())
    with torch.no_grad():
        network.conv4.weight[:16] *= 1e-38
    (tmp_path / "w.safetensors").write_bytes(to_bytes(Checkpoint(network=network, estimate_size=256)))
    found = load(tmp_path / "w.safetensors").network.conv4.weight
    assert not found[:16].any()
    assert torch.equal(found[16:], network.conv4.weight[16:])


def test_the_estimate_size_that_is_asked_for() -> None:
    checkpoint = Checkpoint(network=build(Architecture()), estimate_size=256)
    assert [checkpoint.estimate_size_for(asked) for asked in ("auto", "full", 64)] == [256, None, 64]  # type: ignore[arg-type]


def test_fingerprint_tells_weights_and_their_use_apart() -> None:
    checkpoint = Checkpoint(network=build(Architecture()), estimate_size=256)
    other = Checkpoint(network=build(Architecture()), estimate_size=256)
    prints = {fingerprint(checkpoint), fingerprint(other), fingerprint(replace(checkpoint, estimate_size=512))}
    assert len(prints) == 3


@pytest.mark.parametrize("variant", ["dce", "plus"])
def test_shipped_weights_load_and_say_how_to_use_them(variant: str) -> None:
    checkpoint = load(DEFAULT_WEIGHTS[variant])  # type: ignore[index]
    assert checkpoint.network.architecture.variant == variant
    assert checkpoint.estimate_size is not None


def test_what_is_not_weights_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    other = tmp_path / "other.pth"
    torch.save({"x": torch.zeros(2)}, other)
    for path in (text, foreign, other, tmp_path / "missing.pth"):
        with pytest.raises(WeightsError, match=path.name):
            load(path)


@pytest.mark.parametrize("content", [["a"], [1], torch.zeros(2), 3, {"e_conv1.weight": 3}, {1: torch.zeros(2)}])
def test_a_pth_file_of_other_things_is_refused_by_name(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"other\.pth: not weights"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"hello there", b"PK\x03\x04", b"\x80\x02("])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_empty_or_cut_file_is_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = (tmp_path / "cut").with_suffix(suffix)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"cut\{suffix}: not weights of a DCE-Net \(.+\)") as told:
        load(path)
    assert "\n" not in str(told.value)  # torch would write a page


def test_a_pth_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"x": _RunsCode(str(tmp_path / "it-ran"))}, path)
    with pytest.raises(WeightsError, match="evil"):
        load(path)
    assert not (tmp_path / "it-ran").exists()


class _RunsCode:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_touch, (self.path,))


def _touch(path: str) -> None:
    Path(path).touch()


def test_the_name_of_a_variant_is_no_file_and_that_is_said() -> None:
    with pytest.raises(WeightsError, match="--variant plus"):
        load(Path("plus"))
