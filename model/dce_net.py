"""DCE-Net: the networks that estimate the curve maps of an image.

There are two of one shape (Guo et al., "Zero-Reference Deep Curve Estimation for Low-Light Image
Enhancement", CVPR 2020; Li et al., "Learning to Enhance Low-Light Image via Zero-Reference Deep Curve
Estimation", TPAMI 2021): seven convolutions of 32 features, the last three of which also see an earlier
layer. `DCENet` uses plain convolutions, `DCENetPlus` depthwise separable ones.

An `Architecture` adds six options to the published layout, all recorded in a checkpoint: replicate padding (no dark
borders), encoded input (dark values spread apart), global context (the network knows how dark the whole photo is),
dilated convolutions (it sees how dark the surroundings are, at no cost), one map for all three channels (grey stays
grey by construction), and a curve that acts on light (see `curve/light.py`) with maps that follow edges (see
`curve/bilateral_grid.py`).

Tensor suffixes: B batch, C colour channels, F features, K maps, M channels of a map (3, 1, or 2: of shade and of
light), H height, W width, h and w those of the maps.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.curve.bilateral_grid import fitted_to_grid
from model.curve.light import Space, luma_of

FEATURES = 32
INITIAL_STD = 0.02  # of every convolution's weights, as published

Variant = Literal["dce", "plus"]
Padding = Literal["zeros", "replicate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Layout of a network, as its checkpoint records it. The defaults are the published DCE-Net."""

    variant: Variant = "dce"
    """`dce`: plain convolutions; `plus`: depthwise separable ones."""
    maps: int = 8
    """Number of curve maps, one for each step of the curve; further steps repeat the last map."""
    map_channels: Literal[1, 3] = 3
    """3: a map for each colour channel; 1: one map for all three."""
    padding: Padding = "zeros"
    """Padding of the convolutions at the border."""
    encoded: bool = False
    """Feed `2 (x + 1e-4)^0.4 - 1` in place of x."""
    context: bool = False
    """Add a projection of the third layer's global mean and deviation to the fourth layer."""
    dilations: tuple[int, ...] = (1,) * 7
    """Distance in pixels between the taps of each convolution."""
    space: Space = "srgb"
    """What the curve acts on: the values of each channel (`srgb`) or the light of luma; see `curve/light.py`."""
    grid_px: int = 4
    """Pixels along each side of a cell of the bilateral grid that maps are fitted to; `light` only."""

    def __post_init__(self) -> None:
        if self.variant not in ("dce", "plus"):
            raise ValueError(f"variant is {self.variant!r}; it must be 'dce' or 'plus'")
        if self.padding not in ("zeros", "replicate"):
            raise ValueError(f"padding is {self.padding!r}; it must be 'zeros' or 'replicate'")
        if self.maps < 1 or self.map_channels not in (1, 3):
            raise ValueError(
                f"{self.maps} maps of {self.map_channels} channels; need 1 or more maps of 1 or 3 channels"
            )
        if len(self.dilations) != 7 or min(self.dilations) < 1:
            raise ValueError(f"dilations are {self.dilations}; need seven numbers of 1 or more")
        if self.space not in ("srgb", "light") or (self.space == "light" and self.map_channels != 1):
            raise ValueError(f"space is {self.space!r}; it must be 'srgb', or 'light' with maps of 1 channel")
        if self.grid_px < 1:
            raise ValueError(f"grid_px is {self.grid_px}; it must be 1 or more")

    @property
    def map_px(self) -> int:
        """Return how many pixels of the image one pixel of the maps covers along each side."""
        return self.grid_px if self.space == "light" else 1


PUBLISHED_DCE = Architecture()
PUBLISHED_PLUS = Architecture(variant="plus", maps=1)


class Convolution(nn.Conv2d):
    """3x3 convolution, plain or depthwise, that keeps height and width.

    In training on a CPU, the same sums are computed in another way, whose gradient takes much less time.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int, padding: Padding, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=dilation, dilation=dilation, groups=groups, padding_mode=padding)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        reach, height, width = self.dilation[0], *x_BFHW.shape[2:]
        repeats = self.padding_mode == "replicate"
        # A dilated depthwise convolution is computed in parts without dilation: the gradient of the whole is slow in
        # oneDNN (torch 2.13), and wrong in channels last.
        step = reach if self.groups > 1 else 1
        if not (self.training and x_BFHW.device.type == "cpu" and (repeats or step > 1)):
            return super().forward(x_BFHW)
        if repeats and height == width == 1:  # all taps see the same pixel
            return F.conv2d(x_BFHW, self.weight.sum((2, 3), keepdim=True), self.bias, groups=self.groups)
        if not repeats:
            x_BFHW = F.pad(x_BFHW, (reach,) * 4)
        parts: Tensor = _Bordered.apply(x_BFHW, reach if repeats else 0, step)  # type: ignore[no-untyped-call]
        parts = F.conv2d(parts, self.weight, self.bias, dilation=reach // step, groups=self.groups)
        whole = _joined(parts, step)
        return whole if whole.shape[2:] == (height, width) else whole[:, :, :height, :width]


class _Bordered(torch.autograd.Function):
    """Features with a border of repeated pixels, in parts: every `step`th pixel of every `step`th row, from each start.

    Its gradient stays in channels last, which torch's padding does not, and so takes a tenth of the time.
    """

    @staticmethod
    def forward(ctx: Any, x_BFHW: Tensor, border: int, step: int) -> Tensor:
        batch, features, height, width = x_BFHW.shape
        rows, columns = (_places(side, border, step, x_BFHW.device) for side in (height, width))
        taken = (rows[:, None, :, None] * width + columns[:, None]).flatten()
        ctx.border, ctx.step, ctx.size = border, step, (height, width)
        parts = x_BFHW.permute(0, 2, 3, 1).reshape(batch, height * width, features).index_select(1, taken)
        return parts.view(batch * step**2, rows.shape[1], columns.shape[1], features).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        whole_BHWF = _joined(gradients[0], ctx.step).permute(0, 2, 3, 1)
        for dim, side in zip((1, 2), ctx.size, strict=True):
            before, inside, after = whole_BHWF.split([ctx.border, side, whole_BHWF.shape[dim] - ctx.border - side], dim)
            whole_BHWF = inside.clone(memory_format=torch.contiguous_format)
            whole_BHWF.select(dim, 0).add_(before.sum(dim))
            whole_BHWF.select(dim, -1).add_(after.sum(dim))
        return whole_BHWF.permute(0, 3, 1, 2), None, None


def _places(side: int, border: int, step: int, device: torch.device) -> Tensor:
    """Return, for each of `step` starts, the rows of an image that its part takes; beyond the image the nearest."""
    count = side + 2 * border
    places = torch.arange(count + -count % step, device=device).sub(border).clamp(0, side - 1)
    return places.view(-1, step).T


def _joined(parts: Tensor, step: int) -> Tensor:
    """Return the features that these parts were split from, and what rounding up to whole parts has added."""
    if step == 1:
        return parts
    features, height, width = parts.shape[1:]
    pixels = parts.permute(0, 2, 3, 1).reshape(-1, step, step, height, width, features)
    whole = pixels.permute(0, 3, 1, 4, 2, 5).reshape(-1, height * step, width * step, features)
    return whole.permute(0, 3, 1, 2)


class GlobalContext(nn.Module):
    """Bias for each feature, computed from the means and standard deviations of all features over the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Linear(2 * FEATURES, FEATURES)
        self.expand = nn.Linear(FEATURES, FEATURES)

    def forward(self, features_BFHW: Tensor) -> Tensor:
        mean_BF, variance_BF = _Moments.apply(features_BFHW)  # type: ignore[no-untyped-call]
        # the small constant gives the root a gradient on flat images, whose variance is zero
        statistics = torch.cat([mean_BF, (variance_BF + 1e-6).sqrt()], dim=1)
        statistics = statistics.to(self.squeeze.weight.dtype)
        bias_BF = cast(Tensor, self.expand(torch.relu(self.squeeze(statistics))))
        return bias_BF[:, :, None, None]


class _Moments(torch.autograd.Function):
    """Mean and variance of each feature over the whole image, with their gradient in one pass."""

    @staticmethod
    def forward(ctx: Any, features_BFHW: Tensor) -> tuple[Tensor, Tensor]:
        # two means, as `var` takes as long as a convolution; in float32, as bf16 has too few digits
        exact_BFHW = features_BFHW.float()
        mean_BF11 = exact_BFHW.mean(dim=(2, 3), keepdim=True)
        variance_BF = (exact_BFHW - mean_BF11).square().mean(dim=(2, 3))
        ctx.save_for_backward(features_BFHW, mean_BF11)
        return mean_BF11[:, :, 0, 0], variance_BF

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        features_BFHW, mean_BF11 = ctx.saved_tensors
        pixels = features_BFHW.shape[2] * features_BFHW.shape[3]
        of_mean, of_variance = (gradient[:, :, None, None] / pixels for gradient in gradients)
        slope = 2 * of_variance
        # in one pass: of_mean + slope (features - mean)
        gradient_BFHW = torch.addcmul(of_mean - slope * mean_BF11, features_BFHW.float(), slope)
        return gradient_BFHW.to(features_BFHW.dtype)


class CurveNetwork(nn.Module):
    """Base class of both networks: the wiring of seven convolutions, whose kind subclasses choose.

    Call it with `image_BCHW`, float32 RGB in [0, 1], whatever the weights' dtype; it returns `maps_BKMhw` in [-1, 1] of
    the same height and width, or for `light` float32 `maps_BK2hw` of the cells of a bilateral grid.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        wide = 2 * FEATURES
        dilations = architecture.dilations
        self.conv1 = self._convolution(3, FEATURES, dilations[0])
        self.conv2 = self._convolution(FEATURES, FEATURES, dilations[1])
        self.conv3 = self._convolution(FEATURES, FEATURES, dilations[2])
        self.conv4 = self._convolution(FEATURES, FEATURES, dilations[3])
        self.conv5 = self._convolution(wide, FEATURES, dilations[4])
        self.conv6 = self._convolution(wide, FEATURES, dilations[5])
        self.conv7 = self._convolution(wide, architecture.maps * architecture.map_channels, dilations[6])
        self.context = GlobalContext() if architecture.context else None
        self.apply(_draw_initial_weights)

    def _convolution(self, inputs: int, outputs: int, dilation: int) -> nn.Module:
        raise NotImplementedError

    def forward(self, image_BCHW: Tensor) -> Tensor:
        x = encode(image_BCHW) if self.architecture.encoded else image_BCHW
        x = x.to(next(self.parameters()).dtype)  # after the encoding, which spreads dark values apart
        x1 = torch.relu(self.conv1(x))
        x2 = torch.relu(self.conv2(x1))
        x3 = torch.relu(self.conv3(x2))
        x4 = self.conv4(x3)
        x4 = torch.relu(x4 if self.context is None else x4 + self.context(x3))
        x5 = torch.relu(self.conv5(torch.cat([x3, x4], dim=1)))
        x6 = torch.relu(self.conv6(torch.cat([x2, x5], dim=1)))
        flat = torch.tanh(self.conv7(torch.cat([x1, x6], dim=1)))
        maps: Tensor = flat.unflatten(1, (self.architecture.maps, self.architecture.map_channels))
        if self.architecture.space == "light":
            maps = fitted_to_grid(maps.float(), luma_of(image_BCHW), self.architecture.grid_px)
        return maps


class DCENet(CurveNetwork):
    """Plain 3x3 convolutions; 79,416 weights as published, 24 maps (eight for each channel)."""

    def _convolution(self, inputs: int, outputs: int, dilation: int) -> nn.Module:
        return Convolution(inputs, outputs, dilation, self.architecture.padding)


class DCENetPlus(CurveNetwork):
    """Depthwise separable convolutions; 10,561 weights as published, 3 maps (one for each channel)."""

    def _convolution(self, inputs: int, outputs: int, dilation: int) -> nn.Module:
        depth = Convolution(inputs, inputs, dilation, self.architecture.padding, groups=inputs)
        return nn.Sequential(depth, nn.Conv2d(inputs, outputs, 1))


def build(architecture: Architecture) -> CurveNetwork:
    """Build the network that `architecture` describes, with freshly drawn weights."""
    return DCENetPlus(architecture) if architecture.variant == "plus" else DCENet(architecture)


def encode(image: Tensor) -> Tensor:
    """Spread dark values apart: [0, 1] to about [-0.95, 1]."""
    return 2 * (image + 1e-4) ** 0.4 - 1


def _draw_initial_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, INITIAL_STD)
