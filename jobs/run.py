"""Runs a job file on its cluster. On your machine, this command updates the cluster's copy of the file and submits it:

    python jobs/run.py jobs/imagenet_rank50.yaml [flags of pipeline.build, which override the file]

On the head of the cluster it is the script of ``ray submit jobs/imagenet_rank50.yaml jobs/run.py``: it builds the job in
the configuration that ``ray up`` left there. ``ray submit`` does not send an edited file. Therefore a copy runs only once
without the digest that the first form passes. The head's own Python runs this file, so it needs only the standard library.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

PROJECT = Path("~/rank-shards").expanduser()  # as in the job files' file_mounts
RESOLVED = Path("~/ray_bootstrap_config.yaml").expanduser()  # JSON, written by ray up
TAKEN = Path("~/.rank-shards-job.json").expanduser()  # the job that ran last, and the copy that it came from


def main(arguments: list[str]) -> int:
    """Submits if the first argument is a job file, else builds. Returns the exit status."""
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        return submit(Path(arguments[0]), arguments[1:])
    expected = None
    if arguments[:1] == ["--digest"]:
        expected, arguments = arguments[1], arguments[2:]
    build(expected, arguments)


def digest(job: Any) -> str:
    """Returns twelve hexadecimal digits that identify the content of a job."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


def submit(config: Path, flags: list[str]) -> int:
    """Checks the job, updates the cluster without restarting Ray, and runs the job there. Returns the exit status."""
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    import yaml

    from pipeline.build import parse_flags
    from pipeline.errors import PipelineError
    from pipeline.planning.job import Job
    from pipeline.planning.job_file import read_job_file

    try:
        options = parse_flags(flags)
        if "config" in options:
            fail("--config cannot be used with run.py: the job file is its first argument", 2)
        section = read_job_file(config, overridden=options)  # its errors name the file
    except PipelineError as error:
        fail(str(error), error.status)
    try:
        here = Job.parse(section | options)
        cluster = yaml.safe_load(config.read_text())  # as Ray reads it
        there = Job.parse(cluster["metadata"]["job"] | options)
    except PipelineError as error:
        line = f"{error} (config {config} and the flags together)" if options else f"config {config}: {error}"
        fail(line, error.status)
    except (ValueError, yaml.YAMLError) as error:  # Ray reads 2026-99-99 as a date, and = as a tag
        fail(f"config {config} is not valid YAML to Ray: {' '.join(str(error).split())}", 2)
    if not isinstance(cluster.get("provider"), dict):
        fail(f"config {config} has no section provider, which describes the cluster to Ray", 2)
    if here != there:
        fail(
            f"config {config}: Ray reads metadata.job differently (010 as 8, yes as true); put such values in quotes",
            2,
        )
    ray = str(Path(sys.executable).with_name("ray"))
    # Ray's newer autoscaler starts one worker too few with a local provider.
    environment = {"RAY_UP_enable_autoscaler_v2": "0"} if cluster["provider"].get("type") == "local" else {}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
    up = subprocess.run([ray, "up", "-y", "--no-restart", str(config)], env=environment | os.environ)
    if up.returncode:
        fail("ray up failed, so nothing was submitted")
    script = [str(Path(__file__).resolve()), "--", "--digest", digest(cluster["metadata"]["job"])]
    command = [ray, "submit", str(config), *script, *map(shlex.quote, flags)]
    return subprocess.run(command, env=environment | os.environ).returncode


def build(expected: str | None, flags: list[str]) -> NoReturn:
    """Replaces this process by ``pipeline.build`` with the job of the last ``ray up``. Runs on the head."""
    try:
        job = json.loads(RESOLVED.read_text())["metadata"]["job"]
        copied = RESOLVED.stat().st_ctime_ns
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (
            (error.strerror or "cannot be read") if isinstance(error, OSError) else "damaged, or not a configuration"
        )
        fail(f"{RESOLVED} holds no job ({reason}); run ray up with a job file that has a section metadata.job")
    refresh = "refresh it with: ray up -y --no-restart JOB.yaml   (or do both with: python jobs/run.py JOB.yaml)"
    if expected not in (None, digest(job)):
        fail(f"the job on this head is {digest(job)}, yours is {expected}; {refresh}")
    if expected is None and copied == last_copy():
        fail(f"this copy of the job ({digest(job)}) has run before, and your file may have changed; {refresh}")
    TAKEN.write_text(json.dumps({"metadata": {"job": job}, "copy": copied}, ensure_ascii=False))
    print(f"job {digest(job)}: {json.dumps(job)}", flush=True)
    os.chdir(PROJECT)
    python = str(PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", "pipeline.build", "--config", str(TAKEN), "--address", "auto", *flags])


def last_copy() -> int | None:
    """Returns the time stamp of the copy that ran last, or None."""
    try:
        return int(json.loads(TAKEN.read_text())["copy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fail(line: str, status: int = 1) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
