"""Which cuts of an image exist, and what they are called."""

import re
from dataclasses import dataclass, replace

# What an image is cut into, in the order of every list in an output, and what a variant's name begins with.
CUTS = {"low": "rank", "high": "highrank", "band": "band", "lowpass": "lowpass", "highpass": "highpass", "full": "full"}
# Those that a user chooses among: low and high stand for lowpass and highpass, too, where radii are given.
COMPONENTS = ("low", "high", "full")
# Differences of images; they are stored with this offset, the same for every image (grey levels).
SIGNED = ("high", "band", "highpass")
OFFSET = 128
PASSES = ("lowpass", "highpass")
# What a float32 variant's name ends in.
EXACT = "-exact"
_NUMBER = "([1-9][0-9]{0,5})"


@dataclass(frozen=True)
class Variant:
    """One cut: ``low`` or ``high`` at a rank, the ``band`` between two, ``lowpass`` or ``highpass`` at a radius, or the
    untouched image (``full``, rank 0).

    Attributes:
        rank: singular values kept or removed; of a band, its upper end.
        exact: kept as float32, neither rounded nor clipped, instead of as PNG.
        above: the lower end of a band, which holds the singular values ``above`` + 1 to ``rank``.
        radius: of the frequencies kept or removed (``fourier.lowpass``).
    """

    component: str
    rank: int = 0
    exact: bool = False
    above: int = 0
    radius: int = 0

    @property
    def name(self) -> str:
        number = f"{self.above}-{self.rank}" if self.above else str(self.radius or self.rank or "")
        return CUTS[self.component] + number + EXACT * self.exact

    @property
    def form(self) -> str:
        """Of its image members, and their suffix in a shard."""
        return "npy" if self.exact else "png"

    @property
    def signed(self) -> bool:
        """Whether grey level 128 of its PNG images stands for nothing."""
        return self.component in SIGNED

    @property
    def title(self) -> str:
        """In words."""
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
        """The inverse of ``name``. Raises ValueError."""
        if name == "full":
            return cls("full")
        one = re.fullmatch(rf"(rank|highrank|lowpass|highpass){_NUMBER}({EXACT})?", name)
        if one:
            component = next(component for component, prefix in CUTS.items() if prefix == one[1])
            size = "radius" if component in PASSES else "rank"
            return cls(component, exact=one[3] is not None, **{size: int(one[2])})
        band = re.fullmatch(rf"band{_NUMBER}-{_NUMBER}({EXACT})?", name)
        if band and int(band[1]) < int(band[2]):
            return cls("band", int(band[2]), band[3] is not None, int(band[1]))
        raise ValueError(f"{name!r} is no variant")


def variants(
    ranks: tuple[int, ...],
    components: tuple[str, ...],
    exact: bool = False,
    bands: tuple[tuple[int, int], ...] = (),
    radii: tuple[int, ...] = (),
) -> tuple[Variant, ...]:
    """Every component at every rank and radius, and the bands, also as float32 where ``exact``, in canonical order."""
    parts = [component for component in components if component != "full"]
    cuts = [Variant(component, rank) for component in parts for rank in ranks]
    cuts += [Variant("band", upper, above=lower) for lower, upper in bands]
    cuts += [Variant(f"{component}pass", radius=radius) for component in parts for radius in radii]
    cuts += [replace(variant, exact=True) for variant in cuts if exact]
    return canonical(cuts + [Variant("full")] * ("full" in components))


def canonical(cuts: list[Variant]) -> tuple[Variant, ...]:
    """Distinct variants in the order of every list in an output: by component as in ``CUTS``, then by rank or radius,
    exact ones last."""
    order = list(CUTS)
    return tuple(sorted(set(cuts), key=lambda v: (v.exact, order.index(v.component), v.rank, v.above, v.radius)))
