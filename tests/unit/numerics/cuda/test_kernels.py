"""This project's kernels, thread by thread on a core: right on any matrix, in any order of their threads, in any batch."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.gpu import photographs
from pipeline.numerics.batch import Recipe, compute
from pipeline.numerics.cuda import eigh, guards, tridiagonal
from pipeline.numerics.variants import variants
from tests.unit.execution.gpus import fake
from tests.unit.numerics.cuda import emulator
from tests.unit.numerics.cuda.test_eigh import gram

xp: Any = fake
ORDERS = (0, 1, 7)
KERNELS = Path(tridiagonal.__file__).parent

pytestmark = pytest.mark.skipif(not emulator.COMPILER, reason="takes g++")


def solved(kernel: str, matrices: np.ndarray, wanted: int, order: int = 0) -> tuple[np.ndarray, np.ndarray]:
    emulator.ORDER[0] = order
    try:
        values, vectors = eigh.SOLVERS[kernel](fake.asarray(matrices), wanted, xp)
    finally:
        emulator.ORDER[0] = 0
    return values.get(), vectors.get()


def assert_sound(matrices: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> None:
    assert guards.sound(matrices, values, vectors, np).all()
    ascending = np.linalg.eigvalsh(matrices)
    np.testing.assert_allclose(values[:, ::-1], ascending, rtol=0, atol=guards.RESIDUAL * guards.EPS * ascending.max())


def assert_solves(kernel: str, to_card: Callable[[np.ndarray], Any], namespace: Any) -> None:
    """Matrices of any shape that the kernel takes, of noise, photographs' rows and edges."""
    rng = np.random.default_rng(0)
    for rows, columns in [(32, 32), (40, 20), (31, 31), (9, 1), (3, 2), (33, 33), (130, 97), (224, 224)]:
        if columns > 32 and kernel == "jacobi":
            continue
        planes = rng.integers(0, 256, (5, rows, columns))
        planes[1:3] = photographs(columns, 3)[:2][:, np.arange(rows) % columns] + rng.integers(0, 3, (rows, columns))
        matrices = gram(planes)
        wanted = min(columns, 64)
        found = eigh.SOLVERS[kernel](to_card(matrices), wanted, namespace)
        assert_sound(matrices, *(array.get() for array in found))


@pytest.mark.parametrize("kernel", ["jacobi", "tridiagonal"])
def test_it_solves_any_matrix(kernel: str) -> None:
    assert_solves(kernel, fake.asarray, xp)


@pytest.mark.parametrize("side", [5, 32, 64, 65, 130, 224])
def test_it_has_the_same_bits_whichever_thread_comes_first(side: int) -> None:
    matrices = gram(photographs(side, 3))
    wanted = min(side, 40)
    first, *others = [solved("tridiagonal", matrices, wanted, order) for order in ORDERS]
    for other in others:
        np.testing.assert_array_equal(other[0], first[0])
        np.testing.assert_array_equal(other[1], first[1])


def test_it_has_the_same_bits_in_any_batch_and_however_many_vectors_are_wanted() -> None:
    matrices = gram(photographs(48, 6))
    values, vectors = solved("tridiagonal", matrices, 48)
    for i, wanted in enumerate((1, 7, 33)):
        alone = solved("tridiagonal", matrices[i : i + 1], wanted)
        np.testing.assert_array_equal(alone[0], values[i : i + 1])
        np.testing.assert_array_equal(alone[1], vectors[i : i + 1, :, :wanted])


@pytest.mark.parametrize(
    ("kernel", "count"),
    [("jacobi", 30), ("tridiagonal", 90), pytest.param("tridiagonal", 10**6, marks=pytest.mark.full)],
)
def test_cifar_has_the_bytes_of_a_core(
    kernel: str, count: int, cifar_planes: Callable[[int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = cifar_planes(count).reshape(-1, 3, 32, 32)
    for start in range(0, len(pixels), 100):
        assert_bytes(kernel, pixels[start : start + 100], (1, 3, 5, 10, 20, 31), monkeypatch)


def test_photographs_have_the_bytes_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_bytes("tridiagonal", photographs(224, 6).reshape(-1, 3, 224, 224), (10, 30, 50, 100), monkeypatch)


def assert_bytes(kernel: str, pixels: np.ndarray, ranks: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(variants(ranks, ("low", "high")), pixels.shape[-1])
    monkeypatch.setattr(eigh, "choose", lambda *_: eigh.SOLVERS[kernel])
    ours, cards = compute(pixels, recipe), compute(fake.asarray(pixels), recipe, xp)
    assert cards.repaired == 0
    for variant, one in ours.cuts.items():
        np.testing.assert_array_equal(one.pixels, cards.cuts[variant].pixels.get())
        assert one.statistics == cards.cuts[variant].statistics


def test_a_pivot_of_zero_is_counted_as_what_it_is_replaced_by() -> None:
    """Bisection meets the diagonal of this matrix exactly."""
    matrices = np.full((1, 2, 2), 82825.0)
    assert_sound(matrices, *solved("tridiagonal", matrices, 2))


def test_values_of_nothing_are_in_order_as_well() -> None:
    """Where the wanted vectors are of other values, the guards find no fault."""
    blocks = np.random.default_rng(1).integers(0, 256, (20, 8, 8))
    matrices = gram(np.kron(blocks, np.ones((1, 4, 4))))
    assert_sound(matrices, *solved("tridiagonal", matrices, 8))


def test_planes_without_full_rank_are_solved_by_the_other_solver() -> None:
    """Vectors of several zeros are not orthogonal, which the guards find."""
    planes = photographs(40, 3)
    planes[0], planes[1, :, 20:] = 77, 0
    matrices = gram(planes)
    sound = guards.sound(matrices, *solved("tridiagonal", matrices, 40), np)
    assert sound.tolist() == [False, False, True]
    values, vectors, repaired = eigh.leading(fake.asarray(matrices), 40, xp, eigh.tridiagonal)
    assert repaired == 0
    assert guards.sound(matrices, values.get(), vectors.get(), np).all()


def test_a_card_with_little_shared_memory_has_other_solvers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [n for n in (32, 128, 224, 225) if "tridiagonal" in eigh.able(n, xp)] == [32, 128, 224]
    monkeypatch.setattr(tridiagonal, "_room", lambda _: 99 << 10)
    assert [n for n in (32, 128, 224, 225) if "tridiagonal" in eigh.able(n, xp)] == [32, 128]


@pytest.mark.skipif(not shutil.which("nvcc"), reason="takes nvcc")
@pytest.mark.parametrize(("source", "rows"), [("jacobi", 1), *[("tridiagonal", rows) for rows in (1, 2, 4, 7)]])
def test_nvidias_compiler_keeps_its_arrays_in_registers(source: str, rows: int, tmp_path: Path) -> None:
    options = ["-arch=sm_90", "-std=c++17", f"-DROWS={rows}", f"-DWARPS={tridiagonal._warps(rows)}", "-Xptxas=-v"]
    command = ["nvcc", "-cubin", *options, "-o", str(tmp_path / "out"), str(KERNELS / f"{source}.cu")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    frames = [line for line in ended.stderr.splitlines() if "stack frame" in line]
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
    found = []
    for order in (0, 1):
        out = fake.Array(np.zeros(64))
        monkeypatch.setattr(emulator, "ORDER", [order])
        if mistake == "no barrier":
            kernel((1,), (64,), (out,), shared_mem=512)
            found.append(out.get())
        else:
            with pytest.raises(RuntimeError, match=mistake):
                kernel((1,), (64,), (out,), shared_mem=512)
    assert not found or (found[0] != found[1]).any()
