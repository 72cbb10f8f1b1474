"""The ranks at which a study looks: ``--ranks``, and the default for images of a size."""

from pipeline.console import whole
from pipeline.errors import UsageError

EVERY = 32  # largest side in pixels at which every rank is used by default
# Above it: every rank to the first number, then steps of 2 to the next one, and so on. Accuracy changes fastest at low rank.
_LADDER = ((16, 1), (24, 2), (40, 4), (140, 10), (200, 20), (500, 50))
_LAST_STEP = 100

Ranks = tuple[int, ...] | slice


def parse_ranks(text: str) -> Ranks:
    """Returns the ranks of ``1,2,5`` or ``START:STOP:STEP``, both as in Python, so STOP is excluded. Raises UsageError.

    A range stays a slice until the size of the images is known: ``::5`` ends with their rank.
    """
    number = whole("--ranks", 0)
    if ":" not in text:
        return tuple(sorted({number(part.strip()) for part in text.split(",")}))
    parts = [number(part.strip()) if part.strip() else None for part in text.split(":")]
    if len(parts) > 3 or parts[2:] == [0]:
        raise UsageError(f"--ranks: {text!r} is not START:STOP or START:STOP:STEP with a step from 1")
    return slice(*parts) if len(parts) == 3 else slice(parts[0], parts[1])


def select_ranks(ranks: Ranks | None, side: int) -> tuple[int, ...]:
    """Returns ascending ranks from 0 (black) to ``side`` (the image itself), which is always the last.

    Args:
        ranks: of ``--ranks``; None for the default.
        side: smaller side of the images in pixels.

    Raises:
        UsageError: a rank is above ``side``, or the range is empty.
    """
    if ranks is None:
        return default_ranks(side)
    chosen = tuple(range(side + 1)[ranks]) if isinstance(ranks, slice) else ranks
    if not chosen:
        raise UsageError(f"--ranks: the range is empty; these images have ranks 0 to {side}")
    if max(chosen) > side:
        raise UsageError(f"--ranks: {max(chosen)} is above the rank of these images, {side}")
    return tuple(sorted({*chosen, side}))


def default_ranks(side: int) -> tuple[int, ...]:
    """Returns every rank up to ``EVERY`` pixels, and about forty above: every rank to 16, then ever larger steps."""
    if side <= EVERY:
        return tuple(range(side + 1))
    ranks = [0]
    for last, step in (*_LADDER, (side, _LAST_STEP)):
        ranks += range(ranks[-1] + step, min(last, side - 1) + 1, step)
    return (*ranks, side)


def listed(ranks: tuple[int, ...]) -> str:
    """Returns ranks for a message: all of a few, else the first ones and the last one."""
    return ", ".join(map(str, ranks)) if len(ranks) <= 12 else f"{', '.join(map(str, ranks[:6]))}, ..., {ranks[-1]}"
