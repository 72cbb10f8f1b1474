"""This project's kernels, run thread by thread on a CPU: right on any matrix, in any thread order, in any batch."""

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.gpu import candidates, tridiagonal
from bench.gpu.measure import photographs
from pipeline.numerics.batch import compute
from pipeline.numerics.cuda import eigh, guards
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import variants
from tests.bench.gpu import emulator
from tests.unit.execution.gpus import fake
from tests.unit.numerics.cuda.planes import gram

xp: Any = fake
ORDERS = (0, 1, 7)
KERNELS = Path(tridiagonal.__file__).parent

pytestmark = pytest.mark.skipif(not emulator.COMPILER, reason="needs g++")


def long(*values: Any) -> Any:
    """A parameter that takes long, for ``-m full``."""
    return pytest.param(*values, marks=pytest.mark.full)


def solve(kernel: str, matrices: np.ndarray, count: int, order: int = 0) -> tuple[np.ndarray, np.ndarray]:
    emulator.ORDER[0] = order
    try:
        values, vectors = candidates.SOLVERS[kernel](fake.asarray(matrices), count, xp)
    finally:
        emulator.ORDER[0] = 0
    return values.get(), vectors.get()


def assert_sound(matrices: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> None:
    assert guards.sound(matrices, values, vectors, np).all()
    ascending = np.linalg.eigvalsh(matrices)
    np.testing.assert_allclose(values[:, ::-1], ascending, rtol=0, atol=guards.RESIDUAL * guards.EPS * ascending.max())


def assert_solves(kernel: str, shape: tuple[int, int], to_gpu: Callable[[np.ndarray], Any], namespace: Any) -> None:
    """Solves Gram matrices of planes of a shape: noise, and rows of photographs with noise."""
    rng = np.random.default_rng(0)
    rows, columns = shape
    planes = rng.integers(0, 256, (5, rows, columns))
    planes[1:3] = photographs(columns, 3)[:2][:, np.arange(rows) % columns] + rng.integers(0, 3, (rows, columns))
    matrices = gram(planes)
    values, vectors = candidates.SOLVERS[kernel](to_gpu(matrices), min(columns, 64), namespace)
    assert_sound(matrices, values.get(), vectors.get())


SHAPES = [(32, 32), (40, 20), (31, 31), (9, 1), (3, 2), (33, 33), (130, 97), (224, 224)]
SOLVABLE = [(kernel, shape) for kernel in ("jacobi", "tridiagonal") for shape in SHAPES]
SOLVABLE = [(kernel, shape) for kernel, shape in SOLVABLE if kernel != "jacobi" or shape[1] <= 32]


@pytest.mark.parametrize(("kernel", "shape"), [long(*pair) if pair[1][0] > 100 else pair for pair in SOLVABLE])
def test_it_solves_any_matrix(kernel: str, shape: tuple[int, int]) -> None:
    assert_solves(kernel, shape, fake.asarray, xp)


@pytest.mark.parametrize("side", [5, 32, 40, *map(long, (64, 65, 130, 224))])
def test_bits_do_not_depend_on_the_order_of_threads(side: int) -> None:
    matrices = gram(photographs(side, 3))
    first, *others = [solve("tridiagonal", matrices, min(side, 40), order) for order in ORDERS]
    for other in others:
        np.testing.assert_array_equal(other[0], first[0])
        np.testing.assert_array_equal(other[1], first[1])


def test_bits_depend_neither_on_the_batch_nor_on_the_number_of_vectors() -> None:
    matrices = gram(photographs(48, 6))
    values, vectors = solve("tridiagonal", matrices, 48)
    for i, count in enumerate((1, 7, 33)):
        alone = solve("tridiagonal", matrices[i : i + 1], count)
        np.testing.assert_array_equal(alone[0], values[i : i + 1])
        np.testing.assert_array_equal(alone[1], vectors[i : i + 1, :, :count])


@pytest.mark.parametrize(
    ("kernel", "count"), [("jacobi", 3), ("tridiagonal", 12), long("jacobi", 30), long("tridiagonal", 10**6)]
)
def test_cifar_has_the_bytes_of_the_cpu(kernel: str, count: int, cifar_planes: Callable[[int], np.ndarray]) -> None:
    pixels = cifar_planes(count).reshape(-1, 3, 32, 32)
    for start in range(0, len(pixels), 100):
        assert_bytes(kernel, pixels[start : start + 100], (1, 3, 5, 10, 20, 31))


@pytest.mark.full
def test_photographs_have_the_bytes_of_the_cpu() -> None:
    assert_bytes("tridiagonal", photographs(224, 6).reshape(-1, 3, 224, 224), (10, 30, 50, 100))


def assert_bytes(kernel: str, pixels: np.ndarray, ranks: tuple[int, ...]) -> None:
    recipe = Recipe(variants(ranks, ("low", "high")), pixels.shape[-1])
    solver = partial(eigh.leading, solver=candidates.SOLVERS[kernel])
    expected, actual = compute(pixels, recipe), compute(fake.asarray(pixels), recipe, xp, solver)
    assert actual.repaired == 0
    for variant, cut in expected.cuts.items():
        np.testing.assert_array_equal(cut.pixels, actual.cuts[variant].pixels.get())
        assert cut.statistics == actual.cuts[variant].statistics


def test_a_pivot_of_zero_is_replaced() -> None:
    """Bisection meets the diagonal of this matrix exactly."""
    matrices = np.full((1, 2, 2), 82825.0)
    assert_sound(matrices, *solve("tridiagonal", matrices, 2))


def test_values_that_are_zero_are_in_order_as_well() -> None:
    """If the requested vectors belonged to other values, the guards would find no fault."""
    blocks = np.random.default_rng(1).integers(0, 256, (20, 8, 8))
    matrices = gram(np.kron(blocks, np.ones((1, 4, 4))))
    assert_sound(matrices, *solve("tridiagonal", matrices, 8))


def test_syevj_solves_planes_without_full_rank() -> None:
    """Vectors of several zeros are not orthogonal, and the guards find that."""
    planes = photographs(40, 3)
    planes[0], planes[1, :, 20:] = 77, 0
    matrices = gram(planes)
    assert guards.sound(matrices, *solve("tridiagonal", matrices, 40), np).tolist() == [False, False, True]
    pairs = eigh.leading(fake.asarray(matrices), 40, xp, candidates.tridiagonal)
    assert pairs.repaired == 0
    assert guards.sound(matrices, pairs.values.get(), pairs.vectors.get(), np).all()


def test_a_gpu_with_little_shared_memory_has_fewer_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [n for n in (32, 128, 224, 225) if "tridiagonal" in candidates.able(n, xp)] == [32, 128, 224]
    monkeypatch.setattr(tridiagonal, "_available", lambda _: 99 << 10)
    assert [n for n in (32, 128, 224, 225) if "tridiagonal" in candidates.able(n, xp)] == [32, 128]
    assert [n for n in (32, 33) if "jacobi" in candidates.able(n, xp)] == [32]


@pytest.mark.skipif(not shutil.which("nvcc"), reason="needs nvcc")
@pytest.mark.parametrize(
    ("source", "rows"), [("jacobi", 1), ("tridiagonal", 7), *(long("tridiagonal", rows) for rows in (1, 2, 4))]
)
def test_nvidias_compiler_keeps_all_arrays_in_registers(source: str, rows: int, tmp_path: Path) -> None:
    options = ["-arch=sm_90", "-std=c++17", f"-DROWS={rows}", f"-DWARPS={tridiagonal._warps(rows)}", "-Xptxas=-v"]
    command = ["nvcc", "-cubin", *options, "-o", str(tmp_path / "out"), str(KERNELS / f"{source}.cu")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    frames = [line for line in result.stderr.splitlines() if "stack frame" in line]
    assert frames
    assert all("0 bytes stack frame, 0 bytes spill stores" in line for line in frames)


MISTAKES = {
    "no barrier": """
        extern __shared__ double shared[];
        shared[threadIdx.x] = threadIdx.x;
        out[threadIdx.x] = shared[(threadIdx.x + 32) % blockDim.x];""",
    "ended": "if (threadIdx.x != 3) out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0, 1);",
    "different places": """
        if (threadIdx.x & 1) __syncthreads();
        else out[threadIdx.x] = __shfl_xor_sync(~0u, 1.0, 1);""",
    "beyond its shared memory": """
        extern __shared__ double shared[];
        shared[blockDim.x] = 1;""",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_emulator_finds_mistakes(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f'extern "C" __global__ void kernel(double* out)\n{{ {MISTAKES[mistake]} }}'
    kernel = emulator.RawModule(code=code, options=("-std=c++17",)).get_function("kernel")
    results = []
    for order in (0, 1):
        out = fake.Array(np.zeros(64))
        monkeypatch.setattr(emulator, "ORDER", [order])
        if mistake == "no barrier":
            kernel((1,), (64,), (out,), shared_mem=512)
            results.append(out.get())
        else:
            with pytest.raises(RuntimeError, match=mistake):
                kernel((1,), (64,), (out,), shared_mem=512)
    assert not results or (results[0] != results[1]).any()  # without a barrier the order of threads matters
