"""Promise: the bits of the kernels are the same on every processor with other vector registers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DIGEST = """
import hashlib
import numpy as np
from pipeline.numerics.kernels.large import solve as large
from pipeline.numerics.kernels.small import solve as small
rng = np.random.default_rng(8)
for kernels, shape in ((small, (32, 32)), (small, (13, 40)), (large, (75, 90)), (large, (90, 75))):
    planes = rng.integers(0, 256, (11, *shape), dtype=np.uint8)
    solved = kernels.truncate_planes(planes, (3, 7, 12), 10, True)
    print(hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in solved)).hexdigest())
"""


def digests(environment: dict[str, str]) -> list[str]:
    environment = os.environ | environment
    run = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.full
@pytest.mark.parametrize("processor", ["nehalem", "haswell"])
def test_the_bits_are_the_same_on_processors_without_avx512_and_without_fma(processor: str, tmp_path: Path) -> None:
    """Nehalem has two lanes and computes fma in software, Haswell has four lanes."""
    other = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    expected = digests({})
    assert len(expected) == 4
    assert digests(other) == expected
