"""``python -m pipeline.verify``: prove that an output is complete and right."""

import argparse
import sys
from pathlib import Path

from pipeline import command
from pipeline.command import Parser
from pipeline.errors import FAILED, one_line
from pipeline.location import local_output


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.verify",
        description="Prove a finished output from its manifest.json: every file's hash, every sample's presence, "
        "order, label and decoding, that low and high add up to the image, and some images recomputed in float64.",
        epilog="Exit status: 0 proven; 1 not, the faults are named; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("prove"), help="the output's folder")
    parser.add_argument(
        "--source", metavar="DIR", type=Path, help="where the data lies that it was made from (not for dataset sample)"
    )
    parser.add_argument(
        "--allow-unverified", action="store_true", help="take a source whose checksums are not the official ones"
    )
    parser.add_argument("--label-key", metavar="KEY", help="of a webdataset source, as it was built with")
    parser.add_argument("--classes", metavar="FILE", type=Path, help="of a webdataset source, as it was built with")
    parser.add_argument(
        "--sample", metavar="N", type=command.whole("--sample", 0), default=64, help="images to recompute (default 64)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=command.whole("--workers"), help="processes (default: all cores)"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    return command.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing is proven")


def _main(options: argparse.Namespace) -> int:
    from pipeline.proof import summary
    from pipeline.proof.prove import Origin, prove

    terminal = sys.stderr.isatty()

    def progress(done: int, parts: int) -> None:
        if terminal:
            end = "\r\x1b[K" if done == parts else ""
            command.tell(f"\r\x1b[Kproven {done} of {parts} parts{end}", end="")

    source = Origin(options.source, options.allow_unverified, options.label_key, options.classes)
    proof = prove(options.out, source, options.sample, options.workers, progress)
    if proof.total.faults.count:
        command.tell(_safe(summary.faults(proof)))
        return FAILED
    print(_safe(summary.proven(proof)), flush=True)
    return 0


def _safe(text: str) -> str:
    """Lines fit for a terminal, whatever the output's folder is called."""
    return "\n".join(map(one_line, text.split("\n")))


if __name__ == "__main__":
    sys.exit(main())
