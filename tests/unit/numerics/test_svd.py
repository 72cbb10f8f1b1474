"""The decomposition gives the bytes of float64 LAPACK for every image, and they depend on no other image or rank."""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline.numerics import cpu, eigen, svd
from pipeline.numerics.batch import compute
from pipeline.numerics.cuda import eigh
from pipeline.numerics.cut import Cut
from pipeline.numerics.recipe import Recipe
from pipeline.numerics.variants import Variant, variants
from tests.unit.execution.gpus import fake

RANKS = (1, 3, 5, 10, 20, 31)
TIE = 1e-5  # grey levels
GAP = 1e-9  # of sigma_1
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Verdict(NamedTuple):
    """Result of a comparison with LAPACK.

    Attributes:
        bytes: of low and high that were compared.
        ties: subpixels near a rounding tie.
        equal: planes with sigma_k = sigma_{k+1}, zeros included.
        degenerate: those among them whose cut is not unique.
        wrong, wrong_at_ties: bytes that differ, elsewhere and at ties.
    """

    bytes: int = 0
    ties: int = 0
    equal: int = 0
    degenerate: int = 0
    wrong: int = 0
    wrong_at_ties: int = 0

    def plus(self, other: "Verdict") -> "Verdict":
        return Verdict(*(a + b for a, b in zip(self, other, strict=True)))


def truncated(planes: np.ndarray, rank: int) -> svd.Truncation:
    """The compiled kernels' truncation."""
    return cpu.solve(planes, (rank,), exact=True).truncated(rank)


def cuts_of(
    pixels: np.ndarray, requested: tuple[Variant, ...], solver: eigen.Eigensolver | None = None
) -> dict[Variant, Cut]:
    return compute(pixels, Recipe(requested, min(pixels.shape[2:])), solver=solver).cuts


def judge(
    planes: np.ndarray, ranks: tuple[int, ...], white: float = 255.0, solver: eigen.Eigensolver | None = None
) -> Verdict:
    """Compares the bytes of every low and high variant with ``numpy.linalg.svd``.

    Where the k-th singular value is not unique, it compares the energy of the residual with the remaining sigma^2.

    Args:
        planes: uint8 (3 n, h, w).
        ranks: to compare.
        white: 1.0 lets LAPACK decompose images in [0, 1], as the paper does, 255.0 in grey levels. Where two singular
            values are almost equal, these results differ by more than the width of a tie.
        solver: of the array operations that a GPU and the fallback use; None for the compiled kernels.
    """
    _, height, width = planes.shape
    pixels = planes.reshape(-1, 3, height, width)
    exact = planes.astype(np.float64)
    left, sigma, right = np.linalg.svd(exact * (white / 255), full_matrices=False)
    sigma *= 255 / white
    solution = svd.solve(planes, ranks, 0, np, solver) if solver else cpu.solve(planes, ranks, exact=True)
    cuts = cuts_of(pixels, variants(ranks, ("low", "high")), solver)
    total = Verdict()
    for rank in ranks:
        cut = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        rounded = np.rint(cut)
        tie = 0.5 - np.abs(cut - rounded) < TIE
        negligible = sigma[:, rank] <= GAP * sigma[:, 0]
        equal = sigma[:, rank - 1] - sigma[:, rank] <= GAP * sigma[:, 0]
        degenerate = equal & ~negligible
        rounded[negligible] = exact[negligible]
        tie &= ~(negligible | degenerate)[:, None, None]
        energy = ((exact - solution.truncated(rank).planes) ** 2).sum((1, 2))
        remaining = (sigma[:, rank:] ** 2).sum(1)
        unique = ~degenerate[:, None, None]
        np.testing.assert_allclose(energy[degenerate], remaining[degenerate], rtol=1e-9)
        expected = {
            Variant("low", rank): np.clip(rounded, 0, 255),
            Variant("high", rank): np.clip(exact - rounded + 128, 0, 255),
        }
        for variant, bytes_ in expected.items():
            wrong = (cuts[variant].pixels.reshape(planes.shape) != bytes_) & unique
            once = variant.component == "low"  # count only once: both components share their planes
            counts = (once * tie.sum(), once * equal.sum(), once * degenerate.sum(), (wrong & ~tie).sum())
            total = total.plus(Verdict(bytes_.size, *map(int, (*counts, (wrong & tie).sum()))))
    return total


def test_every_byte_of_real_images_is_that_of_float64_lapack(cifar_planes: Callable[[int], np.ndarray]) -> None:
    verdict = judge(cifar_planes(1500), RANKS, white=1.0)
    assert verdict.bytes == 1500 * 3072 * 2 * len(RANKS)
    assert verdict.wrong == 0
    assert verdict.wrong_at_ties <= verdict.bytes / 1e6


@pytest.mark.full
@pytest.mark.parametrize("rank", RANKS)
def test_every_byte_of_all_real_images_at_hand_is_that_of_float64_lapack(
    cifar_planes: Callable[[int], np.ndarray], rank: int
) -> None:
    planes = cifar_planes(9085)
    assert len(planes) == 3 * 9085
    verdict = Verdict()
    for start in range(0, len(planes), 3000):
        verdict = verdict.plus(judge(planes[start : start + 3000], (rank,), white=1.0))
    print(f"\nrank {rank}: {verdict}")
    assert verdict.bytes == 2 * planes.size
    assert verdict.wrong == 0
    assert verdict.wrong_at_ties <= verdict.bytes / 1e6


TEXTURED = ((507, 230, 25), (1857, 200, 30), (2538, 200, 30))  # seed, background, contrast


def flat_with(size: int, background: int, *pixels: tuple[int, int, int]) -> np.ndarray:
    plane = np.full((size, size), background)
    for row, column, value in pixels:
        plane[row, column] = value
    return plane


def two_blocks(background: int, level: int, change: int) -> np.ndarray:
    """Returns two blocks on a bright background, equal except for one pixel: almost equal singular values."""
    plane = np.full((32, 32), background)
    plane[2:10, 2:10] = level
    plane[20:28, 20:28] = level
    plane[20, 20] += change
    return plane


def textured_blocks(seed: int, background: int, contrast: int) -> np.ndarray:
    """Returns three equal textured blocks, with one pixel changed: singular values that differ by 1e-9 to 1e-7 sigma_1.

    With the seeds of ``TEXTURED`` the eigenvectors of the Gram matrix alone give wrong bytes.
    """
    texture = np.random.default_rng(seed).integers(-contrast, contrast + 1, (8, 8))
    plane = np.full((32, 32), background)
    for start in (0, 8, 16):
        plane[start : start + 8, start : start + 8] += texture
    plane[0, 28] += 1
    return plane


def adversarial() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:32, :32]
    noise = {f"noise {h}x{w}": rng.integers(0, 256, (12, h, w)) for h, w in ((32, 32), (31, 33), (40, 20), (20, 40))}
    planes = noise | {
        "zero": np.zeros((32, 32)),
        "black but for one pixel": flat_with(32, 0, (3, 4, 1)),
        "flat": np.stack([flat_with(32, level) for level in (1, 127, 255)]),
        "white but for a pixel": flat_with(32, 255, (31, 0, 254)),
        "white but for two pixels": flat_with(32, 255, (1, 2, 254), (2, 1, 254)),
        "binary sparse": 255 * (rng.random((30, 32, 32)) < 0.02),
        "binary dense": 255 * (rng.random((30, 32, 32)) < 0.5),
        "faint": rng.integers(0, 2, (30, 32, 32)),
        "bright and faint": 254 + rng.integers(0, 2, (30, 32, 32)),
        "checkerboard": 255 * ((rows + columns) % 2),
        "coarse checkerboard": 255 * ((rows // 4 + columns // 4) % 2),
        "stripes": 255 * (columns % 2),
        "identity": 255 * np.eye(32),
        "faint identity": np.eye(32),
        "permutation": 200 * np.eye(32)[rng.permutation(32)],
        "identity on grey": 100 + 100 * np.eye(32),
        "gradient": rows * 4 + columns * 4,
        "circulant": (7 * (rows + columns)) % 32 * 8,
        "Hadamard": 128 + 127 * hadamard(32),
        "repeated rows": np.repeat(rng.integers(0, 256, (12, 8, 32)), 4, axis=1),
        "two blocks": np.stack([two_blocks(200, level, 1) for level in (100, 150, 190, 199, 0, 255)]),
        "two blocks, one brighter": np.stack([two_blocks(255, level, 4) for level in (0, 1, 128, 200, 250, 100)]),
        "two equal blocks": np.stack([two_blocks(200, level, 0) for level in (100, 199, 0)]),
        "three textured blocks": np.stack([textured_blocks(*of) for of in TEXTURED]),
        "31x33 flat": np.full((31, 33), 9),
        "40x20 stripes": np.tile([0, 255], (40, 10)),
        "20x40 identity": 255 * np.eye(20, 40),
        "2x2": rng.integers(0, 256, (300, 2, 2)),
        "2x9": rng.integers(0, 256, (300, 2, 9)),
        "3x3": rng.integers(0, 256, (300, 3, 3)),
    }
    return {name: as_planes(plane) for name, plane in planes.items()}


def as_planes(plane: np.ndarray) -> np.ndarray:
    """Returns one plane or several as uint8 (3 n, h, w)."""
    stacked = plane.astype(np.uint8)
    return stacked if stacked.ndim == 3 else np.stack([stacked] * 3)


def hadamard(size: int) -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


ADVERSARIAL = adversarial()


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("solver", [None, eigen.leading], ids=["kernels", "arrays"])
def test_every_byte_of_an_adversarial_image_is_that_of_float64_lapack(
    name: str, solver: eigen.Eigensolver | None
) -> None:
    planes = ADVERSARIAL[name]
    verdict = judge(planes, tuple(range(1, min(planes.shape[1:]))), solver=solver)
    assert verdict.bytes > 0
    assert verdict.wrong == 0


def test_planes_without_a_unique_cut_are_counted() -> None:
    identity = truncated(ADVERSARIAL["identity"], 5)
    assert (identity.degenerate, identity.deficient) == (3, 0)
    noise = truncated(ADVERSARIAL["noise 32x32"], 5)
    assert (noise.degenerate, noise.deficient) == (0, 0)
    flat = truncated(ADVERSARIAL["flat"], 1)
    assert (flat.degenerate, flat.deficient) == (0, 3)


@pytest.mark.parametrize(("name", "rank"), [("zero", 1), ("flat", 2), ("gradient", 5)])
def test_a_plane_of_lower_rank_is_its_own_cut_although_its_last_values_are_equal_zeros(name: str, rank: int) -> None:
    planes = ADVERSARIAL[name]
    same = truncated(planes, rank)
    assert (same.degenerate, same.deficient) == (len(planes), len(planes))
    np.testing.assert_array_equal(same.rounded, planes)


def test_lapack_recomputes_planes_with_almost_equal_singular_values() -> None:
    planes = ADVERSARIAL["three textured blocks"]
    recomputed = [truncated(planes, rank).recomputed for rank in range(1, 32)]
    assert max(recomputed) > 0
    assert recomputed[0] == 0


@pytest.mark.parametrize("shape", ["32x32", "31x33", "40x20", "20x40"])
def test_where_eigh_does_not_converge_the_bytes_are_the_same(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planes = ADVERSARIAL[f"noise {shape}"]
    pixels = planes.reshape(-1, 3, *planes.shape[1:])
    requested = variants((1, 7, 19), ("low", "high"))
    expected = cuts_of(pixels, requested, eigen.leading)

    def diverges(_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    monkeypatch.setattr(np.linalg, "eigh", diverges)
    fallback = cuts_of(pixels, requested, eigen.leading)
    for variant in requested:
        np.testing.assert_array_equal(expected[variant].pixels, fallback[variant].pixels)
    values = np.linalg.svd(planes.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(svd.decompose(planes).values, values, rtol=1e-12)


@pytest.mark.parametrize("shape", [(32, 32), (20, 40), (100, 98)])
@pytest.mark.parametrize(("xp", "solver"), [(np, eigen.leading), (fake, eigh.leading)])
def test_singular_values_are_complete_without_any_vector(
    shape: tuple[int, int], xp: ModuleType, solver: eigen.Eigensolver
) -> None:
    planes = np.random.default_rng(3).integers(0, 256, (2, *shape), dtype=np.uint8)
    values = svd.to_host(svd.decompose(xp.asarray(planes), 0, xp, solver).values)
    np.testing.assert_allclose(values, np.linalg.svd(planes.astype(float), compute_uv=False), rtol=1e-10)


@pytest.mark.parametrize("shape", [(32, 32), (31, 33), (40, 20), (20, 40), (7, 5)])
def test_ranks_outside_of_the_image_are_refused(shape: tuple[int, int]) -> None:
    decomposed = svd.decompose(np.ones((3, *shape), np.uint8))
    for rank in (-1, 0, min(shape), min(shape) + 1):
        with pytest.raises(ValueError, match=f"rank {rank} is not between 1 and {min(shape) - 1}"):
            svd.truncate(decomposed, rank)
    svd.truncate(decomposed, min(shape) - 1)


def bits(planes: np.ndarray, rank: int) -> np.ndarray:
    exact: np.ndarray = truncated(planes, rank).planes
    return exact.view(np.uint64)


@pytest.mark.parametrize("shape", ["32x32", "31x33", "40x20", "20x40"])
def test_bits_depend_neither_on_the_batch_nor_on_the_place_in_it(shape: str) -> None:
    rng = np.random.default_rng(5)
    height, width = map(int, shape.split("x"))
    mixed = rng.integers(0, 256, (70, height, width), dtype=np.uint8)
    mixed[::7] = rng.integers(0, 2, mixed[::7].shape) * 255
    for rank in (1, 5, 19):
        whole = bits(mixed, rank)
        for size in (1, 2, 3, 64):
            for start in range(0, len(mixed), size):
                np.testing.assert_array_equal(bits(mixed[start : start + size], rank), whole[start : start + size])
        shuffled = rng.permutation(len(mixed))
        np.testing.assert_array_equal(bits(mixed[shuffled], rank), whole[shuffled])
        unaligned = np.empty(mixed.nbytes + 1, np.uint8)[1:].reshape(mixed.shape)
        unaligned[:] = mixed
        np.testing.assert_array_equal(bits(unaligned, rank), whole)


def test_bits_of_a_rank_do_not_depend_on_the_other_ranks() -> None:
    planes = np.concatenate([ADVERSARIAL[name] for name in ("noise 32x32", "binary sparse", "three textured blocks")])
    pixels = planes.reshape(-1, 3, 32, 32)
    together = cuts_of(pixels, variants(tuple(range(1, 32)), ("low", "high", "full")))
    for rank in (1, 2, 8, 31):
        alone = cuts_of(pixels, variants((rank,), ("low", "high")))
        for variant, expected in alone.items():
            np.testing.assert_array_equal(expected.pixels, together[variant].pixels)
            assert expected.statistics == together[variant].statistics


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Draws uint8 (h, w) with sides of 2 to 14 pixels: noise, few levels, repeated rows, or mostly one grey level."""
    height, width = draw(st.integers(2, 14)), draw(st.integers(2, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    plane = rng.integers(0, 256, (height, width))
    kind = draw(st.sampled_from(["noise", "levels", "repeated", "sparse"]))
    if kind == "levels":
        plane = plane % draw(st.integers(2, 4)) * draw(st.integers(1, 63))
    elif kind == "repeated":
        plane = plane[rng.integers(0, draw(st.integers(1, height)), height)]
    elif kind == "sparse":
        plane = np.where(rng.random(plane.shape) < 0.1, plane, draw(st.integers(0, 255)))
    return plane.astype(np.uint8)


def unique_cut(plane: np.ndarray, rank: int) -> bool:
    """Returns whether A_k is defined well enough to compare two routes to it."""
    sigma = np.linalg.svd(plane.astype(np.float64), compute_uv=False)
    return bool(sigma[rank] <= GAP * sigma[0] or sigma[rank - 1] - sigma[rank] > 1e-4 * sigma[0])


def low(plane: np.ndarray, rank: int) -> np.ndarray:
    planes: np.ndarray = truncated(plane[None], rank).planes[0]
    return planes


@quick
@given(images(), st.data())
def test_a_k_and_its_residual_are_orthogonal_and_share_the_energy(plane: np.ndarray, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(plane.shape) - 1))
    approximation = low(plane, rank)
    residual = plane - approximation
    energy = (plane.astype(np.float64) ** 2).sum()
    assert abs((approximation * residual).sum()) <= 1e-9 * (energy + 1)
    sigma = np.linalg.svd(plane.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose((approximation**2).sum(), (sigma[:rank] ** 2).sum(), rtol=1e-9, atol=1e-9)
    assert np.linalg.matrix_rank(approximation, tol=1e-9 * (sigma[0] + 1)) <= rank


@quick
@given(images(), st.data())
def test_ranks_are_nested(plane: np.ndarray, data: st.DataObject) -> None:
    """The rank-j cut of A_k is A_j."""
    more = data.draw(st.integers(1, min(plane.shape) - 1))
    less = data.draw(st.integers(1, more))
    assume(unique_cut(plane, less))
    left, sigma, right = np.linalg.svd(low(plane, more))
    again = (left[:, :less] * sigma[:less]) @ right[:less]
    np.testing.assert_allclose(again, low(plane, less), atol=1e-6)


@quick
@given(images(), st.data())
def test_an_image_of_rank_k_is_its_own_low_rank_image(plane: np.ndarray, data: st.DataObject) -> None:
    """To the byte, and its high-rank-only image is grey."""
    rank = data.draw(st.integers(1, min(plane.shape) - 1))
    rows = np.random.default_rng(plane.sum()).integers(0, rank, len(plane))
    repeated = plane[rows]
    pixels = np.stack([repeated] * 3)
    cuts = cuts_of(pixels[None], variants((rank,), ("low", "high")))
    np.testing.assert_array_equal(cuts[Variant("low", rank)].pixels[0], pixels)
    assert (cuts[Variant("high", rank)].pixels == 128).all()


@quick
@given(images(), st.data())
def test_zeros_around_an_image_do_not_change_its_cut(plane: np.ndarray, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(plane.shape) - 1))
    assume(unique_cut(plane, rank))
    below, right = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
    padded = low(np.pad(plane, ((0, below), (0, right))), rank)
    np.testing.assert_allclose(padded[: plane.shape[0], : plane.shape[1]], low(plane, rank), atol=1e-6)
    padded[: plane.shape[0], : plane.shape[1]] = 0
    np.testing.assert_allclose(padded, 0, atol=1e-6)


@quick
@given(images(), st.data())
def test_a_transposed_image_gives_the_transposed_cut(plane: np.ndarray, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(plane.shape) - 1))
    assume(unique_cut(plane, rank))
    np.testing.assert_allclose(low(np.ascontiguousarray(plane.T), rank), low(plane, rank).T, atol=1e-6)
