import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import Architecture, Checkpoint, CurveMaps, Enhancer, Look, Space, apply_curve, build, fingerprint, precision
from model.curve.light import BT601, BT709, lift
from model.noise.cleaning import hold_back, seen_of

PLAIN = Look(denoise=0, floor="off")  # the curve alone


def _checkpoint(**architecture: object) -> Checkpoint:
    torch.manual_seed(3)
    network = build(Architecture(**architecture))  # type: ignore[arg-type]
    for parameter in network.parameters():
        parameter.data *= 4  # maps far enough from zero to be seen
    return Checkpoint(network=network, estimate_size=None)


def _photo(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    random = np.random.default_rng(height * width)
    coarse = random.integers(0, np.iinfo(dtype).max // 3, (height // 8 + 1, width // 8 + 1, channels))
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(dtype)


@torch.inference_mode()
def test_full_size_estimate_is_the_reference_exactly() -> None:
    checkpoint, photo = _checkpoint(), _photo(50, 70)
    x = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    expected = (apply_curve(x, checkpoint.network(x), 8)[0] * 255).round().permute(1, 2, 0).numpy()
    [enhanced] = Enhancer(checkpoint, PLAIN, estimate_size=None, precision="fp32").enhance([photo])
    np.testing.assert_array_equal(enhanced, expected)
    assert (enhanced != photo).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (5, 300, 3), (300, 5, 1), (33, 33, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("map_channels", [1, 3])
def test_shape_and_dtype_stay(shape: tuple[int, int, int], dtype: type, map_channels: int) -> None:
    photo = _photo(*shape, dtype=dtype)
    [enhanced] = Enhancer(_checkpoint(map_channels=map_channels), estimate_size=32).enhance([photo])
    assert (enhanced.shape, enhanced.dtype) == (photo.shape, photo.dtype)


def test_a_photo_may_be_enhanced_where_it_lies_and_a_read_only_one_is_not() -> None:
    enhancer, photo = Enhancer(_checkpoint(), estimate_size=32), _photo(60, 90)
    [apart] = enhancer.enhance([photo])
    read_only = photo.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(enhancer.enhance([read_only], in_place=True)[0], apart)
    np.testing.assert_array_equal(read_only, photo)
    lying = photo.copy()
    [enhanced] = enhancer.enhance([lying], in_place=True)
    assert np.shares_memory(enhanced, lying)
    np.testing.assert_array_equal(enhanced, apart)


def test_a_batch_of_many_sizes_equals_one_by_one() -> None:
    photos = [_photo(40, 60), _photo(90, 20), _photo(40, 60, 1), _photo(200, 300), _photo(60, 40)]
    enhancer = Enhancer(_checkpoint(context=True), estimate_size=32)
    for together, photo in zip(enhancer.enhance(photos), photos, strict=True):
        assert np.abs(together.astype(int) - enhancer.enhance([photo])[0]).max() <= 1


def test_the_network_sees_a_bounded_batch_however_many_images_there_are() -> None:
    photos = [_photo(60, 90, channels=(1, 3)[index % 2]) for index in range(9)] + [_photo(90, 90)] * 3
    enhancer = Enhancer(_checkpoint(), estimate_size=32)
    enhancer.batch_px = 2000
    alone = [enhancer.enhance([photo])[0] for photo in photos]
    seen: list[tuple[int, ...]] = []
    enhancer.network.register_forward_hook(lambda network, inputs, maps: seen.append(tuple(inputs[0].shape)))
    together = enhancer.enhance(photos)
    assert sorted(seen) == [(1, 3, 30, 30), (2, 3, 30, 30)] + [(3, 3, 20, 30)] * 3
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    seen.clear()
    assert len(enhancer.estimate(photos)) == 12
    assert max(batch * height * width for batch, _, height, width in seen) <= 2000


def _short_of_memory(enhancer: Enhancer, most_px: int) -> list[tuple[int, ...]]:
    """As on a GPU whose memory is enough for so many pixels in the network. Gives the shapes that it sees."""
    seen: list[tuple[int, ...]] = []

    def see(network: object, inputs: tuple[torch.Tensor]) -> None:
        seen.append(tuple(inputs[0].shape))
        if inputs[0][:, 0].numel() > most_px:
            raise torch.OutOfMemoryError

    enhancer.network.register_forward_pre_hook(see)
    return seen


def test_a_batch_that_finds_too_little_memory_is_halved_and_later_ones_are_no_larger() -> None:
    photos = [_photo(60, 90)] * 9
    enhancer = Enhancer(_checkpoint(), estimate_size=32, precision="fp32")
    alone = enhancer.enhance(photos[:1])[0]
    batches, halvings = list[int](), list[None]()
    enhancer.on_batch = lambda images, seconds: batches.append(images)
    enhancer.on_out_of_memory = lambda: halvings.append(None)
    seen = _short_of_memory(enhancer, most_px=3 * 20 * 30)
    for enhanced in enhancer.enhance(photos):
        assert np.abs(enhanced.astype(int) - alone).max() <= 1
    assert [shape[0] for shape in seen] == [9, 4, 2, 2, 2, 2, 1]
    assert (batches, len(halvings)) == ([2, 2, 2, 2, 1], 2)
    enhancer.estimate(photos[:4])
    assert (batches[5:], len(halvings)) == ([2, 2], 2)


def test_one_image_that_finds_too_little_memory_fails_alone() -> None:
    enhancer = Enhancer(_checkpoint(), estimate_size=64)
    _short_of_memory(enhancer, most_px=20 * 30)
    assert len(enhancer.estimate([_photo(20, 30)] * 2)) == 2
    with pytest.raises(torch.OutOfMemoryError):
        enhancer.estimate([_photo(60, 90)])
    assert len(enhancer.estimate([_photo(20, 30)])) == 1


def test_only_images_of_which_two_fit_share_a_batch() -> None:
    enhancer = Enhancer(_checkpoint(), estimate_size=32)
    enhancer.batch_px = 2 * 32 * 22
    assert enhancer.shares_batch(_photo(64, 44))
    assert not enhancer.shares_batch(_photo(64, 46))


def test_the_checkpoint_stays_the_callers() -> None:
    checkpoint = _checkpoint()
    before = fingerprint(checkpoint)
    Enhancer(checkpoint, estimate_size=None, precision="bf16")
    assert fingerprint(checkpoint) == before
    assert all(weights.requires_grad for weights in checkpoint.network.parameters())


def test_sixteen_bits_are_not_enhanced_as_eight() -> None:
    photo = _photo(40, 60, dtype=np.uint16)
    [enhanced] = Enhancer(_checkpoint(), estimate_size=32).enhance([photo])
    [coarse] = Enhancer(_checkpoint(), estimate_size=32).enhance([(photo // 257).astype(np.uint8)])
    assert np.abs(enhanced / 65535 - coarse / 255).max() < 0.01
    assert len(np.unique(enhanced)) > len(np.unique(coarse))


def test_strength_and_iterations_of_nothing_change_nothing() -> None:
    photo = _photo(40, 60)
    for look in (Look(strength=0), Look(iterations=0)):
        [enhanced] = Enhancer(_checkpoint(), look, estimate_size=32).enhance([photo])
        assert (enhanced == photo).all()


def test_two_passes_are_the_enhancement_of_the_enhanced() -> None:
    photo = _photo(40, 60, dtype=np.uint16)
    once = Enhancer(_checkpoint(), PLAIN, estimate_size=None, precision="fp32")
    [twice] = Enhancer(_checkpoint(), replace(PLAIN, passes=2), estimate_size=None, precision="fp32").enhance([photo])
    [by_hand] = once.enhance(once.enhance([photo]))
    assert np.abs(twice.astype(int) - by_hand).max() <= 4  # of 65535: the hand-made one is rounded in between


def _night(height: int, width: int, channels: int = 3, dtype: type = np.uint8, side: int = 16) -> np.ndarray:
    """Coarse dark patches with noise of one level of 8 bits. `side`: of a patch."""
    random = np.random.default_rng(4)
    patches = random.uniform(0.03, 0.2, (height // side + 1, width // side + 1, channels))
    patches = patches.repeat(side, 0).repeat(side, 1)
    noisy = patches[:height, :width] + random.normal(0, 0.004, (height, width, channels))
    return (noisy.clip(0, 1) * np.iinfo(dtype).max).round().astype(dtype)


def _brightening(rate: float = -0.38, **architecture: object) -> Checkpoint:
    """A network that lifts every photo alike: its last layer is all bias. `rate`: of every step of the curve."""
    checkpoint = _checkpoint(**architecture)
    *_, weight, bias = checkpoint.network.parameters()
    weight.data.zero_()
    bias.data.fill_(math.atanh(rate))
    return checkpoint


def brightening(look: Look = Look(), rate: float = -0.25, space: Space = "srgb") -> Enhancer:
    """Lifts every photo alike: shadows by `rate`, eight times."""
    return Enhancer(_brightening(rate, map_channels=1, space=space), look, estimate_size=32)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("channels", "map_channels"), [(3, 1), (3, 3), (1, 1), (1, 3)])
def test_denoising_smooths_what_was_lifted(dtype: type, channels: int, map_channels: int) -> None:
    """Luma in patches as small as 16 pixels, colour in those that are wider than its windows of 20."""
    checkpoint = _brightening(map_channels=map_channels)
    of_luma = np.array(BT709 if channels == 3 else (1,))[:, None]
    for side, weights in ((16, of_luma), (48, np.eye(channels))):
        photo = _night(4 * side, 6 * side, channels, dtype, side)
        looks = Look(denoise=0), Look(denoise=1)
        results = [Enhancer(checkpoint, look, estimate_size=32).enhance([photo])[0] for look in looks]
        assert {(each.shape, each.dtype) for each in results} == {(photo.shape, photo.dtype)}
        assert results[1].mean() == pytest.approx(results[0].mean(), rel=0.02)
        patches = [(each @ weights).reshape(4, side, 6, side, -1) for each in results]
        middle = slice(side // 3, side - side // 3)
        inside = [each[:, middle, :, middle].std(axis=(1, 3)).mean() for each in patches]
        assert inside[1] < 0.5 * inside[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_denoising_changes_nothing_where_the_curve_does_nothing(dtype: type) -> None:
    photo = _night(64, 96, dtype=dtype)
    [enhanced] = Enhancer(_checkpoint(), Look(strength=0, denoise=2), estimate_size=32).enhance([photo])
    assert (enhanced == photo).all()


@pytest.mark.parametrize("size", [(200, 130), (17, 400), (400, 7)])
def test_bands_of_the_reference_equal_the_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    photo = _night(*size, dtype=np.uint16)
    enhancer = Enhancer(_brightening(), Look(denoise=1, passes=2, strength=0.5), estimate_size=32)
    [maps] = enhancer.estimate([photo])
    cells = enhancer.cells(photo, maps)
    whole = enhancer._applied(photo, maps, cells)
    monkeypatch.setattr("model.enhancer.BAND_PX", 1)
    assert (enhancer._applied(photo, maps, cells) == whole).all()
    assert (whole != enhancer._applied(photo, maps)).any()


@pytest.mark.parametrize(
    ("name", "features", "fast"),
    [
        ("emeraldrapids", {"avx512bf16"}, False),
        ("emeraldrapids", {"avx512bf16", "amx-bf16"}, True),
        ("znver3", set(), False),
        ("znver5", {"avx512bf16"}, True),
        ("neoverse-v1", {"bf16"}, True),
    ],
)
def test_bf16_is_for_processors_that_are_faster_with_it(
    name: str, features: set[str], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "get_host_cpu_name", lambda: name)
    monkeypatch.setattr(precision, "get_host_cpu_features", lambda: dict.fromkeys(features, True))
    assert precision.has_fast_bf16("cpu") is fast


def test_bf16_is_close_to_fp32() -> None:
    photo = _photo(64, 64)
    [fine] = Enhancer(_checkpoint(), estimate_size=None, precision="fp32").enhance([photo])
    [coarse] = Enhancer(_checkpoint(), estimate_size=None, precision="bf16").enhance([photo])
    assert np.abs(fine.astype(int) - coarse).max() <= 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 17},
        {"iterations": -1},
        {"passes": 0},
        {"strength": 3.0},
        {"denoise": -0.1},
        {"denoise": 2.1},
        {"floor": "on"},
    ],
)
def test_looks_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Look(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_picture() -> None:
    photo = _photo(300, 400)
    [cpu] = Enhancer(_checkpoint(), estimate_size=64, precision="fp32").enhance([photo])
    [gpu] = Enhancer(_checkpoint(), estimate_size=64, precision="fp32", device="cuda").enhance([photo])
    assert np.abs(cpu.astype(int) - gpu).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("space", "map_channels"), [("light", 1), ("srgb", 1), ("srgb", 3)])
def test_luma_of_a_copy_is_that_of_the_enhanced_copy(space: Space, map_channels: int, dtype: type) -> None:
    for look in (Look(), Look(floor="off", denoise=0), Look(iterations=3, passes=2), Look(iterations=0)):
        enhancer = Enhancer(_brightening(map_channels=map_channels, space=space), look, estimate_size=32)
        copy = _night(37, 54, 3, dtype)
        channels = 2 if space == "light" else map_channels
        passes = tuple(torch.rand(1, 8, channels, *copy.shape[:2]) - 0.7 for _ in range(look.passes))
        fitted = replace(enhancer.estimate([copy])[0], passes=passes, factor=1)
        white = float(np.iinfo(dtype).max)
        x = torch.from_numpy(copy / white).float().permute(2, 0, 1)[None]
        lifted = lift(x, fitted.passes, look.iterations, space)
        if fitted.floor is not None:
            lifted = hold_back(lifted, x, seen_of(x, fitted.floor), fitted.floor.black)
        expected = np.array(BT601) @ lifted.mean(dim=(0, 2, 3)).numpy()
        assert enhancer.luma(copy, fitted) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [(9, 17), (36, 64), (37, 63), (5, 7), (1, 1), (4, 40)])
def test_maps_are_fitted_by_averages_of_what_a_pixel_touches(size: tuple[int, int]) -> None:
    maps = torch.rand(1, 8, 2, 9, 16)
    fitted = CurveMaps((maps,), 4).fitted(*size)
    expected = torch.nn.functional.adaptive_avg_pool2d(maps[0], size)
    torch.testing.assert_close(fitted.passes[0][0], expected, rtol=0, atol=1e-6)
    assert fitted.factor == 1
