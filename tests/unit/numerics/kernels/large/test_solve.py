"""Large planes: every byte is that of float64 LAPACK, and each plane's bits depend on this plane alone."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.numerics import cpu
from pipeline.numerics.kernels.large.solve import truncate_planes
from tests.unit.numerics.planes import GAP, TIE, Verdict, adversarial, judge, photographs

RANKS = (10, 30, 50, 100)
SIDES = (65, 72, 96, 100, 128, 160, 224, 256, 384, 512)
SHAPES = ((65, 66), (66, 65), (72, 100), (100, 72), (70, 400), (401, 67), (129, 300), (224, 225), (500, 375))


def judge_adversarial(height: int, width: int) -> Verdict:
    side = min(height, width)
    ranks = tuple(sorted({1, 2, 3, side // 4, side // 2, side - 1}))
    total = Verdict()
    for plane in adversarial(height, width).values():
        pixels = plane.astype(np.uint8)[None]
        total += judge(pixels, ranks, truncate_planes(pixels, ranks))
    print(f"\n{height} x {width}: {total}")
    return total


def test_every_byte_of_photographs_is_that_of_lapack(shared: Path) -> None:
    pixels = photographs(shared, 8)
    verdict = judge(pixels, RANKS, truncate_planes(pixels, RANKS))
    assert verdict.pixels == 4 * pixels.size
    assert verdict.wrong == verdict.unsound == verdict.doubtful == verdict.degenerate == 0
    assert verdict.ties < 3e-5 * verdict.pixels  # the band around a tie holds 2e-5 of all real numbers


@pytest.mark.full
def test_every_byte_of_all_photographs_is_that_of_lapack(shared: Path) -> None:
    pixels = photographs(shared, 500)
    verdict = Verdict()
    for start in range(0, len(pixels), 60):
        part = pixels[start : start + 60]
        verdict += judge(part, RANKS, truncate_planes(part, RANKS))
    print(f"\n{len(pixels)} planes: {verdict}")
    assert verdict.wrong == 0
    assert verdict.unsound + verdict.doubtful < len(pixels) / 20


@pytest.mark.parametrize(("height", "width"), [(65, 65), (96, 72), (72, 101)])
def test_every_byte_of_adversarial_planes_is_that_of_lapack(height: int, width: int) -> None:
    verdict = judge_adversarial(height, width)
    assert verdict.pixels > 80 * height * width  # of 204 cuts; the others are recomputed by LAPACK
    assert verdict.wrong == 0


@pytest.mark.full
@pytest.mark.parametrize(("height", "width"), [*((side, side) for side in SIDES), *SHAPES])
def test_every_byte_of_adversarial_planes_of_all_sizes_is_that_of_lapack(height: int, width: int) -> None:
    verdict = judge_adversarial(height, width)
    assert verdict.pixels > 80 * height * width
    assert verdict.wrong == 0


@pytest.mark.parametrize(("height", "width"), [(66, 66), (68, 90), (90, 68)])
def test_with_planes_that_are_recomputed_no_byte_is_wrong(height: int, width: int) -> None:
    names, planes = zip(*adversarial(height, width).items(), strict=True)
    pixels = np.array(planes).astype(np.uint8)
    ranks = (1, 2, 3, 8, 40)
    solution = cpu.solve(pixels, ranks)
    exact = pixels.astype(np.float64)
    left, sigma, right = np.linalg.svd(exact, full_matrices=False)
    compared = 0
    for rank in ranks:
        cut = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        negligible = sigma[:, rank] <= GAP * sigma[:, 0]
        cut[negligible] = exact[negligible]
        unique = negligible | (sigma[:, rank - 1] - sigma[:, rank] > GAP * sigma[:, 0])
        tie = 0.5 - np.abs(cut - np.rint(cut)) < TIE
        wrong = ((solution.truncated(rank).rounded != np.rint(cut)) & ~tie).any(axis=(1, 2)) & unique
        assert not wrong.any(), (rank, [names[plane] for plane in np.flatnonzero(wrong)])
        compared += int(unique.sum())
    assert compared > 100


@pytest.mark.parametrize(("height", "width"), [(70, 70), (96, 131), (131, 97)])
def test_the_bits_of_a_plane_depend_on_this_plane_alone(height: int, width: int) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (11, height, width), dtype=np.uint8)
    pixels[3], pixels[4, :10] = 7, 0
    together = truncate_planes(pixels, (5, 20, 33), 40, True)
    assert together.planes is not None and together.vectors is not None
    backwards = truncate_planes(pixels[::-1].copy(), (20,), 3)
    assert backwards.planes is None and backwards.vectors is not None
    np.testing.assert_array_equal(backwards.eigenvalues[::-1], together.eigenvalues)
    np.testing.assert_array_equal(backwards.rounded[0, ::-1], together.rounded[1])
    np.testing.assert_array_equal(backwards.margins[0, ::-1], together.margins[1])
    np.testing.assert_array_equal(backwards.near[0, ::-1], together.near[1])
    np.testing.assert_array_equal(backwards.residual[::-1], together.residual[:, :20])
    np.testing.assert_array_equal(backwards.skew[::-1], together.skew[:, :20])
    np.testing.assert_array_equal(backwards.vectors[::-1], together.vectors[:, :, :3])
    for plane in (0, 3, 10):
        alone = truncate_planes(pixels[plane : plane + 1], (20, 33), 0, True)
        assert alone.planes is not None and alone.vectors is None
        np.testing.assert_array_equal(alone.planes[:, 0], together.planes[1:, plane])
        np.testing.assert_array_equal(alone.rounded[:, 0], together.rounded[1:, plane])


@pytest.mark.parametrize(("height", "width"), [(70, 70), (75, 131), (131, 77)])
def test_planes_before_rounding_and_vectors(height: int, width: int) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (2, height, width), dtype=np.uint8)
    solved = truncate_planes(pixels, (1, 30), 50, True)
    assert solved.planes is not None and solved.vectors is not None
    left, sigma, right = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
    for i, rank in enumerate((1, 30)):
        cut = (left[:, :, :rank] * sigma[:, None, :rank]) @ right[:, :rank]
        np.testing.assert_allclose(solved.planes[i], cut, atol=1e-7)
        np.testing.assert_array_equal(solved.rounded[i], np.rint(solved.planes[i]))
    expected = right.swapaxes(1, 2) if width <= height else left
    products = np.abs(np.einsum("pij,pij->pj", solved.vectors, expected[:, :, :50]))
    np.testing.assert_allclose(products, 1, atol=1e-9)


def test_without_ranks_only_the_spectrum_and_vectors_are_computed() -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (2, 66, 70), dtype=np.uint8)
    spectrum = truncate_planes(pixels, ())
    assert spectrum.rounded.shape == (0, 2, 66, 70) and spectrum.residual.shape == (2, 0)
    solved = truncate_planes(pixels, (), 66)
    assert solved.vectors is not None and solved.vectors.shape == (2, 66, 66)
    np.testing.assert_array_equal(solved.eigenvalues, spectrum.eigenvalues)
