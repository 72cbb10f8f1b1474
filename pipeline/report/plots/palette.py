"""Colours of plots: those of a page's theme, and those of paper."""

from dataclasses import dataclass

from pipeline.numerics.variants import SIGNED


@dataclass(frozen=True)
class Palette:
    """Ink, softer ink, grid lines, and a colour for each component."""

    ink: str
    soft: str
    grid: str
    low: str
    high: str
    full: str

    def of(self, component: str) -> str:
        if component == "full":
            return self.full
        return self.high if component in SIGNED else self.low


PAPER = Palette(ink="#111111", soft="#555555", grid="#dddddd", low="#0b62b8", high="#b4460a", full="#5d6570")
# Stand-ins that no plot would choose; ``svg`` puts the page's CSS variables in their place.
THEME = Palette(ink="#010203", soft="#020304", grid="#030405", low="#040506", high="#050607", full="#060708")
VARIABLES = {colour: f"var(--{name})" for name, colour in vars(THEME).items()}
