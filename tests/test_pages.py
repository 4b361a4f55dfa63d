"""The READMEs: links lead somewhere, Python runs, and the first page stays short. Commands: `infra/test_infra.py`."""

import re
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from tests.support.media import night
from tests.support.printed_commands import PAGES, ROOT

FENCED = {"sh", "python", ""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fenced_block_is_of_a_kind_that_is_tested(page: Path) -> None:
    opened = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)[::2]
    assert set(opened) <= FENCED


def test_python_of_the_pages_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(night(60, 40)).save("photos/a.jpg")
    Path("photos/broken.jpg").write_bytes(b"no photo")
    Image.fromarray(night(60, 40)).save("dark.jpg")
    main(["images", "photos", "bright"])
    capsys.readouterr()
    blocks = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
    assert blocks
    for block in blocks:
        exec(compile(block, "a page", "exec"), {})
    assert "broken.jpg" in capsys.readouterr().out


def test_the_first_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
