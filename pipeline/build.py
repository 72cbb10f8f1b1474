"""``python -m pipeline.build``: make a dataset's low-rank and high-rank-only shards."""

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser
from pipeline.errors import FAILED, REJECTS, PipelineError, UsageError

if TYPE_CHECKING:
    from pipeline.planning.job import Job

_FLAGS = ("exact", "allow-unverified", "overwrite", "recheck", "dry-run", "quiet")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.build",
        description="Cut every image of a labelled dataset at the given ranks and write low-rank and high-rank-only "
        "images as WebDataset shards. The same command resumes an interrupted build; more ranks, components, splits or "
        "a larger limit extend a finished one.",
        epilog="Exit status: 0 done and complete; 1 failed; 2 wrong usage; 3 finished, but some images were rejected.",
        allow_abbrev=False,
    )
    source = parser.add_argument_group("what is cut")
    source.add_argument(
        "--dataset", metavar="NAME", help="sample (default), cifar10, cifar100, imagenet, folder or webdataset"
    )
    source.add_argument("--data-dir", metavar="DIR", help="where the data lies; CIFAR is downloaded once without it")
    source.add_argument(
        "--label-key", metavar="KEY", help="of webdataset: the json field that is the label (default: cls)"
    )
    source.add_argument("--classes", metavar="FILE", help="of webdataset: class names, one to a line")
    source.add_argument("--splits", metavar="LIST", help="as in train,test (default: all)")
    source.add_argument("--limit", metavar="N", help="only the first N output positions of each split")
    cuts = parser.add_argument_group("how")
    cuts.add_argument("--ranks", metavar="LIST", help="as in 3,5,10,20: how many singular values low-rank images keep")
    cuts.add_argument(
        "--bands", metavar="LIST", help="as in 50:100: also images of the singular values 51 to 100 alone"
    )
    cuts.add_argument(
        "--radii",
        metavar="LIST",
        help="as in 4,8: also images cut at radii of Fourier frequencies, low-pass and high-pass",
    )
    cuts.add_argument("--components", metavar="LIST", help="of low, high, full (the untouched image); default low,high")
    cuts.add_argument(
        "--resize",
        metavar="N",
        help="pixels of the shorter side, or native; without --crop a square (default: 256 for imagenet, else native)",
    )
    cuts.add_argument("--crop", metavar="N", help="pixels of a centred square, or none (default: 224 for imagenet)")
    cuts.add_argument("--order", metavar="ORDER", help="source or shuffled (default for class-sorted sources)")
    cuts.add_argument("--seed", metavar="N", help="of the shuffled order (default 0)")
    cuts.add_argument("--samples-per-shard", metavar="N", help="default 1250 up to 64 pixels, else 1000")
    cuts.add_argument(
        "--factors",
        nargs="?",
        const="float32",
        metavar="TYPE",
        help="keep U, S and V up to the largest rank, as float32 (default) or float16",
    )
    target = parser.add_argument_group("where to, and with what")
    target.add_argument("--out", metavar="DIR", help="default out/<name>; also s3://bucket/prefix or gs://...")
    target.add_argument("--name", metavar="NAME", help="of the output's variants (default: the dataset's)")
    target.add_argument("--device", metavar="NAME", help="auto (default: GPUs where there are any), cpu or cuda")
    target.add_argument("--gpus", metavar="N", help="GPUs at most (default: all that CUDA_VISIBLE_DEVICES shows)")
    target.add_argument("--workers", metavar="N", help="processes (default: all cores); 0: this one, without Ray")
    target.add_argument(
        "--address", metavar="ADDR", help="of a Ray cluster: auto or host:port (default: none, or the Ray job's)"
    )
    target.add_argument(
        "--config",
        metavar="FILE",
        type=console.path("--config"),
        help="job file, its section metadata.job; flags win over it",
    )
    target.add_argument("--max-rejects", metavar="N", help="unreadable images that are no failure (default 0)")
    target.add_argument("--stall", metavar="N", help="seconds without progress to tell of (default 120; 0: never)")
    target.add_argument(
        "--log-json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="one JSON object per event, on stderr or appended to FILE",
    )
    switch = parser.add_argument_group("switches")
    helps = (
        "also write every cut as float32 .npy, neither rounded nor clipped",
        "build from files whose checksum is not the official one; the output says so",
        "delete what an earlier build wrote to --out, and build anew",
        "compare hashes, not only sizes, of what is already built",
        "show shards, bytes and time; write nothing",
        "no progress, no summary",
    )
    for name, text in zip(_FLAGS, helps, strict=True):
        switch.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
    return parser


def parse_flags(arguments: list[str] | None) -> dict[str, object]:
    """The options that flags give, by their names. Raises UsageError: an unknown one; values are not looked at."""
    given = vars(_parser().parse(arguments))
    return {key.replace("_", "-"): value for key, value in given.items() if value is not None}


def parse_job(arguments: list[str] | None) -> "Job":
    """The job of the command line: the options of its file, overridden by its flags. Raises UsageError."""
    given = parse_flags(arguments)
    from pipeline.planning.job import Job  # after --help, which answers without NumPy

    config = given.pop("config", None)
    if config is None:
        return Job.parse(given)
    from pipeline.planning.job_file import read_job_file

    options = read_job_file(Path(str(config)), overridden=given) | given
    try:
        return Job.parse(options)
    except UsageError as error:
        raise UsageError(f"{error} (config {config} and the flags together)") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    with console.stopped_by_sigterm():
        return _run(arguments, "stopped; what is committed stays, and the same command goes on from there")


def _run(arguments: list[str] | None, stopped: str) -> int:
    """Run the command; with ``--log-json`` every line on stderr is an event from the moment the options are known."""
    with contextlib.ExitStack() as until_told:

        def build() -> int:
            job = parse_job(arguments)
            until_told.enter_context(console.stderr_for_machines(job.log_json == "-"))
            return _main(job)

        return console.run(build, stopped)


def _main(job: "Job") -> int:
    from pipeline.execution import dry_run, run, summary
    from pipeline.execution.events import Events

    if job.dry_run:
        print(dry_run.describe(job))
        return 0
    events = Events(job.log_json, job.out)
    try:
        outcome = run.build(job)
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
    console.leave(main())
