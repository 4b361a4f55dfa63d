"""Recipes: named sets of all the settings that a network is trained with.

`published` is the training of the papers: their layout, losses, initial weights and optimiser, on photos as they are.
`night` makes the default weights: from photos of any exposure, for the reduced copy that inference uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from model.dce_net import PUBLISHED_DCE, PUBLISHED_PLUS, Architecture, Variant
from model.training.losses import LossWeights


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Settings that networks are trained with."""

    architectures: Mapping[Variant, Architecture]
    losses: Mapping[Variant, LossWeights]
    first_weights: Literal["published", "lively"]
    """Initial weights. `published`: N(0, 0.02); `lively`: features keep their size from layer to layer."""
    augmented: bool
    """Show crops of each photo in two exposures (see `augment.py`); otherwise the whole photo as it is."""
    reduction: int
    """A crop is prepared at this many times `size_px`, then reduced."""
    size_px: int
    """Side of the square that the network sees."""
    estimate_size: int | None
    """Long side in pixels of the reduced copy that inference will use; None: full size."""
    epochs: int
    batch: int
    learning_rate: float
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"]
    """`cosine`: after a short rise the learning rate falls to 0 along a cosine."""

    @property
    def photo_px(self) -> int:
        """Return the long side in pixels to which photos are scaled before they are cropped."""
        return self.reduction * max(self.estimate_size or 2 * self.size_px, self.size_px)


_NIGHT_LOSSES = LossWeights(
    spatial=0.0,
    exposure=0.0,
    colour=0.0,
    smoothness=4.0,
    contrast=6.0,
    overall=60.0,
    overall_level=0.42,
    highlights=40.0,
    flat=10.0,
    consistency=100.0,
    dark=80.0,
    restraint=20.0,
    black=10.0,
)

NIGHT = Recipe(
    architectures={
        variant: Architecture(
            variant=variant,
            map_channels=1,
            padding="replicate",
            encoded=True,
            context=True,
            dilations=(1, 2, 4, 8, 16, 8, 1),
            space="light",
        )
        for variant in ("dce", "plus")
    },
    losses={"dce": _NIGHT_LOSSES, "plus": _NIGHT_LOSSES},
    first_weights="lively",
    augmented=True,
    reduction=2,
    size_px=64,
    estimate_size=128,
    epochs=100,
    batch=8,
    learning_rate=2e-3,
    schedule="cosine",
)
PUBLISHED = Recipe(
    architectures={"dce": PUBLISHED_DCE, "plus": PUBLISHED_PLUS},
    losses={"dce": LossWeights(), "plus": LossWeights(smoothness=1600.0)},
    first_weights="published",
    augmented=False,
    reduction=1,
    size_px=256,
    estimate_size=None,
    epochs=40,
    batch=4,
    learning_rate=1e-4,
    schedule="constant",
)

RecipeName = Literal["night", "published"]
RECIPES: Mapping[RecipeName, Recipe] = {"night": NIGHT, "published": PUBLISHED}
