"""Runs a job file on its cluster. On your machine, this command is ``rank-shards submit`` of the package beside it:

    python jobs/run.py jobs/imagenet_rank50.yaml [flags of pipeline.build, which override the file]

On the head of the cluster it is the script of ``ray submit jobs/imagenet_rank50.yaml jobs/run.py``: it builds the job in
the configuration that ``ray up`` left there. The head's own Python runs it, so it needs only the standard library.
"""

import sys
from pathlib import Path

PROJECT = Path("~/rank-shards").expanduser()  # as in the job files' file_mounts


def main(arguments: list[str]) -> int:
    """Submits if the first argument is a job file, else builds. Returns the exit status."""
    root = Path(__file__).resolve().parent.parent
    root = root if (root / "pipeline").is_dir() else PROJECT  # ray submit copies this file alone
    if not (root / "pipeline").is_dir():
        print(f"error: {PROJECT} has no folder pipeline; run ray up with the job file first", file=sys.stderr)
        return 1
    sys.path.insert(0, str(root))
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        from pipeline import signals
        from pipeline.submit import main as submit

        signals.leave(submit(arguments))
    from pipeline.execution.ray import on_head

    on_head.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
