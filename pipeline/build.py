"""``python -m pipeline.build``: builds the low-rank and high-rank-only shards of a dataset."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import FAILED, REJECTS, PipelineError, UsageError
from pipeline.planning.options import GROUPS

if TYPE_CHECKING:
    from pipeline.planning.job import Job


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.build",
        description="Cut every image of a labelled dataset at the given ranks and write low-rank and high-rank-only "
        "images as WebDataset shards. The same command resumes an interrupted build; more ranks, components, splits or "
        "a larger limit extend a finished one.",
        epilog="Exit status: 0 done and complete; 1 failed; 2 wrong usage; 3 finished, but some images were rejected.",
        allow_abbrev=False,
    )
    for heading, options in GROUPS.items():
        group = parser.add_argument_group(heading)
        for option in options:
            flag: dict[str, Any] = {"help": option.help}
            if option.metavar is None:
                flag["action"] = argparse.BooleanOptionalAction
            else:
                flag["metavar"] = option.metavar
            if option.bare is not None:
                flag |= {"nargs": "?", "const": option.bare}
            group.add_argument(f"--{option.name}", **flag)
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=console.path("--config"),
        help="job file: YAML with the options in its section metadata.job; flags override it",
    )
    return parser


def parse_flags(arguments: list[str] | None) -> dict[str, object]:
    """Returns the options of the command line by name, unchecked. Raises UsageError for an unknown option."""
    flags = vars(_parser().parse(arguments))
    return {key.replace("_", "-"): value for key, value in flags.items() if value is not None}


def parse_job(arguments: list[str] | None) -> "Job":
    """Returns the job of the command line: the options of its file, overridden by its flags. Raises UsageError."""
    flags = parse_flags(arguments)
    from pipeline.planning.job import Job  # here, so that --help does not load NumPy

    config = flags.pop("config", None)
    if config is None:
        return Job.parse(flags)
    from pipeline.planning.job_file import read_job_file

    options = read_job_file(Path(str(config)), overridden=flags) | flags
    try:
        return Job.parse(options)
    except UsageError as error:
        raise UsageError(f"{error} (config {config} and the flags together)") from None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    with signals.raising():
        return _run(arguments, "stopped; what is committed stays, and the same command continues from there")


def _run(arguments: list[str] | None, stopped: str) -> int:
    """Runs the command. With ``--log-json`` every line on stderr is an event as soon as the options are parsed."""
    with contextlib.ExitStack() as stack:  # ends after the message of an error

        def build() -> int:
            job = parse_job(arguments)
            stack.enter_context(console.stderr_for_machines(job.log_json == "-"))
            return _main(job)

        return console.run(build, stopped)


def _main(job: "Job") -> int:
    from pipeline.execution import dry_run, run
    from pipeline.execution.reporting import summary
    from pipeline.execution.reporting.events import Events

    if job.dry_run:
        print(dry_run.describe(job))
        return 0
    events = Events(job.log_json, job.out)
    try:
        outcome = run.build(job, events)
    except (PipelineError, KeyboardInterrupt) as error:
        events.emit("failed", status=getattr(error, "status", FAILED), message=str(error) or "stopped")
        raise
    if not job.quiet:
        print(summary.text(job, outcome))
    events.emit("finished", **summary.event(job, outcome))
    rejects = sum(split["rejects"] for split in outcome.manifest["splits"].values())
    if rejects > job.max_rejects:
        console.tell(summary.rejects(job, rejects))
        return REJECTS
    return 0


if __name__ == "__main__":
    signals.leave(main())
