"""What to compute of the images of a shard."""

from dataclasses import dataclass

from pipeline.numerics.variants import Variant


@dataclass(frozen=True)
class Recipe:
    """Which arrays to compute of every image of a shard.

    Attributes:
        variants: the cuts.
        side: singular values in a row of spectra.
        factors: rank up to which U, S and V are computed; 0 for none.
    """

    variants: tuple[Variant, ...]
    side: int
    factors: int = 0
