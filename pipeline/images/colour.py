"""Colour spaces that are neither RGB nor grey, brought to sRGB."""

from io import BytesIO

from PIL import Image, ImageCms


def space_of(icc: bytes) -> bytes:
    """The colour space that a profile describes, four letters: `RGB `, `GRAY`, `CMYK` (ICC.1 section 7.2.6)."""
    return icc[16:20]


def srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    """A CMYK or LAB image as sRGB by its profile, and a note.

    CMYK without a usable profile is converted by its plain complement, which is what viewers show.
    """
    source = None
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc and space_of(icc) == b"CMYK":
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(icc))
        except OSError:
            source = None
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except ImageCms.PyCMSError:
            converted = None
        if converted is not None:
            return converted, f"{image.mode} converted to sRGB"
    return image.convert("RGB"), f"{image.mode} converted to sRGB without a profile"


def grey_to_srgb(icc: bytes) -> list[int] | None:
    """The 256 sRGB levels for the 256 levels of a grey profile; None where the profile is unusable."""
    levels = Image.frombytes("L", (256, 1), bytes(range(256)))
    try:
        converted = ImageCms.profileToProfile(
            levels, ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if converted is None else list(converted.getchannel("G").tobytes())
