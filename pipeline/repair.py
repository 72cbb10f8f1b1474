"""``python -m pipeline.repair``: make those files of an output anew that verify has named, and nothing else."""

import argparse
from typing import Any

from pipeline import console
from pipeline.console import Parser
from pipeline.errors import FAILED, PipelineError, one_line
from pipeline.storage.location import local_output


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.repair",
        description="Make those files of a finished output anew that python -m pipeline.verify has named, from its "
        "manifest.json and the source; leave all others alone; and prove what was made.",
        epilog="Exit status: 0 nothing is wrong any more; 1 something is, and is named; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("repair"), help="the output's folder")
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=console.path("--report"),
        help="of verify --json: repair what it names (default: verify first)",
    )
    console.origin(parser)
    parser.add_argument(
        "--workers", metavar="N", type=console.whole("--workers", 0), help="processes (default: all cores)"
    )
    console.stall(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    with console.stopped_by_sigterm():
        return console.run(
            lambda: _main(_parser().parse(arguments)), "stopped; what is repaired stays, and the same command goes on"
        )


def _main(options: argparse.Namespace) -> int:
    from pipeline.execution.rebuild import job_of, repair, tidy
    from pipeline.storage.local_store import LocalStore
    from pipeline.verification import report
    from pipeline.verification.faults import Faults
    from pipeline.verification.manifest import document
    from pipeline.verification.manifest.claims import NAME
    from pipeline.verification.prove import EMBEDDED

    LocalStore(options.out).check_inside()
    damage = Faults()
    claims = document.load(options.out, damage)
    faults = (
        [(fault["file"], fault["fault"]) for fault in report.check(options.report, options.out)["faults"]]
        if options.report
        else [(fault.file, fault.text) for fault in _proven(options, None)]
    )
    wrong = [text for file, text in [*damage.kept, *faults] if file == NAME]
    if wrong:
        raise PipelineError(f"{NAME}, by which a repair goes, is at fault: {wrong[0]}; build the output anew")
    named = {file for file, _ in faults}
    files = named & claims.files.keys()
    left = {file: text for file, text in faults if file not in files and not any(f.startswith(file) for f in files)}
    if files:
        raw = document.read_raw(options.out)
        if options.source is None and claims.dataset != EMBEDDED and not _from_manifest(files, raw):
            raise PipelineError("what is at fault is made from the source: say with --source DIR where that lies")
        found = repair(options.out, raw, files, job_of(raw, options.out, _options(options)))
        for name in found.repaired:
            print(one_line(f"repaired: {name}"), flush=True)
        for name in found.refused:
            left[name] = "made anew it has another SHA-256 than the manifest claims; it was left as it is"
        for fault in _proven(options, frozenset(files)):
            left.setdefault(fault.file, fault.text)
    else:
        tidy(options.out)
    for name, text in left.items():
        console.tell(one_line(f"left: {name}: {text}"))
    if not files and not left:
        print("nothing is wrong, so there is nothing to repair")
    return FAILED if left else 0


def _from_manifest(files: set[str], raw: dict[str, Any]) -> bool:
    """Whether all these files are made from the manifest alone."""
    from pipeline.formats import clients

    return files <= clients.files(raw).keys()


def _options(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "data-dir": options.source and str(options.source),
        "label-key": options.label_key,
        "classes": options.classes and str(options.classes),
        "workers": options.workers,
        "stall": options.stall,
    }
    return given | {"allow-unverified": options.allow_unverified}


def _proven(options: argparse.Namespace, only: frozenset[str] | None) -> list[Any]:
    """The faults that a full proof finds, of all parts or of those that some files belong to."""
    from pipeline.verification.prove import Origin, prove
    from pipeline.verification.stall_watch import Alarm

    origin = Origin(options.source, options.allow_unverified, options.label_key, options.classes)
    workers = 1 if options.workers == 0 else options.workers  # 0 builds in this process, and so proves in it
    alarm = Alarm(options.stall, lambda event, message, **_: console.tell(one_line(message)))
    proof = prove(options.out, origin, 64, workers, lambda *_: None, only=only, alarm=alarm)
    return proof.total.faults.kept


if __name__ == "__main__":
    console.leave(main())
