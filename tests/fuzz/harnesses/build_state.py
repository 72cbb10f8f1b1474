"""What a build finds in ``.build``: ``job.json``, onto which it grows, and the owner, in a file and in a bucket."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from pipeline.errors import PipelineError
from pipeline.execution.ray.node_check import _run
from pipeline.execution.run import plan_job
from pipeline.planning import output_state
from pipeline.planning.job import Job
from pipeline.planning.plan import make_plan
from pipeline.storage.bucket import Bucket
from pipeline.storage.file_claims import FileClaims
from pipeline.storage.lock import LostLock, publishing
from pipeline.storage.object_claims import ObjectClaims
from pipeline.storage.store import open_store
from tests.fuzz import place, repair

ALLOWED = (PipelineError,)
JSON = True


class _Bucket:
    """Holds one claim."""

    def __init__(self, claim: bytes) -> None:
        self._claim = claim

    def names(self, _: str) -> list[str]:
        return ["000007", "not a number"]

    def read(self, _: str) -> bytes:
        return self._claim


def seeds() -> Iterator[bytes]:
    yield (place.output() / output_state.STATE).read_bytes()
    yield b'{"run": "r", "host": "h", "pid": 1, "beats": 7, "time": "t", "released": false}'


def parse(data: bytes) -> None:
    (place.folder() / "lock").write_bytes(data)
    _run(place.folder() / "lock")
    for claims in (FileClaims(place.folder()), ObjectClaims(cast(Bucket, cast(Any, _Bucket(data))))):
        with contextlib.suppress(LostLock), publishing(claims, "r"):
            pass
    _, plan = plan_job(Job.parse(place.OPTIONS))
    with place.replaced(output_state.STATE, repair.sealed(data)):
        grown = output_state.merged(open_store(place.output()), plan.content, plan.index, overwrite=False)
    assert make_plan(grown, plan.index).shards and grown.to_json()
