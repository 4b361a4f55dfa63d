"""Images of other libraries as photos, and back: numpy arrays and PIL images."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import Damaged
from pipeline.images import Coding, Frame, Metadata, Photo
from pipeline.images.decode import with_fitting_profile
from pipeline.images.metadata.exif import PREFIX, stated_orientation, without_prefix
from pipeline.images.photo import LOSSY, to_8_bits
from pipeline.images.pixels import frame_of, image_of, turned

Array = npt.NDArray[Any]

FORMATS = {False: "png", True: "webp"}  # of one without loss, and of a lossy one that does not tell how much it lost
JPEG = "JPEG", "MPO"  # Pillow's names
TURNED_BACK = {6: 8, 8: 6}  # orientations that undo each other; any other undoes itself


def photo_of_array(image: Array, *, lossy: bool) -> Photo:
    """Return a photo of a copy of the pixels: HxWx3, HxW, HxWx1, or with alpha HxWx4 or HxWx2; uint8 or uint16.

    `lossy`: whether they come from a lossy file, such as a JPEG. Raises TypeError for other types of numbers, and
    ValueError for other shapes.
    """
    image = np.asarray(image)  # no subclass, such as a matrix
    check_array(image)
    native = image.dtype.newbyteorder("=")
    samples = np.array(image.reshape(*image.shape[:2], -1), native, order="C")
    kind = FORMATS[lossy]
    if samples.shape[2] in (1, 3):
        return Photo(format=kind, frames=[Frame(pixels=samples)])
    pixels, alpha = np.ascontiguousarray(samples[..., :-1]), np.ascontiguousarray(samples[..., -1])
    return Photo(format=kind, frames=[Frame(pixels=pixels, alpha=alpha)])


def array_of(photo: Photo, like: Array) -> Array:
    """Return the pixels of a photo in the shape and type of the array that it was made of."""
    frame = photo.frames[0]
    samples = frame.pixels if frame.alpha is None else np.dstack((frame.pixels, frame.alpha))
    return samples.reshape(like.shape).astype(like.dtype, copy=False)


def check_array(image: Array) -> None:
    """Check that an array is an image. Raises TypeError, ValueError."""
    if image.dtype.kind == "f":
        raise TypeError(
            f"image is an array of {image.dtype}; give uint8 or uint16: for numbers from 0 to 1, "
            "(image * 255).round().astype(np.uint8)"
        )
    if image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise TypeError(f"image is an array of {image.dtype}; give uint8 or uint16: image.astype(np.uint8)")
    if image.ndim == 4:
        raise ValueError(f"image has the shape {image.shape}, as a batch has; give its images one by one")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)):
        first = image.ndim == 3 and image.shape[0] in (1, 3, 4)
        hint = ": image.transpose(1, 2, 0)" if first else ""
        raise ValueError(f"image has the shape {image.shape}; give HxWx3 (RGB), HxW (grey) or HxWx4 (RGBA){hint}")
    if 0 in image.shape:
        raise ValueError(f"image has the shape {image.shape}: there is no pixel in it")


def photo_of_image(image: Image.Image, *, lossy: bool) -> Photo:
    """Return a photo of the present frame of a PIL image, upright. Raises ValueError, Damaged, Unsupported.

    An image that is as it was opened tells how it was compressed. `lossy`: whether others come from a lossy file.
    """
    if 0 in image.size:
        raise ValueError(f"image has {image.width}x{image.height} pixels: there is nothing to enhance")
    try:
        image.load()  # turns a TIFF upright, and completes `info`
    except (OSError, SyntaxError) as error:  # of which Pillow raises both
        raise Damaged(f"image cannot be decoded ({error}); copy its file again") from error
    notes: list[str] = []
    icc = image.info.get("icc_profile")
    frame = turned(frame_of(image, notes, icc=icc), _orientation(image))
    # of CMYK, the tables do not fit the components of the result
    tables: dict[int, list[int]] = (getattr(image, "quantization", None) or {}) if image.mode in ("L", "RGB") else {}
    coding = Coding(quantisation=tuple(tuple(table) for table in tables.values()))
    kind = "jpeg" if image.format in JPEG else FORMATS[lossy or (image.format or "").lower() in LOSSY]
    metadata = Metadata(icc=None if image.mode in ("CMYK", "LAB") else icc)
    return with_fitting_profile(Photo(format=kind, frames=[frame], metadata=metadata, coding=coding, notes=notes))


def image_like(photo: Photo, like: Image.Image) -> Image.Image:
    """Return the PIL image of a photo that was made of `like`, turned and described as that is.

    Its mode is the same, but for modes without light of their own: a palette or CMYK becomes RGB, and 1 bit grey.
    """
    orientation = _orientation(like)
    image = _image(turned(photo.frames[0], TURNED_BACK.get(orientation, orientation)))
    image.info = dict(like.info)
    if image.mode != like.mode:
        image.info.pop("transparency", None)
    return _with_profile(image, photo)


def image_of_photo(photo: Photo) -> Image.Image:
    """Return the first frame of a photo as a PIL image, with its profile and EXIF in `info`; colour in 8 bits."""
    image = _image(photo.frames[0])
    if photo.metadata.exif is not None:
        image.info["exif"] = PREFIX + photo.metadata.exif
    return _with_profile(image, photo)


def _image(frame: Frame) -> Image.Image:
    if frame.pixels.dtype == np.uint16 and frame.pixels.shape[2] == 1 and frame.alpha is None:
        return Image.fromarray(frame.pixels[..., 0])
    alpha = None if frame.alpha is None else to_8_bits(frame.alpha)
    return image_of(Frame(pixels=to_8_bits(frame.pixels), alpha=alpha))


def _with_profile(image: Image.Image, photo: Photo) -> Image.Image:
    image.info.pop("icc_profile", None)
    if photo.metadata.icc is not None:
        image.info["icc_profile"] = photo.metadata.icc
    return image


def _orientation(image: Image.Image) -> int:
    block = image.info.get("exif")
    return stated_orientation(without_prefix(block)) if isinstance(block, bytes) else 1
