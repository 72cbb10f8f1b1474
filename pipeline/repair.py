"""``python -m pipeline.repair``: rebuilds the files of an output that verify reports, and no others."""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import FAILED, PipelineError, UsageError, one_line
from pipeline.sources import OBJECT
from pipeline.storage.location import local_output

if TYPE_CHECKING:
    from pipeline.sources.index import Source

_OF_OBJECT = "the output was built from a dataset object: call pipeline.repair_dataset(dataset, out) in Python"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.repair",
        description="Rebuild the files of a finished output that verify reports, from its manifest.json "
        "and the source, and verify them. No other file changes.",
        epilog="Exit status: 0 everything is correct; 1 some files are still wrong and are named; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("repair"), help="the output's folder")
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=console.path("--report"),
        help="report of verify --json: repair the files that it names (default: verify first)",
    )
    console.origin(parser)
    parser.add_argument(
        "--workers", metavar="N", type=console.whole("--workers", 0), help="processes (default: all usable cores)"
    )
    console.stall(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    with signals.raising():
        return console.run(
            lambda: _main(_parser().parse(arguments)), "stopped; what is repaired stays, and the same command continues"
        )


def _main(options: argparse.Namespace) -> int:
    checked = repair_output(options)
    for name, text in checked.left.items():
        console.tell(one_line(f"left: {name}: {text}"))
    if not checked.repaired and not checked.left:
        print("nothing is wrong, so there is nothing to repair")
    return FAILED if checked.left else 0


class Repaired(NamedTuple):
    """What a repair did: the files that were rebuilt, and those that are still wrong, each with the reason."""

    repaired: list[str]
    left: dict[str, str]


def repair_output(options: argparse.Namespace, source: "Source | None" = None) -> Repaired:
    """Verifies an output, unless a report names its faults, and rebuilds the files at fault. Prints each.

    Args:
        options: those of the command.
        source: the source; None if the options name it.

    Raises:
        PipelineError: the manifest is at fault, the source is not the one of the build, or it is needed and not given.
    """
    from pipeline.execution.rebuild import tidy
    from pipeline.planning.output_spec import check_format
    from pipeline.storage.local_store import LocalStore
    from pipeline.verification import report
    from pipeline.verification.faults import Faults
    from pipeline.verification.manifest import document
    from pipeline.verification.manifest.claims import NAME

    LocalStore(options.out).check_inside()
    check_format(document.read_raw(options.out)["format"])
    manifest_faults = Faults()
    claims = document.load(options.out, manifest_faults)
    _check_source(options, claims.dataset, source)
    faults = (
        [(fault["file"], fault["fault"]) for fault in report.check(options.report, options.out)["faults"]]
        if options.report
        else [(fault.file, fault.text) for fault in _verified(options, None)]
    )
    in_manifest = [text for file, text in [*manifest_faults.listed, *faults] if file == NAME]
    if in_manifest:
        raise PipelineError(f"{NAME}, which a repair relies on, is at fault: {in_manifest[0]}; rebuild the output")
    names = {file for file, _ in faults}
    files = names & claims.files.keys()
    left = {file: text for file, text in faults if file not in files and not any(f.startswith(file) for f in files)}
    if not files:
        tidy(options.out)
        return Repaired([], left)
    repaired, still_wrong = _repaired(options, files, claims.dataset, source)
    return Repaired(repaired, left | still_wrong)


def _check_source(options: argparse.Namespace, dataset: str, source: "Source | None") -> None:
    """Raises PipelineError if an output was built from a dataset object and a folder is given, or the other way round."""
    if dataset == OBJECT and options.source is not None:
        raise UsageError(f"--source: {_OF_OBJECT}")
    if dataset != OBJECT and source is not None:
        raise PipelineError(
            f"{options.out} was built from the dataset {one_line(dataset)!r}, not from a dataset object: repair it with "
            "the command repair"
        )


def _repaired(
    options: argparse.Namespace, files: set[str], dataset: str, source: "Source | None"
) -> tuple[list[str], dict[str, str]]:
    """Repairs some files and verifies them. Returns those repaired, and those still wrong, each with the reason."""
    from pipeline.execution.rebuild import job_of, repair
    from pipeline.verification.manifest import document
    from pipeline.verification.verify_output import EMBEDDED

    raw = document.read_raw(options.out)
    if source is None and options.source is None and dataset != EMBEDDED and not _from_manifest(files, raw):
        if dataset == OBJECT:
            raise PipelineError(f"the files at fault are built from the source: {_OF_OBJECT}")
        raise PipelineError("the files at fault are built from the source: give its folder with --source DIR")
    result = repair(options.out, raw, files, job_of(raw, options.out, _job_options(options)), source)
    for name in result.repaired:
        print(one_line(f"repaired: {name}"), flush=True)
    left = dict.fromkeys(
        result.refused, "rebuilt, it has another SHA-256 than in the manifest; the file was not changed"
    )
    for fault in _verified(options, frozenset(files)):
        left.setdefault(fault.file, fault.text)
    return result.repaired, left


def _from_manifest(files: set[str], raw: dict[str, Any]) -> bool:
    """Returns whether all these files are made from the manifest alone."""
    from pipeline.formats import clients

    return files <= clients.files(raw).keys()


def _job_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of the command as options of a build."""
    return {
        "data-dir": options.source and str(options.source),
        "image-key": options.image_key,
        "label-key": options.label_key,
        "classes": options.classes and str(options.classes),
        "workers": options.workers,
        "stall": options.stall,
        "allow-unverified": options.allow_unverified,
    }


def _verified(options: argparse.Namespace, only: frozenset[str] | None) -> list[Any]:
    """Verifies the output, or only the parts that some files belong to. Returns the faults."""
    from pipeline.verification.verify_output import Options, SourceOptions, verify_output
    from pipeline.verification.workers.stall_watch import Alarm

    source = SourceOptions.of(options)
    workers = 1 if options.workers == 0 else options.workers  # --workers 0 builds in this process; 1 verifies in it
    alarm = Alarm(options.stall, lambda event, message, **_: console.tell(one_line(message)))
    return verify_output(options.out, Options(source, 64, workers, only=only, alarm=alarm)).total.faults.listed


if __name__ == "__main__":
    signals.leave(main())
