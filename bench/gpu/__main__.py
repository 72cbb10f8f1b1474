"""``python -m bench.gpu``: measures the decomposition on a GPU, and whole builds with it. Prints JSON lines.

For each image size it measures each eigensolver; the whole stage from pixels to bytes with it; orders through a server,
from shared memory and back; and, for comparison, CuPy's and PyTorch's own functions. The inputs are photographs, and the
bytes are compared with float64 LAPACK. Then it builds 224-pixel images on the GPU, once as usual and once without any
computation between decoding and encoding, and reports how busy the GPU and the cores were.
"""

import argparse
import contextlib
import importlib
import json
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.gpu import build
from bench.gpu.measure import Clock, measure
from pipeline.errors import PipelineError
from pipeline.execution import device
from pipeline.numerics.cuda import xsyev

# Planes per batch, and ranks, at each side.
SIZES = {
    32: (24_576, (3, 5, 10, 20)),
    64: (6_144, (5, 20)),
    128: (1_536, (30,)),
    224: (768, (50,)),
    256: (384, (50,)),
}
_FAKE_PLANES, _FAKE_SECONDS, _SECONDS = 12, 0.1, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--fake", action="store_true", help="use NumPy instead of a GPU, on a few images: a dry run")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="sides, as in 32,224; empty for builds only")
    parser.add_argument("--images", type=int, default=12_000, help="images of a build; 0 for no builds")
    parser.add_argument("--workers", type=int, help="workers of a build; default: all cores")
    options = parser.parse_args()
    lacks = "" if options.fake else device.missing()
    if lacks:
        parser.error(f"it needs a GPU: {lacks}")
    sides = list(filter(None, options.sizes.split(",")))
    for side in sides:
        if side not in map(str, SIZES):
            parser.error(f"--sizes: {side!r} is not one of {', '.join(map(str, SIZES))}")
    xp = importlib.import_module("tests.unit.execution.gpus.fake" if options.fake else "cupy")
    _print(what="gpu", name=xp.cuda.runtime.getDeviceProperties(0)["name"].decode(), **_versions(xp))
    for side in map(int, sides):
        count, ranks = SIZES[side]
        clock = Clock(side, xp, _FAKE_SECONDS if options.fake else _SECONDS)
        for result in measure(clock, _FAKE_PLANES if options.fake else count, ranks):
            _print(what="solver", n=side, **result)
    if options.images:
        with tempfile.TemporaryDirectory(prefix="rank-shards-bench-") as folder:
            for result in build.measure(Path(folder), options.images, options.workers, xp.__name__):
                _print(what="build", **result)


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def _versions(xp: ModuleType) -> dict[str, Any]:
    """Returns the versions on which the figures depend."""
    versions = {xp.__name__: xp.__version__, "numpy": np.__version__, "cores": os.cpu_count()}
    if xp.__name__ == "cupy":
        versions["driver"] = xp.cuda.runtime.driverGetVersion()
        with contextlib.suppress(PipelineError):  # the measurement of ``xsyev`` reports it
            versions["cusolver"] = xsyev.version(xsyev.XsyevBatched(xp).library)
    with contextlib.suppress(ImportError):
        versions["torch"] = importlib.import_module("torch").__version__
    return versions


if __name__ == "__main__":
    main()
