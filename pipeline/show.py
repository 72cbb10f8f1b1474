"""``python -m pipeline.show``: shows your own pictures at several ranks."""

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.extras import install
from pipeline.storage.user_files import check_picture

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
_RANKS = "1,5,10,20,50"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.show",
        description="Show a picture, or the pictures of a folder, at several ranks: the low-rank images, and below each the "
        "high-rank-only image (+128). Only FILE is written.",
        epilog="In a notebook: from pipeline import rank_image; rank_image('cat.jpg'). "
        "Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="PICTURE", type=console.path("PICTURE"), help="a picture, or a folder of them")
    parser.add_argument("--ranks", metavar="LIST", type=_ranks, default=_RANKS, help=f"default {_RANKS}")
    parser.add_argument("--out", metavar="FILE", type=_png, help="write a PNG instead of opening a window")
    parser.add_argument(
        "--reduce",
        metavar="N",
        type=_pixels,
        default=512,
        help="first reduce larger pictures to N pixels of the shorter side (default 512), or none",
    )
    parser.add_argument(
        "--tile",
        metavar="N",
        type=console.whole("--tile", 16, 2_000),
        default=224,
        help="pixels of each tile (default 224)",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=console.whole("--limit", 1, 500),
        default=8,
        help="most pictures of a folder to show (default: the first 8)",
    )
    return parser


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(map(console.whole("--ranks", 1, 15_000), map(str.strip, text.split(","))))


def _pixels(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return console.whole("--reduce", 2, 15_000)(text)
    except UsageError as error:
        raise UsageError(f"{error}, nor none") from None


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise UsageError(f"--out: {text!r} does not end in .png, the only format this command writes")
    return Path(text)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been written")


def _main(options: argparse.Namespace) -> int:
    from pipeline.report.gallery import Row, Sheet, draw, save
    from pipeline.report.rank_image import columns, rank_image

    if options.out is None and importlib.util.find_spec("matplotlib") is None:
        raise PipelineError(f"{install('matplotlib')}, or use --out FILE.png, which needs no window")
    rows: list[Row] = []
    pictures = _pictures(options.path, options.limit)
    if options.out and options.out.exists() and any(options.out.samefile(path) for path in pictures if path.exists()):
        raise UsageError(f"--out {options.out} is one of the pictures: name another file")
    if options.out:
        check_picture("--out", options.out)
    for path in pictures:
        try:
            rows += rank_image(path, options.ranks, options.reduce).rows(path.name)
        except PipelineError as error:
            if len(pictures) == 1:
                raise
            console.tell(f"left out: {one_line(error)}")
    if not rows:
        raise PipelineError(f"{options.path}: none of {len(pictures)} pictures can be read")
    image = draw(Sheet(columns(sorted({*options.ranks})), tuple(rows)), options.tile)
    if options.out is None:
        _window(image, str(options.path))
        return 0
    save(image, options.out)
    print(one_line(f"{options.out}: {image.width} x {image.height} pixels"))
    return 0


def _pictures(path: Path, limit: int) -> list[Path]:
    if not path.is_dir():
        return [path]
    pictures = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not pictures:
        raise PipelineError(f"{path} contains no picture ({', '.join(sorted(_SUFFIXES))})")
    if len(pictures) > limit:
        console.tell(one_line(f"the first {limit} of {len(pictures)} pictures in {path}; --limit shows more"))
    return pictures[:limit]


def _window(image: "Image.Image", title: str) -> None:
    """Shows a picture until its window is closed."""
    import matplotlib
    from matplotlib import pyplot

    if matplotlib.get_backend().lower() == "agg":
        raise PipelineError("no window can be opened (no display, or no Tk, Qt or GTK): use --out FILE.png")
    figure = pyplot.figure(one_line(title), figsize=(image.width / 100, image.height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image)
    axes.axis("off")
    pyplot.show()


if __name__ == "__main__":
    signals.leave(main())
