"""In which floating-point numbers the network computes."""

from typing import Literal

import torch
from llvmlite.binding import get_host_cpu_features

Precision = Literal["auto", "fp32", "bf16"]

CPU_FEATURES = "avx512bf16", "amx-bf16", "bf16"  # LLVM's names, the last for ARM


def has_fast_bf16(device: str) -> bool:
    """Whether this machine's GPU, or its processor, computes in bf16 itself. `device`: a torch device."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in CPU_FEATURES)
