"""The floating-point format that the network computes in."""

from typing import Literal

import torch
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

Precision = Literal["auto", "fp32", "bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# LLVM's names of CPU features that make bf16 faster than fp32 (`bf16` is ARM's). AVX-512's is slower on Intel's CPUs.
FAST, FAST_ON_AMD, AMD = ("amx-bf16", "bf16"), ("avx512bf16",), "znver"


def resolve_precision(asked: Precision, *, fast_bf16: bool) -> Precision:
    """Return `fp32` or `bf16`: `auto` is what is faster. `fast_bf16`: whether that is bf16 where it is computed."""
    if asked != "auto":
        return asked
    return "bf16" if fast_bf16 else "fp32"


def has_fast_bf16(device: str) -> bool:
    """Return whether this machine's GPU or CPU is faster in bf16. `device`: a torch device."""
    if device == "mps":  # not measured
        return False
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    fast = FAST_ON_AMD if get_host_cpu_name().startswith(AMD) else FAST
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in fast)


def cuda_problem() -> str:
    """Return why torch can use no GPU in this process, and what to do about it; "" if it can use one."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build without CUDA; install one that has it on every node"
    return "" if torch.cuda.is_available() else "it finds none; check the driver on every node"


def use_exact_fp32() -> None:
    """Disable TF32 in this process, so that a GPU's fp32 convolutions keep more than its ten bits."""
    torch.backends.cudnn.allow_tf32 = False
