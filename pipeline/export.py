"""``python -m pipeline.export``: writes one variant of one split as npy arrays or as folders of PNG files."""

import argparse
import sys

from pipeline import console
from pipeline.console import Parser
from pipeline.errors import UsageError, nearest, one_line
from pipeline.storage.location import local_output

_FORMATS = ("npy", "folder")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.export",
        description="Write one variant of one split of an output as plain files. npy: DIR/images.npy, uint8 (n, h, w, 3), "
        "float32 for -exact variants, and DIR/labels.npy, int64 (n,). folder: DIR/SPLIT/CLASS/KEY.png, the stored PNG "
        "bytes unchanged, which torchvision's ImageFolder reads with the same labels.",
        epilog="The export appears when it is complete, or not at all. If sorted class names would give other labels, class "
        "folders get their label as a prefix. Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("export"), help="the output's folder")
    parser.add_argument(
        "--variant", metavar="NAME", required=True, help="such as rank5, highrank5, rank5-exact or full"
    )
    parser.add_argument("--split", metavar="NAME", default="train", help="default train; val and test are aliases")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=console.path("--to"),
        required=True,
        help="a new folder (npy), or the parent of the splits' folders (folder)",
    )
    parser.add_argument("--format", metavar="FORMAT", type=_format, default="npy", help="npy (default) or folder")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    return parser


def _format(text: str) -> str:
    if text not in _FORMATS:
        raise UsageError(f"--format: {text!r} is not one of {', '.join(_FORMATS)}{nearest(text, _FORMATS)}")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been exported")


def _main(options: argparse.Namespace) -> int:
    from pipeline.data import RankDataset, export_folder, export_npy

    terminal = sys.stderr.isatty() and not options.quiet

    def progress(done: int, images: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == images else ""
            console.tell(f"\r\x1b[Kexported {done:,} of {images:,} images{end}", end="")

    data = RankDataset(options.out, options.variant, options.split)
    write = export_npy if options.format == "npy" else export_folder
    target = write(data, options.to, progress)
    if not options.quiet:
        print(one_line(f"{len(data):,} images of {data.variant} {data.split} in {target}"))
        empty = len(data.classes) - len({*data.targets})
        if empty and options.format == "folder":
            print(f"{empty} classes have no image in this split: ImageFolder needs allow_empty=True")
    return 0


if __name__ == "__main__":
    console.leave(main())
