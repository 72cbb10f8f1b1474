"""The variants of an image that can be built, and their names."""

import re
from dataclasses import dataclass, replace

# Components, in the order of every list in an output, with the prefix of a variant's name.
CUTS = {"low": "rank", "high": "highrank", "band": "band", "lowpass": "lowpass", "highpass": "highpass", "full": "full"}
# Components that a user can choose. Where radii are given, low and high also select lowpass and highpass.
COMPONENTS = ("low", "high", "full")
# Components that are differences of images. They are stored with this offset (grey levels), the same for every image.
SIGNED = ("high", "band", "highpass")
OFFSET = 128
PASSES = ("lowpass", "highpass")
# Suffix of the name of a float32 variant.
EXACT = "-exact"
_NUMBER = "([1-9][0-9]{0,5})"


@dataclass(frozen=True)
class Variant:
    """One cut of an image.

    A variant is ``low`` or ``high`` at a rank, the ``band`` between two ranks, ``lowpass`` or ``highpass`` at a radius, or
    the untouched image (``full``, rank 0).

    Attributes:
        component: a key of ``CUTS``.
        rank: number of singular values that are kept or removed; of a band, its upper end.
        exact: stored as float32, neither rounded nor clipped, instead of as PNG.
        above: the lower end of a band, which holds the singular values ``above`` + 1 to ``rank``.
        radius: largest frequency that is kept or removed (``fourier.lowpass``).
    """

    component: str
    rank: int = 0
    exact: bool = False
    above: int = 0
    radius: int = 0

    @property
    def name(self) -> str:
        """The name in folders, files and reports."""
        number = f"{self.above}-{self.rank}" if self.above else str(self.radius or self.rank or "")
        return CUTS[self.component] + number + EXACT * self.exact

    @property
    def form(self) -> str:
        """File format of the images, which is also their suffix in a shard."""
        return "npy" if self.exact else "png"

    @property
    def signed(self) -> bool:
        """Whether grey level 128 of the PNG images stands for zero."""
        return self.component in SIGNED

    @property
    def title(self) -> str:
        """The variant in words."""
        texts = {
            "low": f"low-rank image, rank {self.rank}",
            "high": f"high-rank-only image, rank {self.rank}",
            "band": f"band of the singular values {self.above + 1} to {self.rank}",
            "lowpass": f"low-pass image, radius {self.radius}",
            "highpass": f"high-pass image, radius {self.radius}",
            "full": "full image",
        }
        return texts[self.component] + ", float32" * self.exact

    @classmethod
    def parse(cls, name: str) -> "Variant":
        """Returns the variant of a name. Raises ValueError where there is none."""
        if name == "full":
            return cls("full")
        match = re.fullmatch(rf"(rank|highrank|lowpass|highpass){_NUMBER}({EXACT})?", name)
        if match:
            component = next(component for component, prefix in CUTS.items() if prefix == match[1])
            size = "radius" if component in PASSES else "rank"
            return cls(component, exact=match[3] is not None, **{size: int(match[2])})
        band = re.fullmatch(rf"band{_NUMBER}-{_NUMBER}({EXACT})?", name)
        if band and int(band[1]) < int(band[2]):
            return cls("band", int(band[2]), band[3] is not None, int(band[1]))
        raise ValueError(f"{name!r} is not a variant")


def variants(
    ranks: tuple[int, ...],
    components: tuple[str, ...],
    exact: bool = False,
    bands: tuple[tuple[int, int], ...] = (),
    radii: tuple[int, ...] = (),
) -> tuple[Variant, ...]:
    """Returns all variants of a request, in canonical order.

    Args:
        ranks: of low and high.
        components: of ``COMPONENTS``.
        exact: whether each variant except ``full`` is also built as float32.
        bands: (lower, upper) ranks of the bands.
        radii: of lowpass and highpass.
    """
    parts = [component for component in components if component != "full"]
    cuts = [Variant(component, rank) for component in parts for rank in ranks]
    cuts += [Variant("band", upper, above=lower) for lower, upper in bands]
    cuts += [Variant(f"{component}pass", radius=radius) for component in parts for radius in radii]
    cuts += [replace(variant, exact=True) for variant in cuts if exact]
    return canonical(cuts + [Variant("full")] * ("full" in components))


def canonical(cuts: list[Variant]) -> tuple[Variant, ...]:
    """Returns the distinct variants in the order of every list in an output.

    The order is by component as in ``CUTS``, then by rank or radius. Exact variants come last.
    """
    order = list(CUTS)
    return tuple(sorted(set(cuts), key=lambda v: (v.exact, order.index(v.component), v.rank, v.above, v.radius)))
