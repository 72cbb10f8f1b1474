"""``python -m pipeline.export``: writes images of an output in the layouts of other tools."""

import argparse
import sys
from collections.abc import Callable

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import UsageError, nearest, one_line
from pipeline.storage.location import local_output

_FORMATS = ("npy", "folder", "parquet", "cifar-c", "imagenet-c")
_SEVERITIES = ("cifar-c", "imagenet-c")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.export",
        description="Write images of an output in the layout of another tool. npy: DIR/images.npy, uint8 (n, h, w, 3), "
        "float32 for -exact variants, and DIR/labels.npy, int64 (n,). folder: DIR/SPLIT/CLASS/KEY.png, the stored PNG "
        "bytes unchanged, which torchvision's ImageFolder reads with the same labels. parquet: "
        "DIR/data/SPLIT-00000-of-0000N.parquet, for the Hugging Face Hub and DuckDB. cifar-c: five ranks as the severities "
        "of DIR/low_rank.npy and DIR/high_rank.npy, as in CIFAR-10-C. imagenet-c: DIR/low_rank/SEVERITY/CLASS/FILE, as in "
        "ImageNet-C.",
        epilog="The export appears when it is complete, or not at all. folder: if sorted class names would give other "
        "labels, class folders get their label as a prefix. cifar-c and imagenet-c: severity 1 is the mildest. Exit status: "
        "0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("export"), help="the output's folder")
    parser.add_argument(
        "--variant",
        metavar="NAME",
        help="such as rank5, highrank5, rank5-exact or full; cifar-c and imagenet-c: five names of a component, as in "
        "rank3,rank5,rank8,rank10,rank20 (default: every component with exactly five)",
    )
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="default: train; all for parquet; test for cifar-c and imagenet-c; val and test are aliases",
    )
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=console.path("--to"),
        required=True,
        help="a new folder; for folder, the parent of the splits' folders",
    )
    parser.add_argument(
        "--format", metavar="FORMAT", type=_format, default="npy", help=f"{', '.join(_FORMATS)}; default npy"
    )
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
    severities = options.format in _SEVERITIES
    if options.variant is None and not severities:
        raise UsageError(f"--variant: --format {options.format} needs the variant, such as --variant rank5")
    for line in _export_severities(options) if severities else _export_variant(options):
        if not options.quiet:
            print(one_line(line))
    return 0


def _export_severities(options: argparse.Namespace) -> list[str]:
    from pipeline.data import export_cifar_c, export_imagenet_c
    from pipeline.data.export.severities import severities
    from pipeline.data.output import open_output

    variants = None if options.variant is None else options.variant.split(",")
    write = export_cifar_c if options.format == "cifar-c" else export_imagenet_c
    target = write(options.out, options.to, variants, options.split or "test", _progress(options))
    chosen = severities(open_output(options.out), variants)
    return [f"{name} in {target}: severity 1 to 5 are {', '.join(names)}" for name, names in chosen.items()]


def _export_variant(options: argparse.Namespace) -> list[str]:
    from pipeline.data import RankDataset, export_folder, export_npy, export_parquet

    if options.format == "parquet":
        splits = None if options.split is None else [options.split]
        target = export_parquet(options.out, options.to, options.variant, splits, _progress(options))
        files = sorted(path.name for path in target.glob("data/*.parquet"))
        return [f"{options.variant} in {target / 'data'}: {files[0]}{', ...' * (len(files) > 1)}"]
    data = RankDataset(options.out, options.variant, options.split or "train")
    write = export_npy if options.format == "npy" else export_folder
    target = write(data, options.to, _progress(options))
    lines = [f"{len(data):,} images of {data.variant} {data.split} in {target}"]
    empty = len(data.classes) - len({*data.targets})
    if empty and options.format == "folder":
        lines.append(f"{empty} classes have no image in this split: ImageFolder needs allow_empty=True")
    return lines


def _progress(options: argparse.Namespace) -> Callable[[int, int], None]:
    terminal = sys.stderr.isatty() and not options.quiet

    def progress(done: int, images: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == images else ""
            console.tell(f"\r\x1b[Kexported {done:,} of {images:,} images{end}", end="")

    return progress


if __name__ == "__main__":
    signals.leave(main())
