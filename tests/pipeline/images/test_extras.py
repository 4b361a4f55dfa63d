"""Optional packages that are there but cannot be loaded, as a wheel for another machine: that is told, and why."""

import sys
from pathlib import Path

import imagecodecs
import pytest

from jobs.cli import main
from pipeline.errors import MissingExtra
from pipeline.images import decode
from pipeline.images.codecs import av1
from pipeline.images.jxl import libjxl
from tests.support import media, raw_files

BROKEN = {
    "rawpy": ("raw", "OSError('libraw_r.so.23: cannot open shared object file')"),
    "pillow_heif": ("heif", "ImportError('libheif.so.1: undefined symbol: heif_image_get')"),
    "imagecodecs": ("jxl", "AttributeError('module has no attribute _ARRAY_API')"),
}


def _photos() -> dict[str, bytes]:
    scene = media.night(48, 32)
    return {
        "rawpy": raw_files.dng(raw_files.linear(scene)),
        "pillow_heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(8),
        "imagecodecs": imagecodecs.jpegxl_encode(scene, lossless=True),
    }


@pytest.mark.parametrize("package", BROKEN)
def test_a_package_that_does_not_load_is_told_with_the_reason(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content, (name, error) = _photos()[package], BROKEN[package]
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {error}\n")
    for loaded in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.syspath_prepend(tmp_path)
    libjxl.library.cache_clear()
    said = error.partition("'")[2].partition("'")[0]
    with pytest.raises(MissingExtra, match=rf'pip install "nightlift\[{name}\]".*{package} is .*: {said}'):
        decode(content, max_pixels=10_000)
    if package == "imagecodecs":
        assert not av1.keeps_all()
    if package != "rawpy":
        assert main(["images", str(tmp_path), str(tmp_path / "out"), "--format", name.replace("heif", "heic")]) == 2
        assert said in capsys.readouterr().err
    libjxl.library.cache_clear()
