"""What `nightlift doctor` shows, and what it finds wrong."""

from pathlib import Path

import pytest

from jobs import doctor
from jobs.cli import main
from tests.support.media import jpeg, night

PARTS = ["place", "nightlift", "machine", "packages", "extras", "devices", "photos", "videos", "folders"]
TRIED = ["environment", "network", "Ray"]


@pytest.mark.usefixtures("ray_session")
def test_all_parts_are_shown_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(night()))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-others")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert main(["doctor", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if line[:1].strip()] == [*PARTS, *TRIED, "nothing"]
    assert "not-for-others" not in told
    assert "AWS_PROFILE=mine" in told
    assert "AWS_SECRET_ACCESS_KEY" in told
    assert "a.jpg" in told
    assert "libx264 libx265 libsvtav1 libvpx-vp9" in told


def test_what_is_wrong_is_listed_and_does_not_hide_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def _ray(report: object) -> None:
        raise RuntimeError("first line\nno core answers")

    monkeypatch.setattr(doctor, "_ray", _ray)
    monkeypatch.setattr(doctor, "kernel_folder", lambda: None)
    monkeypatch.setattr(doctor, "usable_memory_bytes", lambda: 200_000_000)
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99", "no-such-package", "neither>1; extra == 'heif'"])
    assert main(["doctor", str(tmp_path / "missing")]) == 1
    told = capsys.readouterr().out
    _, _, wrong = told.partition("wrong (6):\n")
    for part in (
        "only 0.2 GB of memory is free",
        "torch is 2.13",
        "no-such-package is not installed",
        "no folder for machine code is writable",
        "Ray: RuntimeError: no core answers",
        "missing",
    ):
        assert part in wrong
    assert "heif" not in told.partition("extras")[2].partition("devices")[0]
