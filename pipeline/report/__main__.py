"""``python -m pipeline.report``: shows an output as one HTML file with pictures and plots."""

import argparse
import contextlib
from pathlib import Path

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.storage.location import local_output
from pipeline.storage.user_files import check, inside

NAME = "report.html"
_DOCTYPE = b"<!doctype html>"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.report",
        description="Write one HTML file that shows an output: its images at every rank, the singular values, errors, "
        "clipping, classes, rejects, times and hashes. The report needs only the output, and the file needs no network.",
        epilog="Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("output", metavar="OUT", type=local_output("report on"), help="the output's folder")
    parser.add_argument("--out", metavar="FILE", type=console.path("--out"), help=f"default OUT/{NAME}")
    parser.add_argument(
        "--png", metavar="DIR", type=console.path("--png"), help="also write the pictures and plots at paper quality"
    )
    parser.add_argument("--split", metavar="NAME", help="split to show (default: the first)")
    parser.add_argument(
        "--sample",
        metavar="N",
        type=console.whole("--sample"),
        help="number of images to measure PSNR and SSIM on (default: up to 128)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been written")


def _main(options: argparse.Namespace) -> int:
    from pipeline.report import paper
    from pipeline.report.contents import make
    from pipeline.report.page import render as page

    target = options.out or options.output / NAME
    if options.out:
        target = target.resolve()  # a link stays; the file it points to is replaced
        if inside(target, options.output) and (target.parent != options.output.resolve() or target.suffix != ".html"):
            raise UsageError(
                f"--out {options.out} is inside the output: name an .html file directly in {options.output}, or outside"
            )
        check("--out", target, _DOCTYPE, "is not a report")
        if target.exists() and not target.is_file():
            raise UsageError(f"--out {options.out} is not a regular file: name another file")
    if options.png and options.png.exists() and not options.png.is_dir():
        raise UsageError(f"--png {options.png} is a file: name a folder")
    report = make(options.output, options.split, options.sample)
    if options.png:
        paper.check(report, options.png)
    _write(target, page.render(report).encode("utf-8", "backslashreplace"))
    print(one_line(f"{target}: {target.stat().st_size / 1e6:,.1f} MB; open it in a browser"))
    if options.png:
        print(one_line(f"{options.png}: {', '.join(paper.write(report, options.png))}"))
    return 0


def _write(target: Path, content: bytes) -> None:
    """Writes the complete file, or none."""
    scratch = target.with_name(f".{target.name}.part")
    try:
        scratch.write_bytes(content)
        scratch.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise PipelineError(f"--out {target}: {error.strerror}; name another file with --out FILE") from None


if __name__ == "__main__":
    signals.leave(main())
