"""The example of a notebook, videos, and bars where a notebook lacks ipywidgets."""

import subprocess
import sys
from pathlib import Path

import nightlift
import pyarrow.parquet as pq
import pytest

from jobs.cli import main
from tests.support import media
from tests.support.clips import clip, streets
from tests.support.killed import ROOT

# A notebook, as tqdm recognises one; there are no ipywidgets here
IN_A_NOTEBOOK = """
import sys, types
shell = types.SimpleNamespace(config={"IPKernelApp": {}})
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
sys.modules["ipywidgets"] = None
import nightlift
nightlift.enhance_video("dark.mp4", "bright.mp4", progress=True)
"""


@pytest.mark.usefixtures("ray_session")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    photos = Path("infra/samples/photos")
    photos.mkdir(parents=True)
    for at in range(2):
        (photos / f"{at}.jpg").write_bytes(media.jpeg(media.night(60, 40, seed=at)))
    script = (ROOT / "infra/examples/notebook.py").read_text()
    exec(compile(script, "notebook.py", "exec"), {})
    rows = pq.read_table("demo/bright").to_pylist()
    assert {row["name"]: row["bytes"] for row in rows} == {
        photo.name: nightlift.enhance(photo.read_bytes()) for photo in photos.iterdir()
    }
    made = nightlift.load(strength=0.8)
    assert all(
        Path("demo/files", each.name).read_bytes() == made.enhance(each.read_bytes()) for each in photos.iterdir()
    )


def test_videos_are_those_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dark.mp4").write_bytes(clip(streets(6)))
    assert main(["videos", "dark.mp4", "job/bright.mp4", "--crf", "30"]) == 0
    capfd.readouterr()
    assert nightlift.enhance_video("dark.mp4", Path("lib/bright.mp4"), crf=30) == str(tmp_path / "lib/bright.mp4")
    assert capfd.readouterr() == ("", "")
    assert Path("lib/bright.mp4").read_bytes() == Path("job/bright.mp4").read_bytes()
    assert [each.name for each in Path("lib").iterdir()] == ["bright.mp4"]
    with pytest.raises(TypeError, match="no option quality; choose from"):
        nightlift.enhance_video("dark.mp4", "out.mp4", quality=90)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"^crf is 99|crf 99"):
        nightlift.enhance_video("dark.mp4", "out.mp4", crf=99)
    Path("cut.mp4").write_bytes(Path("dark.mp4").read_bytes()[:40])
    with pytest.raises(nightlift.NightliftError, match=r"cut\.mp4: ") as raised:
        nightlift.enhance_video("cut.mp4", "out.mp4")
    assert raised.value.code == "not_media"


def test_a_bar_in_a_notebook_without_widgets_brings_no_warning(tmp_path: Path) -> None:
    (tmp_path / "dark.mp4").write_bytes(clip(streets(3)))
    command = [sys.executable, "-W", "error", "-c", IN_A_NOTEBOOK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.rstrip().endswith("frame/s]")
    assert "3/3" in done.stderr and "arn" not in done.stderr
