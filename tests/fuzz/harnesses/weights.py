"""Weights and checkpoints that ``torch.save`` wrote; what begins as no file of its kinds is packed as its pickle."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator

import torch

from pipeline.errors import PipelineError
from pipeline.study.networks.weights import read_weights
from pipeline.study.training import checkpoint
from tests.fuzz.place import folder

ALLOWED = (PipelineError,)
JSON = False
_STATE = {
    "state_dict": OrderedDict(w=torch.zeros(2, 3), b=torch.ones(2)),
    "mean": (0.5, 0.5, 0.5),
    "identity": {"seed": 1},
}
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc"  # the magic number of files before torch 1.6


def seeds() -> Iterator[bytes]:
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(_STATE, buffer, _use_new_zipfile_serialization=zipped)
        yield buffer.getvalue()
        if zipped:
            with zipfile.ZipFile(buffer) as file:
                yield next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    yield from (pickle.dumps({"w": 1, "mean": (1, 2, 3)}, protocol) for protocol in (0, 2, 4))
    yield b"\x80\x02cbuiltins\nbytearray\nM\x00\x10\x85R."


def parse(data: bytes) -> None:
    path = folder() / checkpoint.NAME
    path.write_bytes(data if data[:2] == b"PK" or data[:6] == _LEGACY else packed(data))
    try:
        weights = read_weights(path)
        assert all(isinstance(tensor, torch.Tensor) for tensor in weights.state.values())
        assert weights.outputs is None or weights.outputs >= 0
    except PipelineError:
        pass
    checkpoint.load(folder(), {"seed": 1})


def packed(pickled: bytes) -> bytes:
    """A file of ``torch.save`` with this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}.items():
            file.writestr(f"archive/{name}", content)
        file.writestr("archive/data/0", bytes(64))
        file.writestr("archive/data/1", bytes(64))
    return buffer.getvalue()
