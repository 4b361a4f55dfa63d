"""The network and its mathematics: torch in, torch out, without media files, Ray or codecs."""

from model.compiled import has_machine_code, kernel_folder, load_numba
from model.curve.light import Space
from model.curve.reference import apply_curve, reduction_factor
from model.curve_maps import CurveMaps
from model.dce_net import Architecture, CurveNetwork, DCENet, DCENetPlus, Variant, build
from model.enhancer import Enhancer
from model.full_size.cpu import Coding
from model.noise.floor import Floor, mean_floor
from model.precision import Precision, cuda_problem, has_fast_bf16, resolve_precision
from model.settings import Look
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
    "has_machine_code",
    "kernel_folder",
    "load",
    "load_numba",
    "mean_floor",
    "reduction_factor",
    "resolve_precision",
    "to_bytes",
]
