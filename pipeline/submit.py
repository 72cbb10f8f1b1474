"""``rank-shards submit``: updates a cluster's copy of a job file and runs the job there."""

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import FAILED, PipelineError, UsageError

_SUFFIXES = (".yaml", ".yml")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.submit",
        usage="%(prog)s JOB.yaml [options of build]",
        description="Run a job file on its cluster: check it, update the cluster's copy of it without restarting Ray "
        "(ray up --no-restart), and build there (ray submit). Options of build override the file. The same command resumes.",
        epilog="Exit status: 0 built; 1 failed; 2 wrong usage, and nothing was sent.",
        allow_abbrev=False,
    )
    parser.add_argument("job", metavar="JOB.yaml", help="job file with the sections metadata.job and provider")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    return console.run(lambda: _main(words), "stopped; the same command continues from what is committed")


def _main(words: list[str]) -> int:
    if words[:1] in (["--help"], ["-h"]):
        _parser().parse(words)
    if not words or not words[0].endswith(_SUFFIXES) or words[0].startswith("-"):
        first = f", not {words[0]!r}" if words else ""
        raise UsageError(f"give the job file first, as in submit JOB.yaml --limit 1000{first}")
    return submit(Path(words[0]), words[1:])


def submit(config: Path, flags: list[str]) -> int:
    """Checks the job, updates the cluster without restarting Ray, and runs the job there.

    Args:
        config: the job file.
        flags: options of ``pipeline.build``, which override the file.

    Returns:
        The exit status of ``ray submit``.

    Raises:
        PipelineError: the file or a flag is wrong, or ``ray up`` failed.
    """
    from pipeline.execution.ray import on_head

    cluster = _checked(config, flags)
    ray = str(Path(sys.executable).with_name("ray"))
    # Ray's newer autoscaler starts one worker too few with a local provider.
    environment = {"RAY_UP_enable_autoscaler_v2": "0"} if cluster["provider"].get("type") == "local" else {}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
    up = subprocess.run([ray, "up", "-y", "--no-restart", str(config)], env=environment | os.environ)
    if up.returncode:
        raise PipelineError("ray up failed, so nothing was submitted", FAILED)
    script = [on_head.__file__, "--", "--digest", on_head.digest(cluster["metadata"]["job"])]
    command = [ray, "submit", str(config), *script, *map(shlex.quote, flags)]
    return subprocess.run(command, env=environment | os.environ).returncode


def _checked(config: Path, flags: list[str]) -> dict[str, Any]:
    """Returns a job file as Ray reads it. Raises UsageError if its job, with the flags, is not one."""
    import yaml

    from pipeline.build import parse_flags
    from pipeline.planning.job import Job
    from pipeline.planning.job_file import read_job_file

    options = parse_flags(flags)
    if "config" in options:
        raise UsageError("--config cannot be used with submit: the job file is its first argument")
    if _is_of_kubernetes(config):
        raise UsageError(f"config {config} is a file for Kubernetes: kubectl apply -f {config}")
    section = read_job_file(config, overridden=options)  # its errors name the file
    try:
        here = Job.parse(section | options)
        cluster: dict[str, Any] = yaml.safe_load(config.read_text())  # as Ray reads it
        there = Job.parse(cluster["metadata"]["job"] | options)
    except PipelineError as error:
        line = f"{error} (config {config} and the flags together)" if options else f"config {config}: {error}"
        raise PipelineError(line, error.status) from None
    except (ValueError, yaml.YAMLError) as error:  # Ray reads 2026-99-99 as a date, and = as a tag
        raise UsageError(f"config {config} is not valid YAML to Ray: {' '.join(str(error).split())}") from None
    if not isinstance(cluster.get("provider"), dict):
        raise UsageError(f"config {config} has no section provider, which describes the cluster to Ray")
    if here != there:
        raise UsageError(
            f"config {config}: Ray reads metadata.job differently (010 as 8, yes as true); put such values in quotes"
        )
    if cluster["provider"].get("type") == "aws":
        _check_aws(config, cluster)
    _check_local_files(config, cluster)
    return cluster


def _check_local_files(config: Path, cluster: dict[str, Any]) -> None:
    """Raises UsageError if this machine lacks the key for ssh, or a file that is sent to the nodes."""
    auth, mounts = cluster.get("auth"), cluster.get("file_mounts")
    key = auth.get("ssh_private_key") if isinstance(auth, dict) else None
    if isinstance(key, str) and not os.path.isfile(os.path.expanduser(key)):
        raise UsageError(
            f"config {config}: there is no {key}; set auth.ssh_private_key to the key that opens the machines"
        )
    for path in mounts.values() if isinstance(mounts, dict) else ():
        if isinstance(path, str) and not os.path.exists(os.path.expanduser(path)):
            raise UsageError(
                f"config {config}: file_mounts sends {path}, which does not exist here; submit in the folder of the project"
            )


def _is_of_kubernetes(config: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # reading the job reports these
        return re.search(r"(?m)^apiVersion:", config.read_text()) is not None
    return False


def _check_aws(config: Path, cluster: dict[str, Any]) -> None:
    """Raises PipelineError if boto3 is missing here, and UsageError if Ray would use its default image."""
    types = cluster.get("available_node_types")
    for name, node_type in types.items() if isinstance(types, dict) else ():
        image = ((node_type or {}).get("node_config") or {}).get("ImageId")
        if not image or image == "ami-EDIT":
            raise UsageError(
                f"config {config}: node type {name} has no ImageId, so Ray would use an image whose Python is too old; "
                "jobs/aws.yaml says how to find one"
            )
    if importlib.util.find_spec("boto3") is None:
        raise PipelineError("Ray needs boto3 on this machine to start machines of AWS: pip install boto3", FAILED)


if __name__ == "__main__":
    signals.leave(main())
