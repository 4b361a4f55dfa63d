"""The network and its mathematics: torch in, torch out. No media files, no Ray, no codecs."""

from model.apply import Coding
from model.curve_maps import CurveMaps
from model.curves import apply_curve, reduction_factor
from model.dce_net import Architecture, CurveNetwork, DCENet, DCENetPlus, Variant, build
from model.enhancer import Enhancer
from model.floor import Floor, mean_floor
from model.light import Space
from model.look import Look
from model.precision import Precision, cuda_problem, has_fast_bf16, settled
from model.weights import DEFAULT_WEIGHTS, Checkpoint, EstimateSize, WeightsError, fingerprint, load, to_bytes

__all__ = [
    "DEFAULT_WEIGHTS",
    "Architecture",
    "Checkpoint",
    "Coding",
    "CurveMaps",
    "CurveNetwork",
    "DCENet",
    "DCENetPlus",
    "Enhancer",
    "EstimateSize",
    "Floor",
    "Look",
    "Precision",
    "Space",
    "Variant",
    "WeightsError",
    "apply_curve",
    "build",
    "cuda_problem",
    "fingerprint",
    "has_fast_bf16",
    "load",
    "mean_floor",
    "reduction_factor",
    "settled",
    "to_bytes",
]
