"""Makes docs/ranks.png, the picture in the README: ``python docs/picture.py``."""

from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from pipeline import svd
from pipeline.variants import Variant, cut

RANKS = (1, 5, 10, 20, 50)
SIDE, GAP = 150, 6


def main() -> None:
    photo = Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png").convert("RGB").crop((75, 0, 375, 300))
    pixels = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).transpose(2, 0, 1)[None]
    wanted = tuple(Variant(component, rank) for component in ("low", "high") for rank in RANKS)
    cuts = cut(pixels, svd.decompose(pixels[0]), wanted)
    sheet = Image.new("RGB", (GAP + (SIDE + GAP) * (len(RANKS) + 1), GAP + (SIDE + GAP) * 2), "white")
    sheet.paste(Image.fromarray(pixels[0].transpose(1, 2, 0)), (GAP, GAP))
    for number, variant in enumerate(wanted):
        row, column = divmod(number, len(RANKS))
        image = Image.fromarray(cuts[variant].pixels[0].transpose(1, 2, 0))
        sheet.paste(image, (GAP + (SIDE + GAP) * (column + 1), GAP + (SIDE + GAP) * row))
    sheet.save(Path(__file__).parent / "ranks.png", optimize=True)


if __name__ == "__main__":
    main()
