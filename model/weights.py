"""Network weights on disk: load, to_bytes, fingerprint.

Our own files are safetensors whose metadata holds all that inference needs to know. The original authors' `.pth`
files load too (without executing code): they have the published layout and no metadata.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from model.dce_net import PUBLISHED_DCE, PUBLISHED_PLUS, Architecture, CurveNetwork, Variant, build

FORMAT = "nightlift-1"
DEFAULT_WEIGHTS: dict[Variant, Path] = {
    "dce": Path(__file__).parent / "weights" / "dce.safetensors",
    "plus": Path(__file__).parent / "weights" / "plus.safetensors",
}

LEAST_WEIGHT = 1e-20  # smaller ones have no effect beside others, and the product of two must not be denormal

EstimateSize = int | Literal["auto", "full"]
"""Long side in pixels of the reduced copy, as users give it; `auto`: what the network was trained for."""

# What readers raise on files of other kinds, and on empty and truncated ones
BROKEN = (
    SafetensorError,
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


REMEDY = "give the weights.safetensors of a training by nightlift, or a published Zero-DCE .pth"


class WeightsError(ValueError):
    """Error for a weights file that is missing, broken, or of another kind of network. The message names the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A network and the metadata of its file."""

    network: CurveNetwork
    estimate_size: int | None
    """Long side in pixels of the reduced copy it was trained for; None: full size."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Further metadata: what it was trained on, with which settings and scores."""

    def estimate_size_for(self, asked: EstimateSize) -> int | None:
        """Return the long side in pixels that `asked` stands for; None: full size."""
        if asked == "auto":
            return self.estimate_size
        return None if asked == "full" else asked


def load(path: Path) -> Checkpoint:
    """Read a `.safetensors` file of ours or a published `.pth` file. Raises WeightsError."""
    if not path.is_file():
        shipped = DEFAULT_WEIGHTS.get(str(path))  # type: ignore[call-overload]
        hint = f"; for the default weights use --variant {path} ({shipped})" if shipped else ""
        raise WeightsError(f"{path}: no such weights file; give a .safetensors or .pth file{hint}")
    try:
        checkpoint = _load_published(path) if path.suffix == ".pth" else _load_own(path)
    except BROKEN as error:
        if isinstance(error, WeightsError):
            raise WeightsError(f"{error}; {REMEDY}") from error
        if isinstance(error, pickle.UnpicklingError):  # torch's own message is a page long
            found = "torch finds no weights in it, or finds other objects than weights"
        else:
            found = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(f"{path}: not weights of a DCE-Net ({found}); {REMEDY}") from error
    checkpoint.network.eval()
    return checkpoint


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Return the content of a safetensors file of `checkpoint`."""
    metadata = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(checkpoint.network.architecture)),
        "estimate_size": json.dumps(checkpoint.estimate_size),
        **checkpoint.notes,
    }
    tensors = {
        name: tensor.detach().float().cpu().contiguous() for name, tensor in checkpoint.network.state_dict().items()
    }
    return serialize(tensors, metadata)


def fingerprint(checkpoint: Checkpoint) -> str:
    """Return a short hash of the weights, layout and estimate size; equal for equal networks, whatever the file."""
    digest = hashlib.sha256(repr((checkpoint.network.architecture, checkpoint.estimate_size)).encode())
    for name, tensor in sorted(checkpoint.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _load_own(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        if metadata.pop("format", None) != FORMAT:
            raise WeightsError(
                f"{path}: a safetensors file that nightlift did not write (its metadata lacks format {FORMAT})"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    layout = json.loads(metadata.pop("architecture"))
    architecture = Architecture(**layout | {"dilations": tuple(layout.get("dilations", PUBLISHED_DCE.dilations))})
    estimate_size = json.loads(metadata.pop("estimate_size"))
    return Checkpoint(network=_fill(architecture, tensors), estimate_size=estimate_size, notes=metadata)


def _load_published(path: Path) -> Checkpoint:
    published = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(published, Mapping) or not all(isinstance(name, str) for name in published):
        raise WeightsError(f"{path}: not weights of a DCE-Net (it contains no named tensors)")
    separable = any("depth_conv" in name for name in published)
    renamed = {_own_name(name): tensor for name, tensor in published.items()}
    network = _fill(PUBLISHED_PLUS if separable else PUBLISHED_DCE, renamed)
    return Checkpoint(network=network, estimate_size=None, notes={"origin": path.name})


def _own_name(published: str) -> str:
    return published.replace("e_conv", "conv").replace("depth_conv", "0").replace("point_conv", "1")


def _fill(architecture: Architecture, tensors: Mapping[str, Tensor]) -> CurveNetwork:
    """Build a network with these weights, setting negligible ones to 0.

    Weight decay shrinks unused weights to denormal numbers, with which processors are slow: a network takes four to
    twelve times as long.
    """
    network = build(architecture)
    network.load_state_dict(
        {name: tensor.where(tensor.abs() > LEAST_WEIGHT, torch.zeros_like(tensor)) for name, tensor in tensors.items()}
    )
    return network
