"""The export job: `nightlift export DST.onnx`, or `python -m jobs.export DST.onnx` from a checkout."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jobs.flags import StorageOptions, check_estimate_size, check_ranges, loaded, optional, positional
from model import DEFAULT_WEIGHTS, EstimateSize, Variant
from model.curve.reference import MAX_ITERATIONS
from model.onnx_export import ExportError, is_export, largest_difference, missing_packages, to_onnx
from pipeline.errors import UsageError
from pipeline.storage.credentials import parse_options
from pipeline.storage.ownership import Claim, check_is_ours
from pipeline.storage.storage import Storage
from pipeline.storage.urls import WEB, absolute, protocol_of, redacted


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Write a network as an ONNX model: image in, enhanced image and curve maps out, for any batch and size.

    The file is compared with torch before it is written. Needs nightlift[onnx].

    Examples:
      nightlift export nightlift.onnx
      nightlift export mine.onnx --weights run/weights.safetensors

    Exit status: 0 written; 2 not written.
    """

    dst: Annotated[str, positional("DST")]
    """Path or URL (s3://, gs://, az://) of the .onnx file. Only a file that nightlift exported is replaced."""

    variant: Variant = "dce"
    """Network to export: dce, or plus (smaller and faster)."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """File of your own network, exported instead: .safetensors, or a published Zero-DCE .pth."""
    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16; fixed in the model."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees, 16 or more; fixed in the model.
    auto: the size that the weights were trained for; full: no reduction, as in the papers."""
    storage_options: StorageOptions = "{}"

    def __post_init__(self) -> None:
        if not self.dst.lower().endswith(".onnx"):
            raise UsageError(f"{self.dst}: give a file name that ends in .onnx")
        if protocol_of(self.dst) in WEB:
            raise UsageError(
                f"{redacted(self.dst)}: nightlift cannot write to a web server; give a path or a bucket URL"
            )
        check_ranges(self, iterations=(0, MAX_ITERATIONS))
        check_estimate_size(self.estimate_size)


def run(config: ExportConfig) -> int:
    """Run the export job. Returns the exit status; raises UsageError and StorageError."""
    if missing := missing_packages():
        raise UsageError(f'export needs {", ".join(missing)}: pip install "nightlift[onnx]"')
    checkpoint = loaded(config.weights or DEFAULT_WEIGHTS[config.variant])
    size = checkpoint.estimate_size_for(config.estimate_size)
    storage = Storage.from_environment([config.dst], parse_options(config.storage_options))
    dst, claim = absolute(config.dst), Claim(recognised=is_export)
    check_is_ours(storage, dst, claim)
    try:
        onnx = to_onnx(checkpoint, estimate_size=size, iterations=config.iterations)
        difference, checked = largest_difference(onnx, checkpoint, estimate_size=size, iterations=config.iterations)
    except ExportError as error:
        raise UsageError(f"{config.dst}: not written: {error}") from error
    storage.write(dst, onnx, claim)
    seen = "the image at full size" if size is None else f"a copy reduced to at most {size} pixels"
    print(f"the network sees {seen}; {config.iterations} iterations")
    print(f"same results as torch for {checked} sizes: largest difference {difference:.1e}")
    print(f"{dst}  {len(onnx) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    from jobs.cli import start

    sys.exit(start(["export", *sys.argv[1:]]))
