"""Runs a job file on its cluster. On your machine, one command that refreshes the cluster's copy and submits:

    python jobs/run.py jobs/imagenet_rank50.yaml [flags of pipeline.build, which win over the file]

On the cluster's head it is the script of ``ray submit jobs/imagenet_rank50.yaml jobs/run.py``: it builds the job in the
configuration that ``ray up`` left there. ``ray submit`` does not bring an edited file along, so without the digest that
the first form passes, a copy is run only once. Standard library only: the head's own Python runs it.
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
TAKEN = Path("~/.rank-shards-job.json").expanduser()  # the job that ran last, and the copy it came from


def main(arguments: list[str]) -> int:
    """Submit where a job file is named, else build. Returns the exit status."""
    if arguments and arguments[0].endswith((".yaml", ".yml")):
        return submit(Path(arguments[0]), arguments[1:])
    wanted = None
    if arguments[:1] == ["--digest"]:
        wanted, arguments = arguments[1], arguments[2:]
    build(wanted, arguments)


def digest(job: Any) -> str:
    """Twelve digits that name a job's content."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


def submit(config: Path, flags: list[str]) -> int:
    """Check the job here, bring the cluster up to date without restarting Ray, run the job there."""
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    import yaml

    from pipeline.build import parse_flags
    from pipeline.errors import PipelineError
    from pipeline.planning.job import Job
    from pipeline.planning.job_file import read_job_file

    try:
        given = parse_flags(flags)
        if "config" in given:
            fail("--config does not go with run.py: the job file is its first argument", 2)
        section = read_job_file(config, overridden=given)  # its errors name the file
    except PipelineError as error:
        fail(str(error), error.status)
    try:
        here = Job.parse(section | given)
        cluster = yaml.safe_load(config.read_text())  # as Ray reads it
        there = Job.parse(cluster["metadata"]["job"] | given)
    except PipelineError as error:
        line = f"{error} (config {config} and the flags together)" if given else f"config {config}: {error}"
        fail(line, error.status)
    except (ValueError, yaml.YAMLError) as error:  # 2026-99-99 is a date to Ray, and = a tag
        fail(f"config {config} is not valid YAML to Ray: {' '.join(str(error).split())}", 2)
    if not isinstance(cluster.get("provider"), dict):
        fail(f"config {config} has no section provider, by which Ray knows the cluster", 2)
    if here != there:
        fail(
            f"config {config}: metadata.job reads otherwise to Ray (010 is 8, yes is true); put such values in quotes",
            2,
        )
    ray = str(Path(sys.executable).with_name("ray"))
    # Ray's newer autoscaler starts all but one of a local provider's workers.
    environment = {"RAY_UP_enable_autoscaler_v2": "0"} if cluster["provider"].get("type") == "local" else {}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
    up = subprocess.run([ray, "up", "-y", "--no-restart", str(config)], env=environment | os.environ)
    if up.returncode:
        fail("ray up failed, so nothing was submitted")
    script = [str(Path(__file__).resolve()), "--", "--digest", digest(cluster["metadata"]["job"])]
    command = [ray, "submit", str(config), *script, *map(shlex.quote, flags)]
    return subprocess.run(command, env=environment | os.environ).returncode


def build(wanted: str | None, flags: list[str]) -> NoReturn:
    """Become ``pipeline.build`` on this head, with the job of the last ``ray up``."""
    try:
        job = json.loads(RESOLVED.read_text())["metadata"]["job"]
        copied = RESOLVED.stat().st_ctime_ns
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = (error.strerror or "cannot be read") if isinstance(error, OSError) else "damaged, or of another kind"
        fail(f"{RESOLVED} holds no job ({why}); run ray up with a job file that has a section metadata.job")
    refresh = "refresh it with: ray up -y --no-restart JOB.yaml   (or do both with: python jobs/run.py JOB.yaml)"
    if wanted not in (None, digest(job)):
        fail(f"the job on this head is {digest(job)}, yours is {wanted}; {refresh}")
    if wanted is None and copied == last_copy():
        fail(f"this copy of the job ({digest(job)}) has been run before, and your file may have changed; {refresh}")
    TAKEN.write_text(json.dumps({"metadata": {"job": job}, "copy": copied}, ensure_ascii=False))
    print(f"job {digest(job)}: {json.dumps(job)}", flush=True)
    os.chdir(PROJECT)
    python = str(PROJECT / ".venv" / "bin" / "python")
    os.execv(python, [python, "-m", "pipeline.build", "--config", str(TAKEN), "--address", "auto", *flags])


def last_copy() -> int | None:
    """Which copy ran last."""
    try:
        return int(json.loads(TAKEN.read_text())["copy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fail(line: str, status: int = 1) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
