"""``manifest.json`` as ``verify`` reads it."""

from collections.abc import Iterator

from pipeline.errors import PipelineError
from pipeline.verification.faults import Faults
from pipeline.verification.files import check_files, check_links, check_strays, owners_of
from pipeline.verification.listings import read_listings
from pipeline.verification.manifest.claims import NAME
from pipeline.verification.manifest.document import compare_clients, load
from tests.fuzz.place import output, replaced

ALLOWED = (PipelineError,)
JSON = True


def seeds() -> Iterator[bytes]:
    yield (output() / NAME).read_bytes()


def parse(data: bytes) -> None:
    faults = Faults()
    with replaced(NAME, data):
        manifest = load(output(), faults)
        compare_clients(output(), faults)
        check_strays(manifest, faults)
        check_links(manifest, faults)
        check_files(manifest, list(manifest.files), owners_of(manifest))
        read_listings(manifest, None, faults)
    assert all("\n" not in str(fault) for fault in faults.first)
    for name in manifest.files:
        assert (output() / name).resolve().is_relative_to(output())
