"""What users give as SRC and DST on the command line: lists of paths, odd names, one file, places that do not fit."""

import io
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import submit
from jobs.cli import main
from tests.support.fake_s3 import s3_in_environment
from tests.support.outputs import files_below, rows_of, tree
from tests.support.web_server import web_server

NIGHT = np.random.default_rng(5).integers(0, 50, (24, 32, 3), dtype=np.uint8)

Errors = Callable[[], str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Errors:
    """What was printed and logged since the last call."""

    def printed() -> str:
        told, logged = capsys.readouterr(), caplog.text
        caplog.clear()
        return told.out + told.err + logged

    return printed


def _photos(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(NIGHT).save(path)
    return folder


def _images(*arguments: str | Path) -> int:
    return main(["images", *map(str, arguments), "--no-report"])


def _pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _endings(out: Path) -> dict[str, str]:
    return {Path(str(row["source"])).name: str(row["code"] or row["outcome"]) for row in rows_of(out)}


def test_a_list_keeps_its_paths_and_goes_on_with_later_lists(here: Path, errors: Errors) -> None:
    _photos(here, "in/a.jpg", "in/deep/b.jpg", "in/c.jpg")
    (here / "first.txt").write_bytes("\ufeffin/a.jpg\r\n\r\nin/none.jpg\r\nin/a.jpg\r\n".encode())
    (here / "later.txt").write_text(f"{here}/in/./c.jpg\nin/deep\nin/deep/b.jpg")
    assert _images("@first.txt", "out") == 1
    assert _endings(here / "out") == {"a.jpg": "done", "none.jpg": "not_found"}
    assert f"failed, not_found: {here}/in/none.jpg: nothing is there" in errors()
    assert _images("@later.txt", "out") == 0
    assert tree(here / "out").keys() == {"in/a.jpg", "in/deep/b.jpg", "c.jpg"}
    assert "2 done" in errors()
    assert _images("@later.txt", "out") == 0
    assert "by earlier runs: 2 done" in errors()


def test_names_of_any_bytes_come_through_standard_input(
    here: Path, monkeypatch: pytest.MonkeyPatch, errors: Errors
) -> None:
    names = ["new\nline.jpg", "-dash.jpg", "#no comment.jpg", "a[1]?*.jpg", " % + & ;.jpg", "~x.jpg", "@y.jpg"]
    names += ["caf\u00e9.jpg", "cafe\u0301.jpg", "x" * 251 + ".jpg", "cr\r.jpg"]
    _photos(here / "in", *names)
    no_text = os.fsdecode(b"caf\xe9.jpg")
    (here / "in" / no_text).write_bytes(b"-")
    monkeypatch.chdir(here / "in")
    _pipe(monkeypatch, b"".join(os.fsencode(name) + b"\0" for name in [*names, no_text]))
    assert _images("-", here / "out") == 1
    assert tree(here / "out").keys() == set(names)
    assert _endings(here / "out")["caf\\xe9.jpg"] == "bad_name"
    _pipe(monkeypatch, b"\n".join(map(os.fsencode, names[1:-1])))
    assert _images("-", here / "out") == 0
    assert f"by earlier runs: {len(names) - 2} done" in errors()


def test_lists_that_are_none(here: Path, monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    _photos(here, "a.jpg", "a.png", "@odd/b.jpg", "-/c.jpg")
    (here / "blank.txt").write_text("\n\n")
    (here / "utf16.txt").write_bytes("a.jpg\n".encode("utf-16"))
    (here / "url.txt").write_text("s3://\n")
    said = {
        "@none.txt": "No such file",
        "@": "cannot be read",
        "@@odd": "Is a directory",
        "@blank.txt": "the list is empty",
        "@a.jpg": "not a list of paths",
        "@a.png": "not a list of paths",
        "@utf16.txt": "not a list of paths",
        "@url.txt": "@url.txt: s3://: incomplete URL",
        "-": "standard input: the list is empty",
    }
    for source, expected in said.items():
        _pipe(monkeypatch, b"")
        assert _images(source, "out") == 2
        assert expected in errors()
        assert not (here / "out").exists()
    assert _images("./@odd", "out") == 0
    assert _images("./-", "out") == 0
    assert tree(here / "out").keys() == {"b.jpg", "c.jpg"}


def test_a_list_holds_the_outputs_of_the_same_job_too(here: Path, errors: Errors) -> None:
    _photos(here, "a.jpg", "out/z.jpg")
    (here / "list.txt").write_text("a.jpg\nout/z.jpg\n")
    assert _images("@list.txt", "out", "--dry-run") == 0
    assert f"{here}/out lies inside the source and is left out of it; files there: 1" in errors()
    assert files_below(here / "out") == [here / "out" / "z.jpg"]


def test_lists_of_two_places_do_not_replace_each_others_outputs(
    here: Path, monkeypatch: pytest.MonkeyPatch, errors: Errors
) -> None:
    for folder in ("one", "two"):
        _photos(here / folder, "a.jpg")
        monkeypatch.chdir(here / folder)
        _pipe(monkeypatch, b"a.jpg\n")
        assert _images("-", here / "out") == (folder == "two")
    assert "failed, collision" in errors()


def test_urls_and_paths_in_one_list(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (_photos(here, "a.jpg") / "a.jpg").read_bytes()
    (here / "list.txt").write_text("a.jpg\ns3://in/2024/a[1].jpg\ns3://in/./b?.jpg\ns3://in/none.jpg\ns3://in/deep\n")
    with s3_in_environment(monkeypatch) as store:
        store.put("in", dict.fromkeys(("2024/a[1].jpg", "b?.jpg", "deep/c.jpg"), content))
        assert _images("@list.txt", "out") == 1
    assert tree(here / "out").keys() == {"a.jpg", "in/2024/a[1].jpg", "b?.jpg", "in/deep/c.jpg"}
    assert _endings(here / "out")["none.jpg"] == "not_found"


def test_a_list_travels_to_a_cluster(here: Path, monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    carried: list[tuple[str, str]] = []

    class Client:
        def submit_job(self, *, entrypoint: str, runtime_env: dict[str, str]) -> str:
            carried.append((entrypoint, (Path(runtime_env["working_dir"]) / "carried" / "list.txt").read_text()))
            return "job"

    monkeypatch.setattr(submit, "_client", lambda address: Client())
    (here / "list.txt").write_text("s3://in/a.jpg\n/shared/b.jpg\n")
    assert main(["submit", "images", "@list.txt", "s3://out", "--no-wait"]) == 0
    assert carried == [("python -m jobs.images @carried/list.txt s3://out", "s3://in/a.jpg\n/shared/b.jpg\n")]
    (here / "list.txt").write_text("a.jpg\n")
    assert main(["submit", "images", "@list.txt", "s3://out"]) == 2
    assert "@list.txt: a.jpg is a path of this machine" in errors()
    assert main(["submit", "images", "-", "s3://out"]) == 2
    assert "standard input does not travel" in errors()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_commands_that_take_no_list_say_so(here: Path, command: str, errors: Errors) -> None:
    (_photos(here, "a.jpg") / "list.txt").write_text("a.jpg\n")
    assert main([command, "@list.txt", "out"]) == 2
    assert "write ./@list.txt" in errors()


def test_new_files_are_tried_before_those_that_failed(here: Path) -> None:
    _photos(here / "in", "b.jpg", "c.jpg")
    (here / "in" / "a.jpg").write_bytes(b"no photo")
    for expected in ({"a.jpg"}, {"a.jpg", "b.jpg"}, {"a.jpg", "b.jpg", "c.jpg"}):
        _images("in", "out", "--limit", "1")
        assert _endings(here / "out").keys() == expected
    assert _images("in", "out", "--limit", "1") == 1
    assert len(rows_of(here / "out")) == 4


@pytest.mark.parametrize("name", ["out.tar", "out.mp4", "deep/out.txt", "out.7z"])
def test_a_file_is_no_folder_of_a_strange_extension(here: Path, name: str, errors: Errors) -> None:
    _photos(here, "in/a.jpg")
    assert _images("in/a.jpg", name) == 2
    assert f"for a folder of this name write {name}/" in errors()
    assert sorted(path.name for path in here.iterdir()) == ["in"]


@pytest.mark.parametrize("name", ["v1.2", "photos.2024", "out.tar/", ".hidden", "my.holidays"])
def test_folders_with_a_dot_in_their_name(here: Path, name: str) -> None:
    _photos(here, "in/a.jpg")
    assert _images("in/a.jpg", name, "--dry-run") == 0
    (here / "out.txt").mkdir()
    assert _images("in/a.jpg", "out.txt", "--dry-run") == 0
    assert _images("in", "out.tar", "--dry-run") == 0


def test_the_destination_inside_the_source_is_told(here: Path, errors: Errors) -> None:
    _photos(here, "in/a.jpg", "in/b.jpg")
    assert _images("in", "in/out") == 0
    assert f"{here}/in/out lies inside the source and is left out of it; files there: 0" in errors()
    assert _images("in", "in/out") == 0
    assert "left out of it; files there: 2" in errors()
    assert _images("in/a.jpg", "in/out2", "--dry-run") == 0
    assert _images("in/*.jpg", "in/out3", "--dry-run") == 0
    assert "lies inside" not in errors()


def test_one_output_is_not_replaced_by_that_of_another_photo(here: Path, errors: Errors) -> None:
    _photos(here, "a.jpg", "b.jpg")
    assert _images("a.jpg", "out.jpg") == 0
    assert _images("a.jpg", "out.jpg", "--strength", "0.5") == 0
    for more in ([], ["--fresh"], ["--dry-run"]):
        errors()
        assert _images("b.jpg", "out.jpg", *more) == 2
        assert "out.jpg is what another photo became; move it away or choose another DST" in errors()
    (here / "out.jpg").unlink()
    assert _images("b.jpg", "out.jpg") == 0


@pytest.mark.parametrize("name", ["what?.jpg", "a[1].jpg", "*.jpg", "photos [2024]/a.jpg"])
def test_a_name_with_the_signs_of_a_pattern(here: Path, name: str) -> None:
    _photos(here, name, "a1.jpg", "whats.jpg")
    assert _images(name, "one.jpg") == 0
    assert [row["source"] for row in rows_of(here)] == [str(here / name)]
    assert _images(Path(name).parent if "/" in name else name, "out") == 0
    assert tree(here / "out").keys() == {Path(name).name}


def test_a_key_with_the_signs_of_a_pattern(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (_photos(here, "a.jpg") / "a.jpg").read_bytes()
    with s3_in_environment(monkeypatch) as store:
        store.put("in", dict.fromkeys(("a[1].jpg", "a1.jpg"), content))
        assert _images("s3://in/a[1].jpg", "one.jpg") == 0
    assert [row["source"] for row in rows_of(here)] == ["s3://in/a[1].jpg"]


def test_a_web_address_with_a_query_is_one_photo(here: Path) -> None:
    with web_server((_photos(here, "a.jpg") / "a.jpg").read_bytes()) as server:
        assert _images(f"{server.url}/a.jpg?signature=x", "one.jpg") == 0
    assert (here / "one.jpg").is_file()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_another_unicode_form_is_told(here: Path, form: str, errors: Errors) -> None:
    given, there = (unicodedata.normalize(each, "caf\u00e9.jpg") for each in (form, {"NFC": "NFD", "NFD": "NFC"}[form]))
    _photos(here, f"in/{there}")
    assert _images(f"in/{given}", "out") == 2
    assert "nothing is there; check the path; a file of that look is there under another encoding" in errors()


def test_a_destination_that_takes_no_files_is_told_before_any_work(here: Path, errors: Errors) -> None:
    _photos(here, "in/a.jpg")
    assert _images("in", "/sys/out", "--dry-run") == 0
    assert "nothing was written" in errors()
    assert _images("in", "/sys/out") in (1, 2)
    told = errors()
    assert "nightlift: /sys/out: " in told
    assert "enhancing" not in told


def test_files_of_the_other_kind_are_told_with_their_command(here: Path, errors: Errors) -> None:
    assert main(["videos", str(_photos(here / "in", "a.png")), "out"]) == 2
    assert (
        "no videos that nightlift reads, judging by names and first bytes (found: 1 .png); for these: nightlift images"
        in errors()
    )
