"""The preview: what the page shows is what the job makes, and nobody else is served."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from jobs.preview.job import PreviewConfig, exhibit_of
from jobs.preview.server import PreviewServer
from jobs.preview.views import CellMaps, Estimator, FramePreview, PhotoPreview, VideoPreview
from model import DEFAULT_WEIGHTS, Architecture, Checkpoint, CurveMaps, Enhancer, Look, build, load, to_bytes
from model.full_size.cpu import Cells
from model.full_size.reduce import reduce_pixels
from pipeline.errors import NotFound, UsageError
from pipeline.images import decode
from pipeline.images.photo import Photo, to_8_bits
from pipeline.photos import Enhance, PhotoSettings
from pipeline.storage.storage import Storage
from pipeline.video.writing.encode import EncodeSettings
from pipeline.videos import VideoSettings
from tests.pipeline.video.test_bars import FRAMED, street_film
from tests.support.browser import launched, page_of, pixels_of
from tests.support.clips import clip, rgb, street, streets
from tests.support.counts import count
from tests.support.enhanced import done
from tests.support.killed import ROOT
from tests.support.media import jpeg, night, night_16, png_16, saved

NEAR = 2  # of 255
ASKED = "page=a&turn=1"
FEW = (0, 1, 8, 16)  # numbers of iterations: none, the least, one for each map, and the most
ONE, DEEP = 1 << 16, 1 << 30  # of display matrices
QUARTER_TURNS = [
    (0, ONE, 0, -ONE, 0, 0, 0, 0, DEEP),
    (-ONE, 0, 0, 0, -ONE, 0, 0, 0, DEEP),
    (0, -ONE, 0, ONE, 0, 0, 0, 0, DEEP),
]


@contextmanager
def _served(source: Path | str, **flags: object) -> Iterator[PreviewServer]:
    config = PreviewConfig(src=str(source), **flags)  # type: ignore[arg-type]
    with PreviewServer(exhibit_of(config)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def _ask(server: PreviewServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _opened(page: Page, server: PreviewServer, name: str) -> None:
    """Until the file is shown, at actual pixels, all of it as it is after."""
    if not page.url.startswith(server.address):
        page.goto(server.address)
        page.locator("#actual").check()
    page.locator("#file").select_option(label=name)
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "false", timeout=60_000)  # loops may be compiled yet
    expect(page.locator("#frame")).to_be_visible()
    while page.locator("#divider").get_attribute("aria-valuenow") != "0":
        page.keyboard.press("b")


def _at(page: Page, iterations: int) -> np.ndarray:
    page.locator("#iterations").fill(str(iterations))
    return pixels_of(page, "view")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with page_of(browser) as page:
        yield page


@cache
def _coded_photos() -> dict[str, bytes]:
    return {
        "small.png": saved(night(96, 64), "PNG"),  # smaller than what the network sees
        "large.jpg": jpeg(night(701, 333), quality=90),
        "deep.png": png_16(night_16(300, 200)),
        "grey.png": saved(night(260, 140)[..., 0], "PNG"),
        "pixel.png": saved(night(1, 1), "PNG"),
        "strip.png": saved(night(301, 3), "PNG"),
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, coded in _coded_photos().items():
        (folder / name).write_bytes(coded)
    return folder


@pytest.fixture
def dark_photos(tmp_path: Path) -> Path:
    """Images that hold noise, black and the least light."""
    folder = tmp_path / "dark"
    folder.mkdir()
    deep = (_dark(300, 200) * 65535).round().astype(np.uint16)
    eight = (_dark(501, 333) * 255).round().astype(np.uint8)
    (folder / "dark.png").write_bytes(saved(eight, "PNG"))
    (folder / "dark.jpg").write_bytes(jpeg(eight, quality=40))  # noise that a codec took to single values
    (folder / "deep.png").write_bytes(png_16(deep))
    (folder / "deep_grey.png").write_bytes(png_16(deep[..., :1]))
    (folder / "grey.png").write_bytes(saved(eight[..., 1], "PNG"))
    return folder


def _dark(width: int, height: int) -> np.ndarray:
    """A night in [0, 1] whose left half is nearly black, with noise that grows with light."""
    scene = night(width, height, seed=3) / 255
    scene *= np.linspace(0.02, 1.2, width)[:, None]
    noise = np.random.default_rng(4).normal(0, 1, scene.shape) * np.sqrt(0.003**2 + 0.0005 * scene)
    return (scene + 0.008 + noise).clip(0, 1)


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """Weights of a network whose curve acts on light, and whose maps differ from place to place."""
    torch.manual_seed(5)
    network = build(Architecture(map_channels=1, space="light"))
    *_, weight, bias = network.parameters()
    weight.data.mul_(100)
    bias.data.fill_(-0.5)
    path = tmp_path / "light.safetensors"
    path.write_bytes(to_bytes(Checkpoint(network=network, estimate_size=64)))
    return path


def _differences(
    page: Page, server: PreviewServer, path: Path, wanted: Sequence[int], checkpoint: Checkpoint
) -> list[int]:
    """Largest difference between page and job at each number of iterations. See `_job`."""
    _opened(page, server, path.name)
    photo = decode(path.read_bytes(), max_pixels=10**9)
    pixels = photo.frames[0].pixels
    usual = Estimator(checkpoint, checkpoint.estimate_size)
    floor = usual.enhancer.floor_of(pixels, hidden_noise=photo.hidden_noise)
    [maps] = usual.enhancer.estimate([pixels], [floor])
    cells = usual.cells(pixels, maps)
    found = []
    for iterations in wanted:
        job = _job(checkpoint, photo, iterations, maps, cells)
        found.append(int(np.abs(_at(page, iterations).astype(int) - to_8_bits(job)).max()))
    return found


def _job(checkpoint: Checkpoint, photo: Photo, iterations: int, maps: CurveMaps, cells: Cells) -> np.ndarray:
    """What a job makes of a photo: at 8 iterations all of it, at others with the maps and cells of 8 iterations."""
    enhancer = Enhancer(checkpoint, Look(iterations=iterations), estimate_size=checkpoint.estimate_size)
    pixels = photo.frames[0].pixels
    if iterations in (0, 8):
        floor = enhancer.floor_of(pixels, hidden_noise=photo.hidden_noise)
        [job] = enhancer.enhance([pixels], [floor])
        return job
    return enhancer._applied(pixels, maps, cells)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "wanted"), [("dce", range(17)), ("plus", (1, 8, 16))])
def test_the_page_shows_what_the_job_makes(photos: Path, page: Page, network: str, wanted: Sequence[int]) -> None:
    few = [iterations for iterations in wanted if iterations in FEW]
    with _served(photos, variant=network) as server:
        for path in sorted(photos.iterdir()):
            some = wanted if path.name == "large.jpg" else count(few, wanted)
            differences = _differences(page, server, path, some, load(DEFAULT_WEIGHTS[network]))
            assert max(differences) <= NEAR, (path.name, differences)


def test_the_noise_of_a_turned_photo_is_the_jobs(tmp_path: Path) -> None:
    """Its empty corners have none."""
    noisy = night(160, 120) + np.random.default_rng(0).integers(1, 12, (120, 160, 3), np.uint8)
    Image.fromarray(noisy).rotate(7, expand=True).save(tmp_path / "turned.png")
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    usual = Estimator(checkpoint, checkpoint.estimate_size)
    preview = PhotoPreview.of(Storage(), str(tmp_path / "turned.png"))
    job = Enhance(checkpoint, PhotoSettings(estimate_size=checkpoint.estimate_size), "cpu")
    maps, view = job.light_of(decode((tmp_path / "turned.png").read_bytes(), max_pixels=10**9))
    _, found = preview.maps(usual)
    assert preview.visible is not None
    assert (found.values == CellMaps.of(usual.cells(view.pixels, maps), *preview.size, 1).values).all()


@pytest.mark.slow
def test_the_page_shows_what_the_job_makes_of_the_dark(dark_photos: Path, page: Page) -> None:
    with _served(dark_photos) as server:
        for path in sorted(dark_photos.iterdir()):
            differences = _differences(page, server, path, FEW, load(DEFAULT_WEIGHTS["dce"]))
            assert max(differences) <= NEAR, (path.name, differences)


@pytest.mark.slow
def test_the_page_shows_what_the_job_makes_in_light(photos: Path, dark_photos: Path, light: Path, page: Page) -> None:
    for folder in (photos, dark_photos):
        with _served(folder, weights=light) as server:
            for path in sorted(folder.iterdir()):
                differences = _differences(page, server, path, FEW, load(light))
                assert max(differences) <= NEAR, (path.name, differences)


@pytest.mark.slow
def test_the_page_shows_what_the_job_makes_of_a_real_photo(shared: Path, page: Page) -> None:
    folder = shared / "data" / "dev" / "lime"
    with _served(folder) as server:
        differences = _differences(
            page, server, min(folder.iterdir()), count(FEW, range(17)), load(DEFAULT_WEIGHTS["dce"])
        )
    assert max(differences) <= NEAR, differences


@pytest.mark.slow
def test_a_photo_that_is_shown_reduced_is_the_jobs_reduced(tmp_path: Path, page: Page, light: Path) -> None:
    pixels = (_dark(4200, 300) * 255).round().astype(np.uint8)
    (tmp_path / "wide.png").write_bytes(saved(pixels, "PNG"))
    [job] = Enhancer(load(light), estimate_size=64).enhance([pixels])
    with _served(tmp_path / "wide.png", weights=light) as server:
        _opened(page, server, "wide.png")
        difference = np.abs(_at(page, 8) - 255 * reduce_pixels(job, 2))
        assert difference.mean() < NEAR / 4  # the curve of a mean is not the mean of the curve


@pytest.mark.slow
def test_sliders_and_divider_ask_the_server_nothing(photos: Path, page: Page) -> None:
    with _served(photos) as server:
        _opened(page, server, "large.jpg")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        before = _at(page, 0)
        assert _at(page, 8).mean() > before.mean() + 10
        page.locator("#strength").fill("0.5")
        assert before.mean() < pixels_of(page, "view").mean() < _at(page, 16).mean()
        page.keyboard.press("b")  # all before
        assert np.array_equal(pixels_of(page, "view"), before)
        page.locator("#strip button").nth(3).click()
        expect(page.locator("#iterations")).to_have_value("3")
        assert asked == []


@pytest.mark.slow
def test_numbers_and_command_follow_the_settings(photos: Path, page: Page) -> None:
    with _served(photos, iterations=6) as server:
        _opened(page, server, "small.png")
        assert float(page.locator("#mean-before").inner_text()) == pytest.approx(night(96, 64).mean() / 255, abs=0.02)
        assert float(page.locator("#mean-after").inner_text()) > float(page.locator("#mean-before").inner_text())
        command = page.locator("#command")
        expect(command).to_have_text(f"nightlift images {photos} OUT --iterations 6")
        page.locator("#divider").focus()
        for key in ("ArrowUp", "ArrowUp", "+", "ArrowRight"):
            page.keyboard.press(key)
        page.locator("#network").select_option("plus")
        page.locator("#estimate").select_option("64")
        expect(command).to_have_text(f"nightlift images {photos} OUT --strength 1.05 --estimate-size 64 --variant plus")
        expect(page.locator("#divider")).to_have_attribute("aria-valuenow", "2")
        expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")


@pytest.mark.slow
def test_the_command_has_all_that_chose_the_files(photos: Path, page: Page) -> None:
    flags = {
        "include": ("*.png", "it's*"),
        "exclude": ("deep*",),
        "storage_options": '{"key": "secret"}',
        "strength": 0.98,
    }
    with _served(photos, **flags) as server:
        _opened(page, server, "small.png")
        told = """--strength 0.98 --include '*.png' --include 'it'"'"'s*' --exclude 'deep*' --storage-options ..."""
        expect(page.locator("#command")).to_have_text(f"nightlift images {photos} OUT {told}")


@pytest.mark.slow
def test_what_is_chosen_while_a_file_opens_counts(photos: Path, page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with _served(photos / "small.png") as server:
        page.route("**/image?*", hold)
        page.goto(server.address)
        page.locator("#network").select_option("plus")
        expect(page.locator("#command")).to_contain_text("--variant plus")
        while len(held) < 2:  # the first one was given up
            page.wait_for_timeout(50)
        held[-1].continue_()
        expect(page.locator("#stage")).to_have_attribute("aria-busy", "false")
        page.locator("#actual").check()
        page.keyboard.press("b")  # all after
        plus = load(DEFAULT_WEIGHTS["plus"])
        [job] = Enhancer(plus, estimate_size=plus.estimate_size).enhance([night(96, 64)])
        assert np.abs(_at(page, 8).astype(int) - job).max() <= NEAR


@pytest.mark.slow
def test_shares_are_those_of_pixels_and_not_of_means(tmp_path: Path, page: Page) -> None:
    stars = np.zeros((700, 900, 3), np.uint8)
    stars[::9, ::7] = 255
    (tmp_path / "stars.png").write_bytes(saved(stars, "PNG"))
    with _served(tmp_path) as server:
        _opened(page, server, "stars.png")
        share = 100 * float((stars == 255).all(2).mean())
        for name, wanted in (("white", share), ("black", 100 - share)):
            told = float(page.locator(f"#{name}-before").inner_text().removesuffix(" %"))
            assert told == pytest.approx(wanted, abs=1)


@pytest.mark.slow
def test_maps_that_are_coarser_than_the_jobs_are_told(tmp_path: Path, page: Page) -> None:
    (tmp_path / "wide.jpg").write_bytes(jpeg(night(1100, 200)))
    (tmp_path / "small.jpg").write_bytes(jpeg(night(300, 200)))
    with _served(tmp_path, estimate_size="full") as server:
        _opened(page, server, "wide.jpg")
        expect(page.locator("#status")).to_contain_text("the job uses more")
        _opened(page, server, "small.jpg")
        expect(page.locator("#status")).not_to_contain_text("the job uses more")


@pytest.mark.slow
def test_pages_do_not_disturb_each_other_and_steps_add_up(tmp_path: Path, page: Page) -> None:
    (tmp_path / "street.mp4").write_bytes(clip(streets(100, width=160, height=96), rate=50))
    with _served(tmp_path) as server:
        for each in (page, page.context.new_page()):
            _opened(each, server, "street.mp4")
        page.locator("#divider").focus()
        page.keyboard.press(" ")
        expect(page.locator("#play")).to_have_text("pause")
        expect(page.locator("#play")).to_have_text("play")  # at its end
        expect(page.locator("#scrubber")).to_have_value("99")
        for _ in range(5):
            page.keyboard.press(",")
        expect(page.locator("#scrubber")).to_have_value("94")


@pytest.mark.slow
def test_a_server_that_is_gone_is_told(tmp_path: Path, page: Page) -> None:
    (tmp_path / "street.mp4").write_bytes(clip(streets(80, width=160, height=96)))
    with _served(tmp_path) as server:
        _opened(page, server, "street.mp4")
        server.video = broken  # type: ignore[assignment]
        page.locator("#scrubber").fill("70")
        expect(page.locator("#status")).to_contain_text("no longer there")
    expect(page.locator("#status")).to_have_class("problem")


def broken(url: str) -> VideoPreview:
    raise NotFound(f"{url}: no longer there")


@pytest.mark.slow
def test_a_clip_plays_while_the_slider_moves(tmp_path: Path, page: Page) -> None:
    (tmp_path / "street.mp4").write_bytes(clip(streets(60, width=160, height=96), rate=10))
    with _served(tmp_path) as server:
        _opened(page, server, "street.mp4")
        first = _at(page, 0)
        assert np.abs(first.astype(int) - rgb(tmp_path / "street.mp4")[0]).mean() < NEAR  # sent as JPEG
        page.locator("#divider").focus()
        page.keyboard.press(" ")
        expect(page.locator("#play")).to_have_text("pause")
        seen = []
        for iterations in range(0, 17, 4):
            lit = _at(page, iterations)
            seen.append((int(page.locator("#scrubber").input_value()), float(lit.mean())))
            page.wait_for_timeout(250)
        ranks, lights = zip(*seen, strict=True)
        playing = [rank for rank in ranks if rank < 59]  # a busy machine comes to the end sooner than to the last look
        assert list(ranks) == sorted(ranks)
        assert len(set(playing)) == len(playing) > 1
        assert list(lights) == sorted(lights)
        expect(page.locator("#play")).to_have_text("play")  # at its end
        expect(page.locator("#scrubber")).to_have_value("59")


@pytest.mark.slow
def test_frames_of_a_clip_are_those_of_the_job(tmp_path: Path, page: Page) -> None:
    path = tmp_path / "street.mp4"
    path.write_bytes(clip(streets(40, width=160, height=96)))
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    video = VideoPreview.of(Storage(), str(path))
    frames = list(video.frames(Estimator(checkpoint, checkpoint.estimate_size), 20))
    assert [frame.rank for frame in frames] == list(range(20, 40))
    with _served(tmp_path) as server:
        _opened(page, server, "street.mp4")
        page.locator("#scrubber").fill("23")
        expect(page.locator("#time")).to_contain_text("0:00.92")
        shown = _at(page, 8)
        assert shown.mean() > frames[3].pixels.mean() + 10
        page.locator("#divider").focus()
        page.keyboard.press(".")
        expect(page.locator("#scrubber")).to_have_value("24")
        page.keyboard.press(",")
        expect(page.locator("#scrubber")).to_have_value("23")
        assert np.array_equal(_at(page, 8), shown)


def test_bars_of_a_clip_are_left_out(tmp_path: Path) -> None:
    estimator = Estimator(load(DEFAULT_WEIGHTS["dce"]), 128)
    (tmp_path / "plain.mkv").write_bytes(street_film())
    (tmp_path / "bars.mkv").write_bytes(street_film(FRAMED))
    plain, barred = (next(VideoPreview.of(Storage(), str(path)).frames(estimator, 0)) for path in tmp_path.iterdir())
    for one, other in ((plain, barred), (plain.maps, barred.maps), (plain.cells, barred.cells)):
        names = {"pixels", "values", "span"} & set(one.__dataclass_fields__)
        assert names and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("is_light", [False, True])
def test_a_frame_that_is_nearly_black_is_the_jobs(tmp_path: Path, page: Page, light: Path, is_light: bool) -> None:
    path = tmp_path / "black.mp4"
    path.write_bytes(clip([street(number, 320, 180, level=0.12) for number in range(12)], params="crf=30"))
    weights = light if is_light else DEFAULT_WEIGHTS["plus"]
    checkpoint = load(weights)
    frames = list(VideoPreview.of(Storage(), str(path)).frames(Estimator(checkpoint, checkpoint.estimate_size), 0))
    frame = frames[5]
    assert frame.cells.values[1, ..., 2].min() < 0.5  # there is something that the camera did not see
    maps, cells = _untextured(frame, 320)
    sent = np.asarray(Image.open(BytesIO(frame.jpeg())))
    job = Enhancer(checkpoint, estimate_size=None)._applied(sent, maps, cells)
    with _served(path, weights=weights) as server:
        _opened(page, server, "black.mp4")
        page.locator("#scrubber").fill("5")
        expect(page.locator("#time")).to_contain_text("0:00.20")
        shown = _at(page, 8).astype(int)
    assert np.abs(shown - job).max() <= NEAR
    if not is_light:
        settings = VideoSettings(estimate_size=checkpoint.estimate_size, encode=EncodeSettings(crf=1))
        assert np.abs(shown - rgb(done("black.mp4", path.read_bytes(), settings=settings)[1])[5]).mean() < NEAR


def _untextured(frame: FramePreview, width: int) -> tuple[CurveMaps, Cells]:
    """Maps and cells of a frame that is not reduced, as they were before textures were made of them."""
    maps_1KMHW = torch.from_numpy(frame.maps.values).float().permute(0, 3, 1, 2)[None]
    cells_1Phw = torch.from_numpy(frame.cells.values).float().permute(0, 3, 1, 2).flatten(0, 1)[None]
    factor, side = (
        round(width / (span[0] * values.shape[2]))
        for span, values in ((frame.maps.span, frame.maps.values), (frame.cells.span, frame.cells.values))
    )
    return CurveMaps((maps_1KMHW,), factor), Cells(cells_1Phw, side, frame.cells.black)


@pytest.mark.slow
@pytest.mark.parametrize("matrix", QUARTER_TURNS)
def test_a_clip_that_is_to_be_turned_is_shown_upright(tmp_path: Path, page: Page, matrix: tuple[int, ...]) -> None:
    path = tmp_path / "turned.mp4"
    path.write_bytes(clip(streets(3, width=310, height=182), display_matrix=matrix))
    checkpoint = load(DEFAULT_WEIGHTS["dce"])
    [frame, *_] = VideoPreview.of(Storage(), str(path)).frames(Estimator(checkpoint, 128), 0)
    job = Enhancer(checkpoint, estimate_size=128)
    stored = [frame.pixels, job.apply(frame.pixels, job.estimate([frame.pixels])[0])]
    with _served(tmp_path) as server:
        _opened(page, server, "turned.mp4")
        for pixels, iterations in zip(stored, (0, 8), strict=True):
            shown = _at(page, iterations).astype(int)
            upright = np.rot90(pixels, frame.quarters)
            assert shown.shape == upright.shape
            assert np.abs(shown - upright).mean() < NEAR + 2 * (iterations > 0)  # not smoothed over time, no JPEG


@pytest.mark.slow
def test_what_cannot_be_shown_is_told_and_the_rest_goes_on(photos: Path, page: Page) -> None:
    (photos / "broken.jpg").write_bytes(jpeg(night())[:200])
    (photos / "empty.mp4").write_bytes(b"")
    name = "<img src=x onerror=alert(1)>&\"'.png"
    (photos / name).write_bytes(saved(night(), "PNG"))
    with _served(photos) as server:
        _opened(page, server, name)
        expect(page.locator("#command")).to_contain_text("nightlift enhance")
        for broken, told in (("broken.jpg", "damaged: "), ("empty.mp4", "empty: ")):
            page.locator("#file").select_option(label=broken)
            expect(page.locator("#status")).to_contain_text(told)
            expect(page.locator("#frame")).to_be_hidden()
            expect(page.locator("#mean-after")).to_have_text("")
        _opened(page, server, "small.png")


@pytest.mark.slow
def test_the_page_fits_a_phone(photos: Path, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    with _served(photos) as server:
        page.goto(server.address)
        expect(page.locator("#frame")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nobody_else_is_served(photos: Path) -> None:
    with _served(photos) as server:
        own = f"/{server.word}/"
        assert server.server_address[0] == "127.0.0.1"
        assert _ask(server, f"{own}exhibit")[0] == 200
        for path in ("/", "/exhibit", f"/{server.word}x/exhibit", f"{own}nothing"):
            assert _ask(server, path)[0] == 404
        for path in (
            "../pyproject.toml",
            "..%2f..%2fpyproject.toml",
            "files/99/image",
            "files/-1/image",
            "files//etc",
        ):
            assert _ask(server, own + path)[0] == 404
        assert _ask(server, f"{own}exhibit", Host="evil.example")[0] == 404
        assert _ask(server, f"{own}exhibit", "POST")[0] == 501
        assert _ask(server, f"{own}files/0/image")[0] == 400
        for network, estimate in (("none", "auto"), ("dce", "1e9"), ("dce", "0"), ("dce", "-64"), ("dce", "")):
            asked = f"{ASKED}&network={network}&estimate={estimate}"
            assert _ask(server, f"{own}files/0/maps?{asked}")[0] == 400
        assert _ask(server, f"{own}files/0/maps?{ASKED}&network=dce&estimate=64")[0] == 200


def test_a_bucket_is_looked_at(bucket: str) -> None:
    files = fsspec.filesystem("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], skip_instance_cache=True)
    files.pipe_file(f"{bucket.removeprefix('s3://')}/in/a b.jpg", jpeg(night()))
    files.pipe_file(f"{bucket.removeprefix('s3://')}/in/_nightlift/report.jpg", b"-")
    with _served(f"{bucket}/in") as server:
        exhibit = json.loads(_ask(server, f"/{server.word}/exhibit")[1])
        assert exhibit["files"] == [{"name": "a b.jpg", "video": False}]
        assert exhibit["src"] == f"{bucket}/in"
        assert _ask(server, f"/{server.word}/files/0/image?{ASKED}")[0] == 200


@pytest.mark.slow
def test_keys_go_on_after_a_click_and_a_file_that_fails_leaves_the_command(tmp_path: Path, page: Page) -> None:
    (tmp_path / "-empty.jpg").write_bytes(b"")
    (tmp_path / "photo.jpg").write_bytes(jpeg(night()))
    with _served(tmp_path / "-empty.jpg") as server:
        page.goto(server.address)
        expect(page.locator("#status")).to_contain_text("empty: ")
        expect(page.locator("#command")).to_have_text(f"nightlift images {tmp_path}/-empty.jpg OUT")
    with _served(tmp_path) as server:
        _opened(page, server, "photo.jpg")
        page.locator("#strip button").nth(3).click()
        page.keyboard.press("ArrowUp")
        expect(page.locator("#iterations")).to_have_value("4")
        page.locator("#actual").focus()
        page.keyboard.press(" ")
        expect(page.locator("#actual")).not_to_be_checked()


def test_a_place_without_media_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("-")
    with pytest.raises(UsageError, match="no photos or videos"):
        exhibit_of(PreviewConfig(src=str(tmp_path)))


def test_the_command_tells_its_address_and_ends_by_ctrl_c(photos: Path) -> None:
    command = [sys.executable, "-m", "jobs.preview", str(photos), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert "6 files to preview: http://127.0.0.1:" in job.stdout.readline()
        job.stdout.readline()
        try:
            job.send_signal(signal.SIGINT)
            assert job.wait(30) == 0
        finally:
            job.kill()
