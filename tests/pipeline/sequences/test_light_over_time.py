"""The light of a sequence, without photos: the same maps in whatever order and pieces they are asked for."""

from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import pytest
import torch

from model import Architecture, Checkpoint, CurveMaps, Enhancer, build
from pipeline.records import Record
from pipeline.sequences.light_over_time import REACH, Light, LightOverTime

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
        lights[f"{rank:03d}"] = Light(copy, CurveMaps((maps,), 16), (64, 96, 3), 20.0 * rank)
    return lights


def _record(urls: list[str], rank: int) -> Record:
    before, after = urls[max(0, rank - REACH) : rank], urls[rank + 1 : rank + 1 + REACH]
    return Record(source=urls[rank], version="", size_bytes=0, destination="", before=tuple(before), after=tuple(after))


def _strengths(lights: Lights, order: list[int] | range) -> dict[int, float | None]:
    """Of the maps that each photo gets; None: it gets none."""
    over_time, urls = LightOverTime(lights.__getitem__, _enhancer()), list(lights)
    found = {}
    for rank in order:
        maps = over_time.maps_of(_record(urls, rank))
        found[rank] = None if maps is None else float(maps.passes[0].mean())
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
            lights[url] = replace(light, shape=(64 + rank // 17, 96, 3))
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
        of_two_sizes[url] = replace(light, shape=(64 if rank < middle else 65, 96, 3))
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
    before, after = _strengths(lights, near), _strengths(lights | {url: replace(light, copy=visited)}, near)
    assert after == pytest.approx(before, rel=0.01)
