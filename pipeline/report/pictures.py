"""Makes the pictures of a report: contact sheet, the paper's figures for this dataset, and images at all their ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.numerics.variants import Variant
from pipeline.report.choice import Chosen
from pipeline.report.gallery import Row, Sheet, Tile
from pipeline.report.measures import psnr
from pipeline.report.originals import Originals
from pipeline.report.page.facts import VariantFacts
from pipeline.report.rank_image import rank_image
from pipeline.report.stored import Stored

_FRAMES = 31  # most ranks of a ladder


@dataclass(frozen=True)
class Ladder:
    """An image at its ranks, which the page shows with a slider.

    Attributes:
        chosen: the image.
        ranks: in rising order.
        original: None if the output does not contain it.
        frames: by component, the pixels at each rank, uint8 (h, w, 3).
        energy: share of the squared singular values kept at each rank; empty without the original.
        psnr: of each low-rank image in dB; empty without the original.
    """

    chosen: Chosen
    ranks: tuple[int, ...]
    original: Tile | None
    frames: dict[str, tuple[np.ndarray, ...]]
    energy: tuple[float, ...] = ()
    psnr: tuple[float, ...] = ()


def contact_sheet(
    stored: Stored,
    variants: tuple[VariantFacts, ...],
    originals: Originals | None,
    chosen: Sequence[Chosen],
    ranks: tuple[int, ...],
) -> Sheet:
    """Returns rows of an original and its cuts as stored. If an output has only ``full``, the cuts are made here."""
    names = _names(variants)
    cells = list(names) or [Variant(component, rank) for component in ("low", "high") for rank in ranks]
    rows, last = [], ""
    for image in chosen:
        original = originals and Tile(originals.get(image.position), f"original: {image.name}")
        tiles: list[Tile | None] = [original] if original else []
        if names:
            cuts = {cell: stored.pixels(name, image.position) for cell, name in names.items()}
        else:
            cuts = _cut(original.pixels, cells) if original and has_ranks(original.pixels) else {}
        tiles += [Tile(cuts[cell], f"{cell.title}: {image.name}") if cell in cuts else None for cell in cells]
        rows.append(Row("" if image.label == last else image.label, tuple(tiles)))
        last = image.label
    words = [cell.name for cell in cells]
    return Sheet(("original", *words) if originals else tuple(words), tuple(rows))


def has_ranks(image: np.ndarray) -> bool:
    """Returns whether an image (h, w, 3) can be cut at a rank: it needs two rows and two columns."""
    return bool(min(image.shape[:2]) > 1)


def _cut(image: np.ndarray, cells: Sequence[Variant]) -> dict[Variant, np.ndarray]:
    """Returns the cuts of an image, uint8 (h, w, 3)."""
    cuts = rank_image(image, [cell.rank for cell in cells], None)
    return {cell: np.asarray((cuts.low if cell.component == "low" else cuts.high)[cell.rank]) for cell in cells}


def ladder(image: Chosen, original: np.ndarray, must: tuple[int, ...]) -> Ladder:
    """Returns an image at its ranks, ``must`` among them, cut from its original with the bytes that a build stores."""
    ranks = _frames(min(original.shape[:2]), must)
    cuts = rank_image(original, ranks, None)
    frames = {name: tuple(np.asarray(of[k]) for k in ranks) for name, of in (("low", cuts.low), ("high", cuts.high))}
    return Ladder(
        image,
        ranks,
        Tile(original, f"original: {image.name}"),
        frames,
        tuple(cuts.energy[k] for k in ranks),
        tuple(psnr(original, low) for low in frames["low"]),
    )


def stored_ladder(stored: Stored, variants: tuple[VariantFacts, ...], image: Chosen) -> Ladder:
    """Returns an image at the stored ranks of one component, for an output without originals."""
    names = _names(variants)
    component = "low" if any(variant.component == "low" for variant in names) else "high"
    ranks = tuple(variant.rank for variant in names if variant.component == component)
    frames = tuple(stored.pixels(names[Variant(component, rank)], image.position) for rank in ranks)
    return Ladder(image, ranks, None, {component: frames})


def _names(variants: tuple[VariantFacts, ...]) -> dict[Variant, str]:
    """Returns the variant's name for each cut, in the output's order; the PNG variant if there is also an exact one."""
    cuts = [v for exact in (True, False) for v in variants if v.cut.component != "full" and v.cut.exact == exact]
    return {replace(v.cut, exact=False): v.name for v in cuts}


def _frames(side: int, must: tuple[int, ...]) -> tuple[int, ...]:
    """Returns every rank below ``side``; if these are too many, a geometric series and the first eight of ``must``."""
    if side - 1 <= _FRAMES:
        return tuple(range(1, side)) or (1,)
    series = np.geomspace(1, side - 1, _FRAMES - min(len(must), 8)).round().astype(int).tolist()
    return tuple(sorted({*series, *(k for k in must[:8] if k < side)}))


def figure_2(image: Chosen, original: np.ndarray, rank: int) -> Sheet:
    """Returns the paper's figure 2: the channels of an image, each cut at a rank and joined again."""
    cut = np.asarray(rank_image(original, rank, None).low[rank])

    def row(label: str, pixels: np.ndarray, first: bool) -> Row:
        whole = Tile(pixels, f"{'original' if first else f'rank {rank}'}: {image.name}")
        channels = []
        for number, colour in enumerate(("red", "green", "blue")):
            alone = np.zeros_like(pixels)
            alone[..., number] = pixels[..., number]
            channels.append(Tile(alone, f"{colour} channel, {'original' if first else f'rank {rank}'}: {image.name}"))
        return Row(label, (whole, *channels))

    rows = (row("original", original, True), row(f"rank {rank}", cut, False))
    return Sheet(("image", "red", "green", "blue"), rows)


def figure_3(image: Chosen, original: np.ndarray) -> Sheet:
    """Returns the paper's figure 3: one image at rising rank."""
    side = min(original.shape[:2])
    ranks = tuple(sorted({int(k) for k in np.geomspace(1, side, 8).round()} - {side}))
    cuts = rank_image(original, ranks, None)
    tiles = [Tile(np.asarray(cuts.low[k]), f"rank {k}: {image.name}") for k in ranks]
    tiles.append(Tile(original, f"original: {image.name}"))
    return Sheet((*(f"rank {k}" for k in ranks), "original"), (Row("", tuple(tiles)),))


def figure_9(images: Sequence[tuple[Chosen, np.ndarray]], rank: int) -> Sheet:
    """Returns the paper's figure 9: an image, its high-rank-only image, and the difference."""
    rows = []
    for image, original in images:
        cuts = rank_image(original, rank, None)
        remainder = Tile(np.asarray(cuts.high[rank]), f"the {rank} largest singular values removed: {image.name}")
        difference = Tile(np.asarray(cuts.low[rank]), f"difference, the low-rank image of rank {rank}: {image.name}")
        rows.append(Row(image.label, (Tile(original, f"original: {image.name}"), remainder, difference)))
    return Sheet(("original", f"{rank} largest removed", "difference"), tuple(rows))
