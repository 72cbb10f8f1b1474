"""Shard records, as a build that goes on reads them."""

import json
from collections.abc import Iterator

from pipeline import manifest, output
from pipeline.errors import PipelineError
from pipeline.job import Job
from pipeline.run import plan_job
from pipeline.store import open_store
from tests.fuzz import place

ALLOWED = (PipelineError,)
JSON = True
_NAMES = [f".build/records/train-{number:06d}.json" for number in range(2)]


def seeds() -> Iterator[bytes]:
    for name in _NAMES:  # without their checksum, as older versions wrote them: so that what is mutated is read
        document = json.loads((place.output() / name).read_bytes())
        del document["checksum"]
        yield json.dumps(document).encode()


def parse(data: bytes) -> None:
    _, plan = plan_job(Job.parse(place.OPTIONS))
    store = open_store(place.output())
    for name in _NAMES:
        with place.replaced(name, data):
            output.merged(store, plan.content, plan.index, overwrite=False)
            records = output.survey(store, plan, recheck=True)
            if len(records) == len(plan.shards):
                manifest.describe(plan, records)
