"""``python -m pipeline.verify``: prove that an output is complete and right."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pipeline import console
from pipeline.console import Parser
from pipeline.errors import FAILED, UsageError, one_line
from pipeline.storage.location import local_output

if TYPE_CHECKING:
    from pipeline.verification.faults import Faults


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.verify",
        description="Prove a finished output from its manifest.json: every file's hash, every sample's presence, "
        "order, label and decoding, that low and high add up to the image, and some images recomputed in float64.",
        epilog="Exit status: 0 proven; 1 not, the faults are named; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("prove"), help="the output's folder")
    console.origin(parser)
    parser.add_argument(
        "--sample", metavar="N", type=console.whole("--sample", 0), default=64, help="images to recompute (default 64)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=console.whole("--workers"), help="processes (default: all cores)"
    )
    console.stall(parser)
    parser.add_argument("--quick", action="store_true", help="only that every file is there with its size, in seconds")
    parser.add_argument(
        "--json", metavar="FILE", type=console.path("--json"), help="write what was found as a report, '-' for stdout"
    )
    parser.add_argument(
        "--check",
        metavar="REPORT",
        type=console.path("--check"),
        help="whether a report is unaltered and of this output; reads nothing else",
    )
    parser.add_argument(
        "--progress",
        metavar="FILE",
        type=console.path("--progress"),
        help="keeps what is proven until all is (default OUT/.build/proof/parts)",
    )
    parser.add_argument("--fresh", action="store_true", help="believe nothing that an interrupted run has proven")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    with console.stopped_by_sigterm():
        return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing is proven")


def _main(options: argparse.Namespace) -> int:
    source = options.source or options.allow_unverified or options.label_key or options.classes
    if options.check:
        if source or options.quick or options.json or options.progress or options.fresh:
            raise UsageError("--check reads the report and the manifest alone: only OUT goes with it")
        return _check(options)
    if options.quick:
        if source or options.progress or options.fresh:
            raise UsageError(
                "--quick reads no file, so --source (and how to read it), --progress and --fresh do not go with it"
            )
        return _quick(options)
    return _prove(options)


def _prove(options: argparse.Namespace) -> int:
    from pipeline.verification import forks

    if not options.source and (options.label_key or options.classes or options.allow_unverified):
        raise UsageError(
            "--label-key, --classes and --allow-unverified say how to read a source: name it with --source DIR"
        )

    if options.workers != 1 and (options.out / "manifest.json").is_file():
        forks.warm()  # before all that the next lines load
    from pipeline.verification import report, resume, summary
    from pipeline.verification.prove import Keeping, Origin, prove
    from pipeline.verification.report_file import ReportFile
    from pipeline.verification.stall_watch import Alarm

    terminal, proven = sys.stderr.isatty(), 0

    def progress(done: int, parts: int) -> None:
        nonlocal proven
        proven = done
        if terminal:
            end = "\r\x1b[K" if done == parts else ""
            console.tell(f"\r\x1b[Kproven {done} of {parts} parts{end}", end="")

    source = Origin(options.source, options.allow_unverified, options.label_key, options.classes)
    path = resume.named(options.progress, options.out) if options.progress else resume.in_output(options.out)
    keeping = Keeping(path, options.fresh)
    if options.json:
        ReportFile(options.json).clear(options.out)
    try:
        proof = prove(
            options.out, source, options.sample, options.workers, progress, keeping, alarm=Alarm(options.stall, _say)
        )
    except KeyboardInterrupt:
        if proven and keeping.path and keeping.path.is_file():
            console.tell(f"stopped; {proven} parts are proven, and the same command goes on from there")
            return FAILED
        raise
    if options.json:
        ReportFile(options.json).write(report.to_bytes(report.of_proof(proof, options.sample)))
    return _told(proof.total.faults, summary.proven(proof), options)


def _quick(options: argparse.Namespace) -> int:
    from pipeline.liveness import lasting
    from pipeline.verification import quick, report, summary
    from pipeline.verification.report_file import ReportFile

    if options.json:
        ReportFile(options.json).clear(options.out)
    with lasting(options.stall, f"looking through the files of {options.out}", _say):
        seen = quick.look(options.out)
    if options.json:
        ReportFile(options.json).write(report.to_bytes(report.of_look(seen)))
    return _told(seen.faults, summary.looked(seen), options)


def _say(event: str, message: str, **_: Any) -> None:
    """What ``--stall`` tells, on a terminal in place of the line that says how far it is."""
    console.tell(("\r\x1b[K" if sys.stderr.isatty() else "") + one_line(message))


def _told(faults: "Faults", right: str, options: argparse.Namespace) -> int:
    from pipeline.verification import summary

    if faults.count:
        console.tell(_safe(summary.faults(faults)))
        return FAILED
    if str(options.json) != "-":
        print(_safe(right), flush=True)
    return 0


def _check(options: argparse.Namespace) -> int:
    from pipeline.verification import report

    found = report.check(options.check, options.out)
    right = found["verdict"] != report.FAULTY
    told = "no fault" if right else f"{found['faults_in_all']:,} faults"
    print(_safe(f"{options.check} is unaltered and of this output; a {found['mode']} verify found {told}"), flush=True)
    return 0 if right else FAILED


def _safe(text: str) -> str:
    """Lines fit for a terminal, whatever the output's folder is called."""
    return "\n".join(map(one_line, text.split("\n")))


if __name__ == "__main__":
    console.leave(main())
