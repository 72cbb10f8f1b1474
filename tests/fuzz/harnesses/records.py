"""Shard records, as a build that resumes reads them."""

from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.execution.run import plan_job
from pipeline.planning import manifest, output_state
from pipeline.planning.job import Job
from pipeline.storage.store import open_store
from tests.fuzz import place, repair

ALLOWED = (PipelineError,)
JSON = True
_NAMES = [f".build/records/train-{number:06d}.json" for number in range(2)]


def seeds() -> Iterator[bytes]:
    for name in _NAMES:
        yield (place.output() / name).read_bytes()


def parse(data: bytes) -> None:
    _, plan = plan_job(Job.parse(place.OPTIONS))
    store = open_store(place.output())
    for name in _NAMES:
        with place.replaced(name, repair.sealed(data)):
            output_state.merged(store, plan.content, plan.index, overwrite=False)
            records = output_state.survey(store, plan, recheck=True)
            if len(records) == len(plan.shards):
                manifest.describe(plan, records)
