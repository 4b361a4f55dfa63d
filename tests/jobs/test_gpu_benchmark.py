"""`nightlift benchmark --device cuda`: its parts, on the CPU and small. What they measure there means nothing."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

HERE = "cuda" if torch.cuda.is_available() else "cpu"
if HERE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernel is defined
pytest.importorskip("triton", reason="Triton has no build for this system")

from jobs.benchmark import gpu, gpu_jobs  # noqa: E402
from jobs.benchmark.measurement import Row, Section  # noqa: E402
from jobs.cli import main  # noqa: E402
from model import CurveMaps, Enhancer, Floor  # noqa: E402
from model.full_size.cpu import Pixels  # noqa: E402
from tests.support.counts import in_full_alone  # noqa: E402

SMALL = 60, 40


def _verdicts(section: Section) -> list[bool]:
    """Of its checks. Every number is one."""
    assert all(row.value >= 0 for row in section.rows)
    return [row.passed for row in section.rows if row.passed is not None]


def test_the_kernel_is_checked() -> None:
    section = gpu.measure_kernel(HERE, SMALL)
    assert _verdicts(section) == [True] * 8
    assert "PASS" in str(section)


def test_a_wrong_kernel_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.full_size.gpu_kernel.lift", lambda image, *rest: image)
    section = gpu.measure_kernel(HERE, SMALL)
    assert _verdicts(section) == [False] * 8
    assert "FAIL" in str(section)


def test_precisions_are_checked_against_the_cpu() -> None:
    assert _verdicts(gpu.measure_precisions("cpu", (320, 200))) == [True] * 4


@pytest.mark.parametrize("measure", [gpu.measure_photo, gpu.measure_copies])
def test_speed_is_measured(measure: object) -> None:
    section = measure("cpu", SMALL, 1)  # type: ignore[operator]
    assert all(row.value > 0 for row in section.rows if row.passed is None)
    assert all(_verdicts(section))


def test_batches_of_each_size_are_measured() -> None:
    section = gpu.measure_batches("cpu", SMALL, (1, 3), 1)
    assert [row.name.split()[:2] for row in section.rows[:4]] == [
        ["estimate", "1"],
        ["enhance", "1"],
        ["estimate", "3"],
        ["enhance", "3"],
    ]


def test_too_little_memory_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is only pretended, and a kernel that changes nothing: that one is slow without a GPU."""
    limit = dict[str, int]()

    def estimated(enhancer: Enhancer, images: list[Pixels], floors: list[Floor | None]) -> list[CurveMaps]:
        if len(images) > limit.get("images", 1000):
            raise torch.OutOfMemoryError
        return estimated_with_enough(enhancer, images, floors)

    def lifted(band: torch.Tensor, *_: object) -> torch.Tensor:
        if len(band) > limit.get("rows", 1000):
            raise torch.OutOfMemoryError
        return band

    @contextmanager
    def limited(room_bytes: int) -> Iterator[None]:
        limit.update(images=3, rows=250)  # less than there are, more than the least that is tried
        yield
        limit.clear()

    estimated_with_enough = Enhancer._estimated
    monkeypatch.setattr(Enhancer, "_estimated", estimated)
    monkeypatch.setattr("model.full_size.gpu_kernel.lift", lifted)
    monkeypatch.setattr(Enhancer, "apply", lambda self, image, maps, **_: self._applied_by_gpu(image, maps))
    short, enough = (gpu.measure_out_of_memory("cpu", room, (300, 400), 8) for room in (limited, nullcontext))
    assert _verdicts(short) == [True] * 5
    assert _verdicts(enough) == [False, False, True, False, True]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_both_graphs_are_compared() -> None:
    section = gpu_jobs.measure_split("cpu", 2, 2, (40, 30))
    assert _verdicts(section) == [True]
    assert all(row.value > 0 for row in section.rows)


def test_encoders_that_start_are_checked_and_others_named() -> None:
    section = gpu_jobs.measure_videos("cpu", ("libx264", "h264_nvenc"), (96, 64), 12)
    assert _verdicts(section)[0]
    assert section.rows[2].name.startswith("h264_nvenc")


@pytest.mark.slow
def test_a_step_of_training_is_checked() -> None:
    verdicts = _verdicts(gpu_jobs.measure_training_step("cpu", 2, 32, 1))
    assert len(verdicts) == 5
    assert all(verdicts)


@in_full_alone
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_training_comes_to_its_end() -> None:
    assert _verdicts(gpu_jobs.measure_training_whole("cpu", 8, 2)) == [True]


def test_a_failed_check_and_a_part_that_breaks_are_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> Section:
        raise RuntimeError("the GPU is lost")

    for module in (gpu, gpu_jobs):
        for name in vars(module):
            if name.startswith("measure_") and name != "measure_gpu":
                monkeypatch.setattr(gpu, name, lambda *_: Section("fine", [Row("check", 1, "of 1", passed=True)]))
    monkeypatch.setattr(gpu, "measure_kernel", broken)
    monkeypatch.setattr("jobs.benchmark.job.check_gpu", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    out = tmp_path / "gpu.json"
    assert main(["benchmark", "--device", "cuda", "--quick", "--json", str(out)]) == 1
    printed = capsys.readouterr().out
    assert "failed with RuntimeError" in printed
    assert (printed.count("FAIL"), printed.count("PASS")) == (1, 9)
    sections = json.loads(out.read_text())["sections"]
    assert [section["rows"][0]["passed"] for section in sections] == [False] + [True] * 9


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--device", "cuda"]) == 2
    assert "finds no GPU on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["photos/"], ["--only", "inside"]])
def test_all_of_it_is_measured_or_nothing(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--device", "cuda", *more]) == 2
    assert "leave out SRC and --only" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_all_checks_pass_on_a_gpu() -> None:
    assert main(["benchmark", "--device", "cuda", "--quick"]) == 0
