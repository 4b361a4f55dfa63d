"""Colour spaces brought to sRGB."""

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
        source = _profile(icc)
    converted = _converted(image, source)
    if converted is not None:
        return converted, f"{image.mode} converted to sRGB"
    return image.convert("RGB"), f"{image.mode} converted to sRGB without a profile"


def tagged_to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """An RGB or grey image as sRGB by its profile; one that cannot be used is passed over, as viewers do."""
    rgb = image.convert("RGB")
    converted = _converted(image if space_of(icc) == b"GRAY" else rgb, _profile(icc))
    return rgb if converted is None else converted


def grey_to_srgb(icc: bytes) -> list[int] | None:
    """The 256 sRGB levels for the 256 levels of a grey profile; None where the profile is unusable."""
    converted = _converted(Image.frombytes("L", (256, 1), bytes(range(256))), _profile(icc))
    return None if converted is None else list(converted.getchannel("G").tobytes())


def _profile(icc: bytes) -> ImageCms.ImageCmsProfile | None:
    """None where it is unusable."""
    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc))
    except OSError:
        return None


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile | None) -> Image.Image | None:
    """As sRGB; None without a profile, or where it is not for such an image."""
    if source is None:
        return None
    try:
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return None
