"""``zarr.json`` of an array, as readers of factors and ``verify`` take it."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.data.files import Files
from pipeline.data.zarr_rows import ZarrRows
from pipeline.errors import PipelineError
from pipeline.verification.arrays import spectra
from pipeline.verification.arrays.zarr_rows import BadRows
from pipeline.verification.faults import Faults
from pipeline.verification.manifest import document
from pipeline.verification.manifest.claims import FileClaim
from tests.fuzz.place import output, replaced

ALLOWED = (PipelineError,)
JSON = True
_SPECTRA, _FACTORS = "spectra.zarr/train/zarr.json", "factors.zarr/train/u/zarr.json"


def seeds() -> Iterator[bytes]:
    yield from ((output() / name).read_bytes() for name in (_SPECTRA, _FACTORS))


def parse(data: bytes) -> None:
    proven = document.load(output(), Faults())
    claim = FileClaim(len(data), hashlib.sha256(data).hexdigest())  # else zarr is never given it
    proven = replace(proven, files=proven.files | {_SPECTRA: claim, _FACTORS: claim})
    assert proven.factors is not None
    with replaced(_SPECTRA, data), replaced(_FACTORS, data):
        with contextlib.suppress(BadRows):
            assert spectra.rows(proven, proven.shards[0]).shape == (4, 3, 4)
        with contextlib.suppress(BadRows):
            spectra.factors_row(proven, proven.factors, "train", 0)
        array = ZarrRows((output() / _FACTORS).parent, (3, 4, proven.factors.rank))
        for position in (0, 5, array.rows - 1):
            assert isinstance(array.row(max(0, position), Files()), np.ndarray)
