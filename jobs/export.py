"""The export job: `nightlift export DST.onnx`, or `python -m jobs.export DST.onnx` from a checkout."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from jobs.flags import check_estimate_size, check_ranges, loaded
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
    """Write a network as ONNX: image in, enhanced image and curve maps out, any batch and any size.

    The file is checked against torch before it is written. Needs nightlift[onnx]. Exit status: 0 written, 2 not.
    """

    dst: tyro.conf.Positional[Annotated[str, arg(metavar="DST")]]
    """The .onnx file: a path or a URL (s3://, gs://, az://). One that nightlift exported before is replaced."""

    variant: Variant = "dce"
    """The shipped network: dce, or plus (smaller, faster)."""
    weights: Annotated[Path | None, arg(metavar="FILE")] = None
    """Your own network instead: .safetensors, or a published Zero-DCE .pth."""
    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16: part of the graph."""
    estimate_size: EstimateSize = "auto"
    """Long side in pixels of the reduced copy that the network sees: part of the graph. auto: what the weights were
    trained for; full: no reduction, the published way."""
    storage_options: Annotated[str, arg(metavar="JSON")] = "{}"
    """fsspec options for a bucket."""

    def __post_init__(self) -> None:
        if not self.dst.lower().endswith(".onnx"):
            raise UsageError(f"{self.dst}: give a file name that ends in .onnx")
        if protocol_of(self.dst) in WEB:
            raise UsageError(f"{redacted(self.dst)}: a web server is no destination; give a path or a bucket")
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
    seen = "the image at full size" if size is None else f"a copy of at most {size} pixels, made in the graph"
    print(f"the network sees {seen}; {config.iterations} iterations")
    print(f"equal to torch on {checked} sizes: largest difference {difference:.1e}")
    print(f"{dst}  {len(onnx) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["export", *sys.argv[1:]]))
