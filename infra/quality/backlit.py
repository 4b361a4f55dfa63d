"""Measure how well networks brighten photos that are partly in shade. The shade is generated.

    python infra/quality/backlit.py PHOTOS [--weights dce plus FILE ...]

In linear light, a smooth mask darkens a third to a half of each photo by 3 to 5 stops and adds the noise of a sensor;
the rest of the photo is unchanged. The result is stored in 8 bits. PHOTOS is a folder with its subfolders; each photo
is used with MASKS masks. The enhanced photo is compared with the original photo:

    dark     PSNR where the mask is above 0.9
    whole    PSNR of the whole photo
    curve    PSNR of the whole photo under the best single tone curve, fitted to the original photo: its eight steps are
             free, and the same for every pixel
    isotonic the same for any rising curve: the upper limit of what a single curve can do
    bright   change of the mean where the mask is below 0.05
    halo     mean absolute difference of the blurred brightness from the original photo along the edge of the mask

With the same masks, but with sharp edges, as silhouettes have them:

    rim      mean brightness error of a shaded part 2 to 24 pixels from its edge, minus that beyond 40 pixels; below 0
             if the part has a dark rim
    glow     the same for the lit part
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
MEAN = 0.2, 0.7  # range of mean brightness of the photos that are used
BLUR_PX = 9
MASKS = 3  # for each photo
NEAR_PX, FAR_PX = (2, 24), 40  # from a sharp edge


@dataclass(frozen=True, slots=True)
class Case:
    """A photo with a generated shade."""

    name: str
    shaded: npt.NDArray[np.uint8]
    photo: Floats
    """The original photo, HxWx3 in [0, 1]."""
    mask: Floats
    """Share of the shade on each pixel, HxW in (0, 1)."""

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
    """Yield up to MASKS cases for each photo below `folder` that is neither dark nor bright.

    Cases without anything to measure are left out. The same photo always gives the same cases, whatever its name and
    whatever other files there are. `sharp`: use masks without soft edges.
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
    """Generate a smooth mask: clouds, a half plane, or an ellipse. Returns HxW in (0, 1)."""
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
    """Compute the scores of a case with soft edges. `enhanced`: HxWx3 in [0, 1]."""
    miss = enhanced - case.photo
    return {
        "dark": psnr(miss[case.dark]),
        "whole": psnr(miss),
        "bright": abs(float(miss[case.bright].mean())),
        "halo": float(np.abs(blurred(miss.mean(2)))[case.edge].mean()),
    }


def edge_score(case: Case, enhanced: Floats) -> dict[str, float]:
    """Compute the scores of a case with sharp edges; NaN if a part has no pixel beyond FAR_PX from its edge."""
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
    """Return the photo under eight steps of the curve, the same for every pixel, fitted to the original photo."""
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
    """Return the photo under the best rising curve, by isotonic regression with pooling of adjacent violators."""
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
    parser.add_argument("photos", type=Path, help="folder with photos")
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["dce", "plus"],
        help="networks to measure: dce, plus, or weights files (default: dce plus)",
    )
    options = parser.parse_args()
    every, sharp = list(cases(options.photos)), list(cases(options.photos, sharp=True))
    if not every:
        parser.error(f"{options.photos}: no photos there of mean brightness {MEAN[0]} to {MEAN[1]}")
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
