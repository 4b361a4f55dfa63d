"""Look: the settings of an enhancement, the same for every image."""

from dataclasses import dataclass
from typing import Literal

from model.curve.reference import MAX_ITERATIONS
from model.noise.floor import CODE, Floor


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Settings that decide how strongly an image is enhanced."""

    iterations: int = 8
    """Steps of the light-enhancement curve, 0 to 16. 8 is what the network was trained for."""
    passes: int = 1
    """Rounds of estimating and applying, each on the result of the one before, 1 to 4."""
    strength: float = 1.0
    """Scale of the curve maps: 0 leaves the image as it is, 1 is the network's own estimate, up to 2."""
    denoise: float | Literal["auto"] = "auto"
    """Noise to smooth where the curve amplifies it: `auto`, as measured, or its deviation in 8-bit levels, 0 to 2."""
    floor: Literal["auto", "off"] = "auto"
    """`auto`: what the camera did not see stays dark and grey; `off`: it is brightened like the rest."""

    @property
    def leaves_images_alone(self) -> bool:
        return not self.iterations or not self.strength

    def __post_init__(self) -> None:
        if not 0 <= self.iterations <= MAX_ITERATIONS:
            raise ValueError(f"iterations is {self.iterations}; it must be between 0 and {MAX_ITERATIONS}")
        if not 1 <= self.passes <= 4:
            raise ValueError(f"passes is {self.passes}; it must be between 1 and 4")
        if not 0 <= self.strength <= 2:
            raise ValueError(f"strength is {self.strength}; it must be between 0 and 2")
        is_number = isinstance(self.denoise, int | float)
        if not (self.denoise == "auto" or (is_number and 0 <= self.denoise <= 2)):
            raise ValueError(f"denoise is {self.denoise}; it must be auto, or between 0 and 2")
        if self.floor not in ("auto", "off"):
            raise ValueError(f"floor is {self.floor!r}; it must be auto or off")

    @property
    def smooths(self) -> bool:
        """Return whether any noise is smoothed."""
        return self.denoise != 0 and not self.leaves_images_alone

    @property
    def cleans(self) -> bool:
        """Return whether an image is also cleaned or its floor kept, besides being brightened."""
        return self.floor == "auto" or self.denoise != 0

    def cleaned(self, found: Floor) -> Floor:
        """Return the floor to work with: `found`, with the noise and the unseen parts that these settings ask for."""
        floor = found if self.denoise == "auto" else found.expecting(self.denoise * CODE)
        return floor if self.floor == "auto" else floor.all_seen()
