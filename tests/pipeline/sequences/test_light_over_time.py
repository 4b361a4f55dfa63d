"""The light of a sequence, without photos: the same maps in whatever order and pieces they are asked for."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest
import torch

from model import Architecture, Checkpoint, CurveMaps, Enhancer, build
from model.noise.floor import NO_FLOOR
from pipeline.images.seen.borders import Box, whole
from pipeline.records import Place, Record
from pipeline.sequences.light_over_time import Light, LightOverTime, inside_most

COUNT = 60
HEIGHT, WIDTH = 64, 96
Lights = dict[str, Light | None]


@cache
def _enhancer() -> Enhancer:
    torch.manual_seed(0)
    return Enhancer(Checkpoint(network=build(Architecture(map_channels=1)), estimate_size=32), estimate_size=32)


def _lights(scenes: int = 1, *, jitter: float = 0.1) -> Lights:
    """Photos of as many places, one after the other, whose exposure and maps waver."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, 60, (scenes, HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 1).repeat(8, 2)
    lights: Lights = {}
    for rank in range(COUNT):
        copy = (places[rank * scenes // COUNT] * rng.uniform(1 - jitter, 1 + jitter)).astype(np.uint8)
        maps = torch.full((1, 8, 1, 4, 6), -0.6 * rng.uniform(1 - jitter, 1 + jitter))
        lights[f"{rank:03d}"] = Light(copy, copy, CurveMaps((maps,), 16), (64, 96), True, 20.0 * rank, whole(copy))
    return lights


def _record(urls: list[str], rank: int) -> Record:
    return Record(source=urls[rank], version="", size_bytes=0, destination="", place=Place(tuple(urls), rank))


def _strengths(lights: Lights, order: list[int] | range) -> dict[int, float | None]:
    """Of the maps that each photo gets; None: it gets none."""
    over_time, urls = LightOverTime(lambda url, box: lights[url], _enhancer()), list(lights)
    found = {}
    for rank in order:
        smoothed = over_time.smoothed(_record(urls, rank))
        found[rank] = None if smoothed is None else float(smoothed.maps.passes[0].mean())
    return found


def _lumas(lights: Lights, strengths: dict[int, float | None]) -> np.ndarray:
    """Mean luma of each photo's copy under the maps that it gets, or under its own where there are none given."""
    lumas = []
    for rank, light in enumerate(lights.values()):
        assert light is not None
        maps = light.maps
        if strengths:
            maps = replace(maps, passes=(torch.full_like(maps.passes[0], strengths[rank]),))  # type: ignore[arg-type]
        lumas.append(_enhancer().luma(light.copy, maps.fitted(HEIGHT, WIDTH)))
    return np.array(lumas)


def _jitter(lumas: np.ndarray) -> float:
    return float(np.abs(lumas[1:-1] - (lumas[:-2] + lumas[2:]) / 2).mean() / lumas.mean())


def test_light_is_steady() -> None:
    lights = _lights(jitter=0.03)
    before, after = (_jitter(_lumas(lights, given)) for given in ({}, _strengths(lights, range(COUNT))))
    assert after < 0.25 * before


@pytest.mark.parametrize("harm", ["some damaged", "many in a row damaged", "two scenes", "pauses", "sizes"])
def test_pieces_and_order_make_no_difference(harm: str) -> None:
    lights = _lights(2 if harm == "two scenes" else 1)
    urls = list(lights)
    damaged = {"some damaged": [5, 30, 33, 59], "many in a row damaged": range(21, 30)}.get(harm, [])
    lights |= dict.fromkeys((urls[rank] for rank in damaged), None)
    for rank, url in enumerate(urls):
        light = lights[url]
        if light and harm == "pauses":
            lights[url] = replace(light, captured_s=20.0 * rank + 3600 * (rank // 13))
        elif light and harm == "sizes":
            lights[url] = replace(light, size=(64 + rank // 17, 96))
    straight = _strengths(lights, range(COUNT))
    shuffled = Random(1).sample(range(COUNT), 6)
    assert _strengths(lights, shuffled) == {rank: straight[rank] for rank in shuffled}
    resumed = [*range(7, 10), *range(31, 38)]
    assert _strengths(lights, resumed) == {rank: straight[rank] for rank in resumed}
    assert {rank for rank, strength in straight.items() if strength is None} == set(damaged)


def _starts(lights: Lights, ranks: range) -> list[int]:
    """Those of the ranks at which a scene begins: before them, nothing matters."""
    urls, whole = list(lights), _strengths(lights, range(ranks.stop))
    return [
        rank
        for rank in ranks
        if _strengths(dict.fromkeys(urls[:rank]) | {url: lights[url] for url in urls[rank:]}, [rank])[rank]
        == (whole[rank] or 0.0)
    ]


def test_scenes_end_where_picture_size_or_time_jumps() -> None:
    middle = COUNT // 2
    around = range(middle - 2, middle + 3)
    assert _starts(_lights(2), around) == [middle]
    of_two_sizes, paused, bursts = _lights(), _lights(), _lights()
    for rank, (url, light) in enumerate(_lights().items()):
        assert light is not None
        of_two_sizes[url] = replace(light, size=(64 if rank < middle else 65, 96))
        paused[url] = replace(light, captured_s=20.0 * rank + 600 * (rank >= middle))
        bursts[url] = replace(light, captured_s=float(rank % 3 + 3600 * (rank // 3)))  # three an hour, in three seconds
    assert _starts(of_two_sizes, around) == [middle]
    assert _starts(paused, around) == [middle]
    assert _starts(bursts, range(1, 10)) == [3, 6, 9]


def test_lost_photos_and_times_end_no_scene() -> None:
    lights: Lights = {}
    for rank, (url, light) in enumerate(_lights().items()):
        assert light is not None
        damaged, never_taken = rank in (10, 11), 3 * (rank > 14)
        captured_s = None if rank % 7 == 0 else 20.0 * (rank + never_taken)
        lights[url] = None if damaged else replace(light, captured_s=captured_s)
    assert _starts(lights, range(8, 17)) == []


def test_what_only_one_photo_shows_darkens_nothing_else() -> None:
    lights = _lights(jitter=0)
    url, light = list(lights.items())[COUNT // 2]
    assert light is not None
    visited = light.copy.copy()
    visited[20:40, 30:50] = 90  # an animal, close to the camera
    near = range(COUNT // 2 - 3, COUNT // 2 + 4)
    before, after = (
        _strengths(lights, near),
        _strengths(lights | {url: replace(light, whole=visited, copy=visited)}, near),
    )
    assert after == pytest.approx(before, rel=0.01)


def test_photos_of_another_kind_end_no_scene() -> None:
    """Infrared photos between others, and a second camera: each kind is smoothed as if the others were not there."""
    lights = _lights()
    rng = np.random.default_rng(3)
    others = {url: rank for rank, url in enumerate(lights) if rank in (10, 25, 26, 40) or rank % 7 == 3}
    other = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mixed: Lights = {
        url: replace(light, has_colour=False, whole=other, copy=other) if light and url in others else light
        for url, light in lights.items()
    }
    without, alone = (
        _strengths({url: light if (url in others) == kind else None for url, light in mixed.items()}, range(COUNT))
        for kind in (False, True)
    )
    found = _strengths(mixed, range(COUNT))
    assert found == {rank: alone[rank] if url in others else without[rank] for rank, url in enumerate(lights)}
    assert _strengths(mixed, [30, 25, 31]) == {rank: found[rank] for rank in (30, 25, 31)}


def test_borders_are_those_of_most_photos_and_hide_nothing_that_was_seen() -> None:
    size, framed, none = (100, 100), Box(10, 90, 0, 100), Box(0, 100, 0, 100)
    assert inside_most(none, [framed, framed, None], size) == framed
    assert inside_most(framed, [none, none], size) == inside_most(framed, [none], size) == none
    dark, moved = Box(25, 75, 0, 100), Box(12, 91, 0, 97)  # a dark sky, and a frame that moves with its camera
    assert inside_most(dark, [framed, framed, moved], size) == Box(10, 91, 0, 100)
    assert inside_most(moved, [framed, framed, dark], size) == Box(12, 91, 0, 100)


def test_photos_are_seen_inside_one_box_and_with_one_floor() -> None:
    framed, looks = Box(8, 56, 0, 96), []
    lights = _lights(jitter=0)
    for rank, (url, light) in enumerate(lights.items()):
        assert light is not None
        box = framed if rank % 3 else whole(light.copy)  # found in two of three photos
        floor = replace(NO_FLOOR, black=(2 + rank % 2) / 255)
        lights[url] = replace(light, box=box, maps=replace(light.maps, floor=floor))

    def light_of(url: str, box: Box | None) -> Light | None:
        looks.append(box)
        light = lights[url]
        return replace(light, box=box) if light and box else light

    over_time, urls = LightOverTime(light_of, _enhancer()), list(lights)
    found = [over_time.smoothed(_record(urls, rank)) for rank in range(COUNT)]
    assert {each.box for each in found if each} == {framed}
    assert len(looks) == COUNT + COUNT // 3 and set(looks) == {None, framed}
    blacks = [each.maps.floor.black * 255 for each in found if each and each.maps.floor]
    assert blacks[6:-6] == pytest.approx([2.5] * (COUNT - 12), abs=0.1)
