"""``python -m pipeline.verify``: verifies that an output is complete and right."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import FAILED, UsageError, one_line
from pipeline.storage.location import local_output

if TYPE_CHECKING:
    from pipeline.verification.faults import Faults
    from pipeline.verification.same_as import Comparison


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.verify",
        description="Verify a finished output from its manifest.json: every file's hash, every sample's presence, "
        "order, label and decoding, that low and high add up to the image, and some images recomputed in float64.",
        epilog="Exit status: 0 verified; 1 not, the faults are named; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("verify"), help="the output's folder")
    console.origin(parser)
    parser.add_argument(
        "--sample", metavar="N", type=console.whole("--sample", 0), default=64, help="images to recompute (default 64)"
    )
    parser.add_argument(
        "--workers", metavar="N", type=console.whole("--workers"), help="processes (default: all usable cores)"
    )
    console.stall(parser)
    parser.add_argument("--quick", action="store_true", help="only that every file is there with its size, in seconds")
    parser.add_argument(
        "--json", metavar="FILE", type=console.path("--json"), help="write the result as a report, '-' for stdout"
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
        help="keeps the verified parts until all are (default OUT/.build/proof/parts)",
    )
    parser.add_argument(
        "--part",
        metavar="K/N",
        type=_share,
        help="verify only the K-th of N parts, such as 3/10; a run without --part, after all of them, gives the result",
    )
    parser.add_argument(
        "--same-as",
        metavar="OTHER",
        type=local_output("verify"),
        help="also compare with another output: the same samples, labels and pixels, by the digests in its manifest.json",
    )
    parser.add_argument("--fresh", action="store_true", help="ignore what an interrupted run has verified")
    return parser


def _share(text: str) -> tuple[int, int]:
    number, slash, shares = text.partition("/")
    count = console.whole("--part")
    try:
        share = count(number), count(shares)
    except UsageError:
        share = (1, 0)
    if not slash or share[0] > share[1]:
        raise UsageError(f"--part: {text!r} is not of the form K/N with K from 1 to N, such as 3/10")
    return share


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    with signals.raising():
        return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing is verified")


def _main(options: argparse.Namespace) -> int:
    keys = options.image_key or options.label_key or options.classes
    source = options.source or options.allow_unverified or keys
    if options.check:
        alone = (source, options.quick, options.json, options.progress, options.fresh, options.part, options.same_as)
        if any(alone):
            raise UsageError("--check reads the report and the manifest alone: only OUT goes with it")
        return _check(options)
    if options.quick:
        if source or options.progress or options.fresh or options.part:
            raise UsageError(
                "--quick reads no file, so --source (and how to read it), --progress, --part and --fresh do not go with it"
            )
        return _quick(options)
    return _verify(options)


def _verify(options: argparse.Namespace) -> int:
    from pipeline.verification.workers import fork_server

    keys = options.image_key or options.label_key or options.classes
    if not options.source and (keys or options.allow_unverified):
        raise UsageError(
            "--image-key, --label-key, --classes and --allow-unverified say how to read a source: name it with --source DIR"
        )
    if options.workers != 1 and (options.out / "manifest.json").is_file():
        fork_server.start()  # it loads its modules while this process loads its own
    from pipeline.verification import report, resume, summary
    from pipeline.verification.report_file import ReportFile
    from pipeline.verification.verify_output import Options, Resume, SourceOptions, verify_output
    from pipeline.verification.workers.stall_watch import Alarm

    if options.part and options.json:
        raise UsageError("--part has no report: verify without --part reports on all parts, when they are verified")
    if options.part and options.same_as:
        raise UsageError("--same-as compares whole outputs: verify all parts, and compare without --part")
    terminal, verified = sys.stderr.isatty(), 0
    comparison = _compared(options)

    def progress(done: int, parts: int) -> None:
        nonlocal verified
        verified = done
        if terminal:
            end = "\r\x1b[K" if done == parts else ""
            console.tell(f"\r\x1b[Kverified {done} of {parts} parts{end}", end="")

    source = SourceOptions.of(options)
    path = resume.chosen_path(options.progress, options.out) if options.progress else resume.default_path(options.out)
    kept = Resume(path, options.fresh)
    if options.json:
        ReportFile(options.json).clear(options.out)
    alarm = Alarm(options.stall, _say)
    settings = Options(source, options.sample, options.workers, kept, alarm=alarm, share=options.part)
    try:
        verification = verify_output(options.out, settings, progress)
    except KeyboardInterrupt:
        if verified and path and path.is_file():
            raise KeyboardInterrupt(
                f"stopped; {verified} parts are verified, and the same command continues from there"
            ) from None
        raise
    if options.json:
        content = report.to_bytes(report.of_verification(verification, options.sample))
        ReportFile(options.json).write(content)
    result = summary.of_share(verification, options.part) if options.part else summary.of_verification(verification)
    return _print(verification.total.faults, result, options, comparison)


def _quick(options: argparse.Namespace) -> int:
    from pipeline.liveness import lasting
    from pipeline.verification import quick_check, report, summary
    from pipeline.verification.report_file import ReportFile

    if options.json:
        ReportFile(options.json).clear(options.out)
    comparison = _compared(options)
    with lasting(options.stall, f"looking through the files of {options.out}", _say):
        result = quick_check.check(options.out)
    if options.json:
        ReportFile(options.json).write(report.to_bytes(report.of_quick_check(result)))
    return _print(result.faults, summary.of_quick_check(result), options, comparison)


def _compared(options: argparse.Namespace) -> "Comparison | None":
    """Compares the output with that of ``--same-as``. Raises PipelineError if one of them cannot be compared."""
    from pipeline.verification import same_as

    return same_as.compare(options.out, options.same_as) if options.same_as else None


def _say(event: str, message: str, **_: Any) -> None:
    """Prints a message of ``--stall``; on a terminal it replaces the line of progress."""
    console.tell(("\r\x1b[K" if sys.stderr.isatty() else "") + one_line(message))


def _print(faults: "Faults", result: str, options: argparse.Namespace, comparison: "Comparison | None") -> int:
    """Prints the faults, or the differences from another output, or the result. Returns the exit status."""
    from pipeline.verification import summary

    if faults.count:
        console.tell(_safe(summary.of_faults(faults)))
        return FAILED
    if comparison and comparison.differences:
        console.tell(_safe(summary.of_differences(comparison)))
        return FAILED
    if str(options.json) != "-":
        print(_safe(result + (summary.of_comparison(comparison) if comparison else "")), flush=True)
    return 0


def _check(options: argparse.Namespace) -> int:
    from pipeline.verification import report

    content = report.check(options.check, options.out)
    right = content["verdict"] != report.FAULTY
    faults = "no fault" if right else f"{content['faults_in_all']:,} faults"
    line = f"{options.check} is unaltered and of this output; a {content['mode']} verify found {faults}"
    print(_safe(line), flush=True)
    return 0 if right else FAILED


def _safe(text: str) -> str:
    """Returns lines fit for a terminal, whatever the output's folder is called."""
    return "\n".join(map(one_line, text.split("\n")))


if __name__ == "__main__":
    signals.leave(main())
