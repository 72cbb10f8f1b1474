"""Draws sheets of labelled pictures as one image, for ``show``, reports and the README."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pipeline.storage.user_files import MARK

SMALL = 64  # pixels; a picture up to this size is enlarged so that each pixel is a square
_INK, _PAPER = "#1a1a1a", "white"


@dataclass(frozen=True)
class Tile:
    """A picture in a sheet.

    Attributes:
        pixels: uint8 (h, w, 3).
        alt: description in words.
    """

    pixels: np.ndarray
    alt: str


@dataclass(frozen=True)
class Row:
    """A row of a sheet: one picture per column, or None. ``label`` is written at its left."""

    label: str
    tiles: tuple[Tile | None, ...]


@dataclass(frozen=True)
class Sheet:
    """A table of pictures. ``columns`` are the words above its columns."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def draw(sheet: Sheet, side: int) -> Image.Image:
    """Returns the sheet on a white background, each picture scaled to ``side`` x ``side`` pixels by ``fitted``."""
    gap, text = max(2, side // 24), max(9, side // 9)
    font = ImageFont.load_default(text)
    left = max((round(font.getlength(_plain(row.label))) + 2 * gap for row in sheet.rows if row.label), default=0)
    top = round(1.6 * text) if any(sheet.columns) else 0
    pictures = [[fitted(tile.pixels, side) if tile else None for tile in row.tiles] for row in sheet.rows]
    heights = [max((picture.height for picture in row if picture), default=0) + gap for row in pictures]
    step = side + gap
    image = Image.new("RGB", (left + gap + step * len(sheet.columns), top + gap + sum(heights)), _PAPER)
    brush = ImageDraw.Draw(image)
    for column, words in enumerate(sheet.columns):
        brush.text((left + gap + step * column + side / 2, gap), _plain(words), _INK, font, anchor="ma")
    y = top + gap
    for row, line, height in zip(sheet.rows, pictures, heights, strict=True):
        brush.text((gap, y + (height - gap) / 2), _plain(row.label), _INK, font, anchor="lm")
        for column, picture in enumerate(line):
            if picture:
                x = left + gap + step * column + (side - picture.width) // 2
                image.paste(picture, (x, y + (height - gap - picture.height) // 2))
        y += height
    return image


def save(image: Image.Image, path: Path, dpi: float | None = None) -> None:
    """Writes a PNG file whose metadata names this program. Raises OSError."""
    text = PngInfo()
    text.add_text("Software", MARK)
    image.save(path, "PNG", pnginfo=text, **({"dpi": (dpi, dpi)} if dpi else {}))


def fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """Returns uint8 (h, w, 3) scaled to fit ``side`` x ``side``; small pictures by a whole factor, without smoothing."""
    image = Image.fromarray(pixels)
    largest = max(image.size)
    if largest <= SMALL and side >= largest:
        factor = side // largest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * n / largest)) for n in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _plain(text: str, most: int = 28) -> str:
    """Returns any name as one line of printable characters, shortened to ``most`` characters."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= most else f"{text[: most - 1]}…"
