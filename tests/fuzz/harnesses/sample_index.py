"""What a dataset reads beside its tars: a DALI index, or a list of samples (where the input begins with ``{``)."""

from collections.abc import Iterator

from pipeline.data import index
from pipeline.data.output import open_output
from pipeline.errors import PipelineError
from tests.fuzz.place import output, replaced

ALLOWED = (PipelineError,)
JSON = True
_LIST = "samples/train.jsonl"
_INDEX = "folder-rank1/folder-rank1-train-000000.idx"


def seeds() -> Iterator[bytes]:
    yield from ((output() / name).read_bytes() for name in (_INDEX, _LIST))


def parse(data: bytes) -> None:
    part = open_output(output()).part("rank1", "train")
    with replaced(_LIST if data[:1] == b"{" else _INDEX, data):
        found = index.read(part)
    assert len(found.keys) == len(found.labels) == part.samples
    assert all((found.offset + found.size)[found.shard == i].max() <= s.size for i, s in enumerate(part.shards))
