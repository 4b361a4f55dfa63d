"""ONNX: every layout gives the same image by onnxruntime as by torch, and files say what they are."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from jobs import export
from jobs.benchmark.media import night_clip
from jobs.cli import main
from jobs.export import ExportConfig, run
from model import DEFAULT_WEIGHTS, Architecture, Checkpoint, Enhancer, Look, build, fingerprint, load
from model.dce_net import PUBLISHED_DCE, PUBLISHED_PLUS
from model.onnx_export import TOLERANCE, ExportError, largest_difference, missing_packages, to_onnx
from pipeline.errors import UsageError
from pipeline.storage.storage import Storage
from tests.support.counts import count
from tests.support.media import night
from tests.support.printed_commands import ROOT

LAYOUTS = {
    "published dce": PUBLISHED_DCE,
    "published plus": PUBLISHED_PLUS,
    "own": Architecture(map_channels=1, padding="replicate", encoded=True, context=True),
    "own, in light": Architecture(map_channels=1, padding="replicate", encoded=True, context=True, space="light"),
    "own plus, dilated": Architecture(
        variant="plus", map_channels=1, padding="replicate", encoded=True, context=True, dilations=(1, 2, 4, 8, 4, 2, 1)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "estimate_size"),
    count(
        [("published plus", 64), ("own plus, dilated", 64), ("own, in light", None)],
        [*((name, 64) for name in LAYOUTS), ("own", None), ("own, in light", None)],
    ),
)
def test_every_layout_is_equal_to_torch(name: str, estimate_size: int | None) -> None:
    torch.manual_seed(4)
    network = build(LAYOUTS[name]).eval()
    for weight in network.parameters():
        weight.data.mul_(4)  # maps far from zero
    checkpoint = Checkpoint(network=network, estimate_size=64)
    content = to_onnx(checkpoint, estimate_size=estimate_size, iterations=2)  # torch takes a second for each one
    difference, checked = largest_difference(content, checkpoint, estimate_size=estimate_size, iterations=2)
    assert difference <= TOLERANCE
    assert checked >= 3
    with pytest.raises(ExportError, match="differ by"):
        largest_difference(content, checkpoint, estimate_size=estimate_size, iterations=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The shipped network, with 8 iterations, and what the export prints."""
    place = tmp_path_factory.mktemp("exported") / "new" / "dce.onnx"
    with redirect_stdout(StringIO()) as printed:
        assert run(ExportConfig(dst=str(place))) == 0
    return place, printed.getvalue()


def test_the_shipped_network_gives_the_photo_that_nightlift_gives_of_the_curve_alone(
    exported: tuple[Path, str],
) -> None:
    place, printed = exported
    assert "largest difference" in printed
    assert str(place) in printed
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    photo = night(600, 401)
    session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    image_BCHW = photo.transpose(2, 0, 1)[None].astype(np.float32) / 255
    enhanced = session.run(["enhanced"], {"image": image_BCHW})[0][0].transpose(1, 2, 0)
    plain = Look(denoise=0, floor="off")
    enhancer = Enhancer(checkpoint, plain, estimate_size=checkpoint.estimate_size, precision="fp32")
    [expected] = enhancer.enhance([photo])
    assert np.abs(enhanced * 255 - expected).max() < 0.51  # rounding to 8 bits
    model = onnx.load(place)
    onnx.checker.check_model(model, full_check=True)
    [image] = model.graph.input
    assert [size.dim_param or size.dim_value for size in image.type.tensor_type.shape.dim] == [
        "batch",
        3,
        "height",
        "width",
    ]
    notes = {note.key: note.value for note in model.metadata_props}
    assert notes.items() >= dict(checkpoint.notes).items()
    assert notes["fingerprint"] == fingerprint(checkpoint)
    assert json.loads(notes["architecture"])["map_channels"] == 1
    assert (json.loads(notes["estimate_size"]), notes["iterations"]) == (checkpoint.estimate_size, "8")


def test_the_recipes_of_the_page_run_without_nightlift(
    exported: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "model" / "README.md").read_text()
    photo, pipe = re.findall(r"```\n(.*?)```", page.partition("## Without nightlift")[2], re.DOTALL)
    [command] = re.findall(r"```sh\n(ffmpeg .*?)```", page, re.DOTALL)
    shutil.copy(exported[0], "dce.onnx")
    Path("photo.py").write_text(photo)
    Path("pipe.py").write_text(pipe)
    Image.fromarray(night(100, 60)).save("dark.png")
    subprocess.run([sys.executable, "photo.py", "dark.png", "bright.png"], check=True)
    plain = ["--denoise", "0", "--floor", "off", "--precision", "fp32", "--no-report"]
    assert main(["images", "dark.png", "expected.png", *plain]) == 0
    found, expected = (np.asarray(Image.open(name)).astype(int) for name in ("bright.png", "expected.png"))
    assert np.abs(found - expected).max() <= 1
    assert found.mean() > np.asarray(Image.open("dark.png")).mean() + 10
    night_clip(Path("in.mp4"), 96, 64, 5)
    command = (
        command.replace("python ", f"{sys.executable} ").replace("1920 1080", "96 64").replace("1920x1080", "96x64")
    )
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True, capture_output=True)
    lumas = []
    for name in ("in.mp4", "out.mp4"):
        with av.open(name) as video:
            lumas.append([frame.to_ndarray(format="gray").mean() for frame in video.decode(video=0)])
    assert len(lumas[0]) == len(lumas[1]) == 5
    assert min(lumas[1]) > max(lumas[0])


def test_to_a_bucket(bucket: str) -> None:
    place = f"{bucket}/models/plus.onnx"
    assert run(ExportConfig(dst=place, variant="plus", iterations=1, estimate_size="full")) == 0
    notes = onnx.load_from_string(Storage.from_environment([place], {}).read(place)).metadata_props
    assert {note.key: note.value for note in notes}.items() >= {"iterations": "1", "estimate_size": "null"}.items()


def test_what_differs_from_torch_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: tuple[Path, str]
) -> None:
    monkeypatch.setattr(export, "to_onnx", lambda *_, **__: exported[0].read_bytes())
    with pytest.raises(UsageError, match=r"not written: .* differ by"):
        run(ExportConfig(dst=str(tmp_path / "x.onnx"), iterations=7))
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert missing_packages() == []
    monkeypatch.setattr(export, "missing_packages", lambda: ["onnx", "onnxscript"])
    with pytest.raises(UsageError, match=r'onnx, onnxscript: pip install "nightlift\[onnx\]"'):
        run(ExportConfig(dst=str(tmp_path / "x.onnx")))


def test_nothing_optional_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, jobs.export; sys.exit(bool({'onnx', 'onnxruntime', 'onnxscript', 'skimage'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dst": "model.pt"}, "ends in .onnx"),
        ({"dst": "https://example.org/x.onnx"}, "web server"),
        ({"iterations": 17}, "--iterations is 17"),
        ({"estimate_size": 4}, "--estimate-size"),
    ],
)
def test_wrong_usage_is_told_at_once(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportConfig(**{"dst": "x.onnx", **flags})
