"""Conversion of colour spaces to sRGB."""

from io import BytesIO

from PIL import Image, ImageCms


def space_of(icc: bytes) -> bytes:
    """Return the colour space of a profile as four letters: `RGB `, `GRAY`, `CMYK` (ICC.1 section 7.2.6)."""
    return icc[16:20]


def srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, str]:
    """Convert a LAB image, or a CMYK image by its profile, to sRGB; return it with a note.

    CMYK without a usable profile is converted by its plain complement, as viewers do.
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
    """Convert an RGB or grey image to sRGB by its profile. An unusable profile is ignored, as viewers do."""
    rgb = image.convert("RGB")
    converted = _converted(image if space_of(icc) == b"GRAY" else rgb, _profile(icc))
    return rgb if converted is None else converted


def exactly_to_srgb(image: Image.Image, icc: bytes, *, black_point: bool) -> Image.Image | None:
    """Convert an RGB or grey image to sRGB by its profile, without short cuts; None if that cannot be used.

    `black_point`: whether the darkest colour becomes black.
    """
    flags = ImageCms.Flags.NOOPTIMIZE | (ImageCms.Flags.BLACKPOINTCOMPENSATION if black_point else 0)
    return _converted(image if space_of(icc) == b"GRAY" else image.convert("RGB"), _profile(icc), flags)


def grey_to_srgb(icc: bytes) -> list[int] | None:
    """Return the sRGB levels for the 256 levels of a grey profile; None if the profile is unusable."""
    converted = _converted(Image.frombytes("L", (256, 1), bytes(range(256))), _profile(icc))
    return None if converted is None else list(converted.getchannel("G").tobytes())


def _profile(icc: bytes) -> ImageCms.ImageCmsProfile | None:
    """Parse an ICC profile; return None if it is unusable."""
    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc))
    except OSError:
        return None


def _converted(
    image: Image.Image,
    source: ImageCms.ImageCmsProfile | None,
    flags: int = ImageCms.Flags.BLACKPOINTCOMPENSATION,
) -> Image.Image | None:
    """Convert an image to sRGB; return None if there is no profile or it does not fit the image."""
    if source is None:
        return None
    try:
        return ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags(flags),
        )
    except ImageCms.PyCMSError:
        return None
