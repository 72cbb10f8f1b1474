"""Lists of samples, of rejects (where a line has a reason) and of runs (where it has an event), as verify, views and reports
read them."""

from collections.abc import Iterator

from pipeline.data import RankView
from pipeline.data.output import open_output
from pipeline.errors import PipelineError
from pipeline.report.page.facts import collect
from pipeline.verification.faults import Faults
from pipeline.verification.listings import read_listings
from pipeline.verification.manifest.document import load
from pipeline.verification.verify_output import shard_work
from tests.fuzz.place import output, replaced

ALLOWED = (PipelineError,)
JSON = True
_NAMES = ("samples/train.jsonl", "rejects.jsonl", ".build/runs.jsonl")


def seeds() -> Iterator[bytes]:
    yield from ((output() / name).read_bytes() for name in _NAMES)


def parse(data: bytes) -> None:
    faults = Faults()
    manifest = load(output(), faults)
    with replaced(_NAMES[2 if b'"event"' in data else b'"reason"' in data], data):
        found = read_listings(manifest, None, faults)["train"]
        for shard in (shard for shard in manifest.shards if shard.split == "train"):
            samples = shard_work(shard, found, [], None).samples()
            assert (samples is not None) == found.usable
        collect(open_output(output()), {"train": [0, 1]})
        RankView(output(), 1)
    assert all("\n" not in str(fault) for fault in faults.first)
