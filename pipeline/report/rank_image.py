"""``rank_image``: the low-rank and high-rank-only parts of any picture."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import PipelineError, Undecodable, UsageError, one_line
from pipeline.numerics.batch import compute
from pipeline.numerics.geometry import MAX_SIDE, Geometry
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant
from pipeline.report.gallery import Row, Sheet, Tile, draw
from pipeline.sources.images import decode_image, read_image, refuse_deep

RANKS = (1, 5, 10, 20, 50)
SIDE = 512
_TILE = 150  # pixels of a picture in a notebook


@dataclass(frozen=True, eq=False)
class RankedImage:
    """A picture and its cuts. A notebook shows it as a sheet.

    Attributes:
        original: the picture, 8-bit RGB.
        low: by rank k, the image of the k largest singular values of each colour channel (paper eq. 2).
        high: by rank k, the high-rank-only image: the rest, with an offset of 128.
        energy: by rank k, the share of the squared singular values of all channels that ``low`` keeps. It is 1 for a black
            picture: nothing is lost.
    """

    original: Image.Image
    low: dict[int, Image.Image]
    high: dict[int, Image.Image]
    energy: dict[int, float]

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(self.low)

    def rows(self, name: str = "") -> tuple[Row, Row]:
        """Returns two rows of a sheet: original and low-rank images; below each, the high-rank-only image."""
        low, high = (
            [Tile(np.asarray(of[k]), f"{word} at rank {k}, {name}".rstrip(", ")) for k in of]
            for of, word in ((self.low, "low-rank image"), (self.high, "high-rank-only image"))
        )
        original = Tile(np.asarray(self.original), f"original, {name}".rstrip(", "))
        return Row(name or "low-rank", (original, *low)), Row("high-rank-only", (None, *high))

    def sheet(self, side: int = _TILE) -> Image.Image:
        """Returns all images as one picture with tiles of ``side`` pixels."""
        return draw(Sheet(columns(self.ranks), self.rows()), side)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.sheet().save(file, "PNG")
        return file.getvalue()


def columns(ranks: Sequence[int]) -> tuple[str, ...]:
    """Returns the words above the columns of ``RankedImage.rows``."""
    return ("original", *(f"rank {rank}" for rank in ranks))


def rank_image(image: Any, ranks: int | Sequence[int] = RANKS, reduce: int | None = SIDE) -> RankedImage:
    """Cuts a picture at the given ranks, with the bytes that a build would store.

    Args:
        image: a path, a PIL image, or uint8 (h, w, 3) or (h, w) pixels.
        ranks: a rank, or a sequence of ranks. From rank min(h, w) on, the low-rank image is the picture itself.
        reduce: if the shorter side has more pixels than this, the picture is first reduced to it, as by ``--resize``.
            None keeps the size.

    Raises:
        UsageError: a rank is not a whole number from 1, ``reduce`` is not one from 2, or ``image`` has another type.
        PipelineError: the file cannot be read, or a build would reject it.
    """
    chosen = tuple(ranks) if isinstance(ranks, Iterable) else (ranks,)
    if not chosen or not all(isinstance(k, int | np.integer) and not isinstance(k, bool) and k > 0 for k in chosen):
        raise UsageError(f"ranks {ranks!r}: give whole numbers from 1, as in 5 or (1, 5, 20)")
    if reduce is not None and (not isinstance(reduce, int | np.integer) or isinstance(reduce, bool) or reduce < 2):
        raise UsageError(f"reduce {reduce!r}: give a whole number of pixels from 2, or None")
    chosen = tuple(sorted({int(k) for k in chosen}))
    pixels = reduced(_pixels(image), reduce)
    variants = tuple(Variant(part, k) for part in ("low", "high") for k in chosen)
    computed = compute(pixels[None], Recipe(variants, min(pixels.shape[1:])))
    images = {variant: _image(cut.pixels[0]) for variant, cut in computed.cuts.items()}
    squares = (computed.rows["spectra"][0].astype(np.float64) ** 2).sum(axis=0)
    return RankedImage(
        _image(pixels),
        {k: images[Variant("low", k)] for k in chosen},
        {k: images[Variant("high", k)] for k in chosen},
        {k: float(squares[:k].sum() / total) if (total := squares.sum()) else 1.0 for k in chosen},
    )


def _image(planes: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _pixels(image: Any) -> np.ndarray:
    """Returns uint8 (3, h, w)."""
    if isinstance(image, str | os.PathLike):
        try:
            return decode_image(read_image(image)).pixels
        except Undecodable as error:
            raise PipelineError(f"{one_line(image)}: {error}") from None
        except OSError as error:
            raise PipelineError(f"{one_line(image)}: {error.strerror}") from None
    if isinstance(image, Image.Image):
        try:
            refuse_deep(image)
        except Undecodable as error:
            raise PipelineError(f"image: {image.mode}: {error}") from None
        image = np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image: {type(image).__name__} is neither a path, a PIL image nor a uint8 array")
    if image.ndim == 2:
        image = np.stack([image] * 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UsageError(f"image: {image.dtype} {image.shape} is neither uint8 (h, w, 3) nor (h, w)")
    if not 2 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE:
        raise UsageError(f"image: {image.shape[0]} x {image.shape[1]}: a side is from 2 to {MAX_SIDE:,} pixels")
    planes: np.ndarray = image.transpose(2, 0, 1)
    return planes


def reduced(pixels: np.ndarray, side: int | None = SIDE) -> np.ndarray:
    """Returns uint8 (3, h, w), reduced if its shorter side has more than ``side`` pixels; None keeps the size."""
    return pixels if side is None or min(pixels.shape[1:]) <= side else Geometry(side).apply(pixels)
