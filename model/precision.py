"""In which floating-point numbers the network computes."""

from typing import Literal

import torch
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from model.dce_net import Variant

Precision = Literal["auto", "fp32", "bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# LLVM's names of what makes bf16 faster than fp32, the last of ARM; on Intel's processors AVX-512's alone is slower
FAST, FAST_ON_AMD, AMD = ("amx-bf16", "bf16"), ("avx512bf16",), "znver"


def settled(asked: Precision, device: str, variant: Variant, *, fast_bf16: bool) -> Precision:
    """Return `fp32` or `bf16`. `auto` is bf16 where it pays: on a CPU for the plain network alone, as the separable one
    gains little. `fast_bf16`: whether the machines that compute are faster with it.
    """
    if asked != "auto":
        return asked
    pays = device.startswith("cuda") or variant == "dce"
    return "bf16" if pays and fast_bf16 else "fp32"


def has_fast_bf16(device: str) -> bool:
    """Whether this machine's GPU, or its processor, is faster in bf16. `device`: a torch device."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    fast = FAST_ON_AMD if get_host_cpu_name().startswith(AMD) else FAST
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in fast)


def cuda_problem() -> str:
    """Return why torch can use no GPU in this process, and what to do; "" where it can."""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build without CUDA; install one that has it on every node"
    return "" if torch.cuda.is_available() else "it finds none; check the driver on every node"


def use_exact_fp32() -> None:
    """In this process a GPU's convolutions in fp32 are that, and not of the ten bits of TF32."""
    torch.backends.cudnn.allow_tf32 = False
