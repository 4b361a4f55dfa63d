"""nightlift as a library: dark images made bright in a program or a notebook.

    import nightlift

    nightlift.enhance("dark.jpg", "bright.jpg")      # a file, with its metadata, as `nightlift images` writes it
    bright = nightlift.enhance(pixels)               # a numpy array, a PIL image, or the bytes of a photo
    nightlift.enhance_video("dark.mp4", "bright.mp4")

    enhancer = nightlift.load(strength=0.7)          # once, for many images
    brighter = [enhancer.enhance(frame) for frame in frames]

    import ray.data                                  # columns of Parquet and WebDataset, folders of images
    ray.data.read_parquet("s3://night").map_batches(nightlift.EnhanceImages, fn_constructor_args=("bytes",))

Options have the names of the flags of `nightlift images` and `nightlift videos`. Everything is imported when it is
first used, and nothing is printed.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for that of `typing`, which a console command may not import yet
if TYPE_CHECKING:
    from pipeline.errors import NightliftError

    from .batches import EnhanceImages
    from .photos import Enhancer, enhance, load
    from .videos import enhance_video

    __version__: str

__all__ = ["EnhanceImages", "Enhancer", "NightliftError", "__version__", "enhance", "enhance_video", "load"]

_PLACES = {
    "EnhanceImages": ".batches",
    "Enhancer": ".photos",
    "NightliftError": "pipeline.errors",
    "enhance": ".photos",
    "enhance_video": ".videos",
    "load": ".photos",
}


def __getattr__(name: str) -> object:
    """Import what is used for the first time. Raises ImportError where others' packages are in the way of ours."""
    if name == "__version__":
        from importlib.metadata import version

        found: object = version("nightlift")
    elif name in _PLACES:
        from importlib import import_module

        from .entry import check_for_library

        check_for_library()
        found = getattr(import_module(_PLACES[name], __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_PLACES, "__version__"]
