"""``manifest.json`` as readers open it: an output, its parts, and the facts that a report shows."""

from collections.abc import Iterator

from pipeline.data.output import NAME, open_output
from pipeline.errors import PipelineError
from pipeline.report.page.facts import collect
from tests.fuzz.place import output, replaced

ALLOWED = (PipelineError,)
JSON = True


def seeds() -> Iterator[bytes]:
    yield (output() / NAME).read_bytes()


def parse(data: bytes) -> None:
    with replaced(NAME, data):
        found = open_output(output())
        for variant in found.variants:
            for split in found.splits:
                part = found.part(variant, split)
                assert all(shard.path.is_relative_to(output()) and shard.path.is_file() for shard in part.shards)
        assert collect(found, {split: [0] for split in found.splits}).classes is not None
