"""Local light, in numbers: photos of which a part lies in shade, made by code, and how well the shade is undone.

    python infra/quality/backlit.py PHOTOS [--weights dce plus FILE ...]

In linear light a smooth mask takes 3 to 5 stops from a third to a half of each photo, with the noise of a sensor,
stored in 8 bits; the rest is untouched. PHOTOS is a folder, with all below it; each photo is shown under MASKS masks.
The result is measured against the untouched photo:

    dark     PSNR where the mask is above 0.9
    whole    PSNR of the whole photo
    curve    PSNR of the whole photo under the best single tone curve, solved with the untouched photo in hand: its
             eight steps are free, and the same for every pixel
    isotonic the same for any curve that rises, the bound of what one curve can do
    bright   change of the mean where the mask is below 0.05
    halo     mean distance of the blurred brightness from the untouched photo's along the edge of the mask

and under the same masks with sharp edges, as of silhouettes:

    rim      how much brighter a shaded part comes out 2 to 24 pixels from its edge than beyond 40: below 0 where it has
             a dark rim
    glow     the same of the lit part
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt

from model import DEFAULT_WEIGHTS, Enhancer, apply_curve, load
from model.training.augment import to_linear, to_srgb

Floats = npt.NDArray[np.float64]
Region = npt.NDArray[np.bool_]  # HxW
LONG_SIDE_PX = 560
STOPS = 3.0, 5.0
SHARE = 1 / 3, 1 / 2
EDGE = 0.01, 0.05  # width of the mask's edge, as a share of the photo's long side
SHOT_VARIANCE, READ_VARIANCE = 2e-4, 1e-6  # of linear light
MEAN = 0.2, 0.7  # brightness of the photos that serve
BLUR_PX = 9
MASKS = 3  # for each photo
NEAR_PX, FAR_PX = (2, 24), 40  # from a sharp edge


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    shaded: npt.NDArray[np.uint8]
    photo: Floats
    """The untouched photo, HxWx3 in [0, 1]."""
    mask: Floats
    """HxW in (0, 1): how much of the shade falls on each pixel."""

    @property
    def dark(self) -> Region:
        return self.mask > 0.9

    @property
    def bright(self) -> Region:
        return self.mask < 0.05

    @property
    def edge(self) -> Region:
        return (self.mask > 0.02) & (self.mask < 0.98)


def cases(folder: Path, *, sharp: bool = False) -> Iterator[Case]:
    """MASKS for each photo below `folder` that is neither dark nor bright, where they leave something to measure.

    The same photos give the same cases, whatever their names and whatever lies beside them. `sharp`: masks without
    soft edges.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp") or not path.is_file():
            continue
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            image.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX))
            photo = np.asarray(image.convert("RGB")) / 255
        if not MEAN[0] < photo.mean() < MEAN[1]:
            continue
        for number in range(MASKS):
            seed = sha256(content + (bytes([number]) if number else b"")).digest()
            rng = np.random.default_rng(int.from_bytes(seed))
            mask = shade(*photo.shape[:2], rng)
            mask = (mask > 0.5).astype(float) if sharp else mask
            light = to_linear(torch.from_numpy(photo)).numpy() * 2 ** (-rng.uniform(*STOPS) * mask)[..., None]
            deviation = np.sqrt(mask[..., None] * (SHOT_VARIANCE * light + READ_VARIANCE))
            noisy = light + deviation * rng.standard_normal(light.shape)
            shaded = (to_srgb(torch.from_numpy(noisy)) * 255).round().byte().numpy()
            case = Case(str(path.relative_to(folder)), shaded, photo, mask)
            if case.dark.any() and case.bright.any() and (sharp or case.edge.any()):
                yield case


def shade(height: int, width: int, rng: np.random.Generator) -> Floats:
    """A smooth mask: clouds, a half plane, or an ellipse."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    kind = rng.integers(3)
    if kind == 0:
        knots = torch.from_numpy(rng.standard_normal((1, 1, 5, 5)))
        field = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)[0, 0].numpy() / 6
    elif kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        field = np.cos(angle) * x + np.sin(angle) * y
    else:
        centre = rng.uniform(0.3, 0.7, 2) * (height, width) / max(height, width)
        field = -np.hypot((y - centre[0]) * rng.uniform(0.7, 1.4), x - centre[1])
    edge = np.quantile(field, 1 - rng.uniform(*SHARE))
    steepness = 2.5 / rng.uniform(*EDGE)
    return 1 / (1 + np.exp(-np.clip((field - edge) * steepness, -50, 50)))


def score(case: Case, enhanced: Floats) -> dict[str, float]:
    """`enhanced`: HxWx3 in [0, 1]."""
    miss = enhanced - case.photo
    return {
        "dark": psnr(miss[case.dark]),
        "whole": psnr(miss),
        "bright": abs(float(miss[case.bright].mean())),
        "halo": float(np.abs(blurred(miss.mean(2)))[case.edge].mean()),
    }


def edge_score(case: Case, enhanced: Floats) -> dict[str, float]:
    """Of a case with sharp edges; NaN where a part has no pixel so far from its edge."""
    miss, told = (enhanced - case.photo).mean(2), {}
    for name, part in (("rim", case.dark), ("glow", case.bright)):
        distance = distance_transform_edt(part)
        near, far = (distance >= NEAR_PX[0]) & (distance <= NEAR_PX[1]), distance > FAR_PX
        told[name] = float(miss[near].mean() - miss[far].mean()) if far.any() else np.nan
    return told


def psnr(miss: Floats) -> float:
    return float(10 * np.log10(1 / max((miss**2).mean(), 1e-12)))


def blurred(grey: Floats) -> Floats:
    padded = F.pad(torch.from_numpy(grey)[None, None], [BLUR_PX // 2] * 4, mode="replicate")
    return F.avg_pool2d(padded, BLUR_PX, 1)[0, 0].numpy()


def best_curve(case: Case) -> Floats:
    """The photo under eight steps of the curve that are the same for every pixel, fitted to the untouched photo."""
    levels = torch.arange(256, dtype=torch.float64).view(1, 1, 1, 256) / 255
    shaded = torch.from_numpy(case.shaded.astype(np.int64)).flatten()
    wanted = torch.from_numpy(case.photo).flatten()
    count = torch.bincount(shaded, minlength=256).double()
    total = torch.bincount(shaded, weights=wanted, minlength=256)
    best, table = np.inf, levels.flatten()
    for start in (-1.0, -0.3, 0.1):
        free = torch.full((8,), start, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

        def curve(free: torch.Tensor = free) -> torch.Tensor:
            return apply_curve(levels, torch.tanh(free).view(1, 8, 1, 1, 1), 8).flatten()

        def miss(optimizer: torch.optim.Optimizer = optimizer, curve=curve) -> torch.Tensor:  # type: ignore[no-untyped-def]
            optimizer.zero_grad()
            loss: torch.Tensor = (count * curve().square() - 2 * total * curve()).sum() / count.sum()
            loss.backward()
            return loss

        optimizer.step(miss)
        if (found := miss().item()) < best:
            best, table = found, curve().detach()
    return table.numpy()[case.shaded]


def best_rising_curve(case: Case) -> Floats:
    """The photo under the best of all curves that rise: isotonic regression by pooling neighbours that violate it."""
    count = np.bincount(case.shaded.ravel(), minlength=256)
    total = np.bincount(case.shaded.ravel(), weights=case.photo.ravel(), minlength=256)
    pools: list[tuple[float, int, list[int]]] = []
    for level in np.flatnonzero(count):
        pool = (float(total[level]), int(count[level]), [int(level)])
        while pools and pools[-1][0] / pools[-1][1] >= pool[0] / pool[1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2] + pool[2])
        pools.append(pool)
    table = np.zeros(256)
    for sum_, number, levels in pools:
        table[levels] = sum_ / number
    return table[case.shaded]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--weights", nargs="+", default=["dce", "plus"], help="dce, plus, or files")
    options = parser.parse_args()
    every, sharp = list(cases(options.photos)), list(cases(options.photos, sharp=True))
    if not every:
        parser.error(f"{options.photos}: no photos there that serve")
    print(f"{len(every)} cases, {len(sharp)} with sharp edges")
    bounds = {
        "curve": np.mean([psnr(best_curve(case) - case.photo) for case in every]),
        "isotonic": np.mean([psnr(best_rising_curve(case) - case.photo) for case in every]),
    }
    print("whole photo:", {name: round(float(bound), 2) for name, bound in bounds.items()})
    for name in options.weights:
        checkpoint = load(DEFAULT_WEIGHTS.get(name, Path(name)))
        enhancer = Enhancer(checkpoint, estimate_size=checkpoint.estimate_size)
        scores = [score(case, enhancer.enhance([case.shaded])[0] / 255) for case in every]
        edges = [edge_score(case, enhancer.enhance([case.shaded])[0] / 255) for case in sharp]
        means = {key: np.nanmean([one[key] for one in each]) for each in (scores, edges) for key in each[0]}
        print(f"{name}:", {key: round(float(mean), 3) for key, mean in means.items()})


if __name__ == "__main__":
    main()
