"""Job files: YAML to a checked job."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.planning.job import Job
from pipeline.planning.job_file import read_job_file
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = False
_PATH = folder() / "job.yaml"
_JOBS = Path(__file__).parents[3] / "jobs"


def seeds() -> Iterator[bytes]:
    yield from (path.read_bytes() for path in sorted(_JOBS.glob("*.yaml")))
    yield b"metadata:\n  job: {dataset: sample, ranks: [3, 5], exact: true, seed: '7', out: out/x}\n"
    for tag in (
        "int",
        "float",
        "bool",
        "null",
        "binary",
        "timestamp",
        "omap",
        "pairs",
        "set",
        "seq",
        "map",
        "str",
        "python/name",
    ):
        yield f"metadata: {{job: {{dataset: !!{tag} x, ? [a] : b, <<: {{a: b}}}}}}\n".encode()
    yield b'a: &a [x]\nb: *a\nmetadata: {job: {seed: 1, seed: 2, limit: 0o17, out: "\\ud800", data-dir: ~}}\n'


def parse(data: bytes) -> None:
    _PATH.write_bytes(data)
    job = Job.parse(read_job_file(_PATH))
    assert str(job.out).encode("utf-8", "surrogateescape")
