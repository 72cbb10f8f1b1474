"""Colours of plots, for the page's theme and for paper."""

from dataclasses import dataclass

from pipeline.numerics.variants import SIGNED


@dataclass(frozen=True)
class Palette:
    """Colours of text, secondary text, grid lines, and each component."""

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
# Placeholder colours that no plot uses otherwise; ``svg`` replaces them by the page's CSS variables.
THEME = Palette(ink="#010203", soft="#020304", grid="#030405", low="#040506", high="#050607", full="#060708")
VARIABLES = {colour: f"var(--{name})" for name, colour in vars(THEME).items()}
