"""The pictures of the report: contact sheet, the paper's figures for this dataset, and images through all their ranks."""

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

_FRAMES = 31  # ranks of an image through which one slides, at most


@dataclass(frozen=True)
class Ladder:
    """One image through its ranks.

    Attributes:
        frames: by component, the stored pixels at each rank, uint8 (h, w, 3).
        energy: share of the squared singular values kept at each rank; empty where that is not known.
        psnr: of each low-rank image, dB; empty likewise.
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
    """The original of samples and its cuts: those that are stored; cut here where only ``full`` is."""
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
    """Whether an image (h, w, 3) can be cut at a rank: one of one row or column cannot."""
    return bool(min(image.shape[:2]) > 1)


def _cut(image: np.ndarray, cells: Sequence[Variant]) -> dict[Variant, np.ndarray]:
    """An image's parts of ranks."""
    cuts = rank_image(image, [cell.rank for cell in cells], None)
    return {cell: np.asarray((cuts.low if cell.component == "low" else cuts.high)[cell.rank]) for cell in cells}


def ladder(image: Chosen, original: np.ndarray, wanted: tuple[int, ...]) -> Ladder:
    """An image through its ranks, cut from its original with the bytes that a build stores."""
    ranks = _frames(min(original.shape[:2]), wanted)
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
    """An image through the ranks that are stored of one component, where its original cannot be had."""
    names = _names(variants)
    component = "low" if any(variant.component == "low" for variant in names) else "high"
    ranks = tuple(variant.rank for variant in names if variant.component == component)
    frames = tuple(stored.pixels(names[Variant(component, rank)], image.position) for rank in ranks)
    return Ladder(image, ranks, None, {component: frames})


def _names(variants: tuple[VariantFacts, ...]) -> dict[Variant, str]:
    """Names of the cuts, in the output's order; of the PNG one where there is an exact one as well."""
    cuts = [v for exact in (True, False) for v in variants if v.cut.component != "full" and v.cut.exact == exact]
    return {replace(v.cut, exact=False): v.name for v in cuts}


def _frames(side: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Every rank below ``side``; where they are many, those wanted and a growing series."""
    if side - 1 <= _FRAMES:
        return tuple(range(1, side)) or (1,)
    series = np.geomspace(1, side - 1, _FRAMES - min(len(wanted), 8)).round().astype(int).tolist()
    return tuple(sorted({*series, *(k for k in wanted[:8] if k < side)}))


def figure_2(image: Chosen, original: np.ndarray, rank: int) -> Sheet:
    """The paper's figure 2: the channels of an image, each cut at a rank, and put together again."""
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
    """The paper's figure 3: one image at growing rank."""
    side = min(original.shape[:2])
    ranks = tuple(sorted({int(k) for k in np.geomspace(1, side, 8).round()} - {side}))
    cuts = rank_image(original, ranks, None)
    tiles = [Tile(np.asarray(cuts.low[k]), f"rank {k}: {image.name}") for k in ranks]
    tiles.append(Tile(original, f"original: {image.name}"))
    return Sheet((*(f"rank {k}" for k in ranks), "original"), (Row("", tuple(tiles)),))


def figure_9(images: Sequence[tuple[Chosen, np.ndarray]], rank: int) -> Sheet:
    """The paper's figure 9: the image, what is left when the largest singular values are removed, and the difference."""
    rows = []
    for image, original in images:
        cuts = rank_image(original, rank, None)
        left = Tile(np.asarray(cuts.high[rank]), f"the {rank} largest singular values removed: {image.name}")
        difference = Tile(np.asarray(cuts.low[rank]), f"difference, the low-rank image of rank {rank}: {image.name}")
        rows.append(Row(image.label, (Tile(original, f"original: {image.name}"), left, difference)))
    return Sheet(("original", f"{rank} largest removed", "difference"), tuple(rows))
