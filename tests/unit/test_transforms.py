"""``RankTruncate``: the grey levels of a build, LAPACK's values, gradients by finite differences, and errors."""

import copy
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.build import main
from pipeline.data import RankDataset
from pipeline.errors import UsageError
from pipeline.transforms import GRADIENTS, RankTruncate, stored, stored_on_gpu, truncate


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """Torch's threads wait for each other, which costs most when other processes use the cores, as in CI."""
    torch.set_num_threads(1)


def by_lapack(x: np.ndarray, rank: int) -> np.ndarray:
    u, s, v = np.linalg.svd(x, full_matrices=False)
    low: np.ndarray = (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]
    return low


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_bytes_of_build(folder: Path, out: Path, rank: int, *options: str) -> None:
    """Builds a folder of images, and compares every stored image with the transform of the image in ``full``."""
    job = ["--dataset", "folder", "--data-dir", str(folder), "--ranks", str(rank), "--components", "low,high,full"]
    assert main([*job, "--workers", "0", "--quiet", "--out", str(out), *options]) == 0
    full = torch.from_numpy(RankDataset(out, "full").data.transpose(0, 3, 1, 2).copy())
    for component, variant in (("low", f"rank{rank}"), ("high", f"highrank{rank}")):
        expected = RankDataset(out, variant).data.transpose(0, 3, 1, 2)
        transform = RankTruncate(rank, component)
        np.testing.assert_array_equal(transform(full).numpy(), expected)
        np.testing.assert_array_equal(stored_on_gpu(full.reshape(-1, *full.shape[2:]), rank, component).numpy(),
                                      expected.reshape(-1, *full.shape[2:]))  # fmt: skip
        np.testing.assert_array_equal(transform(full[7]).numpy(), expected[7])  # an image does not depend on its batch
        picture = transform(RankDataset(out, "full")[7][0])
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), expected[7])


def test_a_thousand_lossless_images_become_the_bytes_of_a_build(
    cifar_planes: Callable[[int], np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for number, planes in enumerate(cifar_planes(1000).reshape(-1, 3, 32, 32)):
        Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(tmp_path / f"images/a/{number:04}.png")
    assert_bytes_of_build(tmp_path / "images", tmp_path / "out", 5)


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.full)])
def test_photographs_become_the_bytes_of_a_build(count: int, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for path in sorted((shared / "data" / "imagenet-samples").glob("*.JPEG"))[:count]:
        (tmp_path / "images" / "a" / path.name).symlink_to(path)
    assert_bytes_of_build(tmp_path / "images", tmp_path / "out", 50, "--resize", "256", "--crop", "224")


def drawings() -> torch.Tensor:
    """Returns planes with ties, equal singular values and few singular values: uint8 (p, 16, 12)."""
    rows, columns = np.mgrid[:16, :12]
    planes = [rows * 0, rows * 0 + 255, rows == columns, (rows + columns) % 2, rows % 3 == 0, rows * 12 + columns]
    planes += [np.random.default_rng(seed).integers(0, 2, (16, 12)) for seed in range(20)]
    return torch.from_numpy(np.stack([plane.astype(np.uint8) for plane in planes]) * np.uint8(1))


@pytest.mark.parametrize("rank", [1, 2, 5, 11])
@pytest.mark.parametrize("component", ["low", "high"])
def test_torchs_operations_give_the_kernels_bytes_in_drawings(rank: int, component: str) -> None:
    """What a GPU computes, here on the CPU. Multiples of a 0-1 plane have its ties and its equal singular values."""
    for planes in (drawings(), drawings() * 85, drawings().mT.contiguous() * 255):
        assert torch.equal(stored_on_gpu(planes, rank, component), stored(planes, rank, component))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rank=st.integers(1, 12),
    gradient=st.sampled_from(GRADIENTS),
    seed=st.integers(0, 999),
)
def test_values_equal_lapacks(height: int, width: int, rank: int, gradient: str, seed: int) -> None:
    x = np.random.default_rng(seed).random((2, 3, height, width))
    low = by_lapack(x, rank)
    np.testing.assert_allclose(RankTruncate(rank, "low", gradient)(torch.from_numpy(x)).numpy(), low, atol=1e-9)
    np.testing.assert_allclose(RankTruncate(rank, "high", gradient)(torch.from_numpy(x)).numpy(), x - low, atol=1e-9)


def test_float32_photographs_are_exact_to_a_thousandth_of_a_grey_level(
    cifar_planes: Callable[[int], np.ndarray],
) -> None:
    x = cifar_planes(50).reshape(-1, 3, 32, 32) / 255
    for rank in (1, 5, 20, 31):
        cut = RankTruncate(rank)(torch.from_numpy(x).float())
        assert cut.dtype == torch.float32
        assert np.abs(cut.numpy() - by_lapack(x, rank)).max() < 0.001 / 255


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7), (2, 3, 6, 7), (2, 2, 3, 7, 6), (0, 3, 6, 7)])
def test_shapes_and_dtypes_are_kept(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for x in (random(*shape).to(dtype), (255 * random(*shape)).to(torch.uint8)):
        low, high = RankTruncate(2)(x), RankTruncate(2, "high")(x)
        assert (low.shape, low.dtype) == (high.shape, high.dtype) == (x.shape, x.dtype)


def test_at_full_rank_there_is_no_truncation() -> None:
    x = random(2, 3, 4, 6).float()
    for rank in (4, 9):
        assert truncate(x, rank) is x
        assert RankTruncate(rank, "high")(x).abs().max() < 1e-6
        grey = (255 * x).to(torch.uint8)
        assert torch.equal(RankTruncate(rank)(grey), grey)
        assert (RankTruncate(rank, "high")(grey) == 128).all()


@pytest.mark.parametrize("shape", [(2, 1, 6, 7), (2, 1, 7, 6), (1, 3, 5, 5)])
@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("component", ["low", "high"])
def test_the_exact_gradient_equals_finite_differences(shape: tuple[int, ...], rank: int, component: str) -> None:
    assert torch.autograd.gradcheck(RankTruncate(rank, component), random(*shape, seed=rank).requires_grad_(True))


@pytest.mark.parametrize("shape", [(2, 3, 6, 7), (2, 3, 7, 6)])
@pytest.mark.parametrize("rank", [1, 4])
def test_the_fixed_gradient_treats_singular_vectors_of_the_smaller_side_as_constants(
    rank: int, shape: tuple[int, ...]
) -> None:
    x, upstream = random(*shape), random(*shape, seed=1)
    u, _, v = np.linalg.svd(x.numpy(), full_matrices=False)
    u, v = u[..., :rank], v[..., :rank, :]
    wide = shape[3] > shape[2]
    expected = u @ u.swapaxes(-1, -2) @ upstream.numpy() if wide else upstream.numpy() @ v.swapaxes(-1, -2) @ v
    for component in ("low", "high"):
        x.grad = None
        RankTruncate(rank, component, "fixed")(x.requires_grad_(True)).backward(upstream)
        assert x.grad is not None
        reference = expected if component == "low" else upstream.numpy() - expected
        np.testing.assert_allclose(x.grad.numpy(), reference, atol=1e-10)


@pytest.mark.parametrize("component", ["low", "high"])
def test_the_straight_through_gradient_is_that_of_the_identity(component: str) -> None:
    x, upstream = random(3, 6, 7).requires_grad_(True), random(3, 6, 7, seed=1)
    RankTruncate(2, component, "straight-through")(x).backward(upstream)
    assert x.grad is not None
    assert torch.equal(x.grad, upstream)


def test_gradients_stay_finite_where_singular_values_meet() -> None:
    flat, identity, black = torch.full((5, 5), 0.5), torch.eye(5), torch.zeros(5, 5)
    for gradient in GRADIENTS:
        x = torch.stack([flat, identity, black])[None].double().requires_grad_(True)
        RankTruncate(2, gradient=gradient)(x).sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_a_second_derivative_is_refused_instead_of_wrong() -> None:
    x = random(4, 5).requires_grad_(True)
    (first,) = torch.autograd.grad(RankTruncate(2)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize(("rank", "drawn"), [((2, 4), {2, 3, 4}), (range(1, 6, 2), {1, 3, 5}), ((3, 3), {3})])
def test_a_rank_is_drawn_for_each_call_from_torchs_generator(rank: tuple[int, int] | range, drawn: set[int]) -> None:
    x, transform = random(2, 8, 8), RankTruncate(rank)

    def ranks(seed: int) -> list[int]:
        torch.manual_seed(seed)
        singular = [np.linalg.svd(transform(x).numpy(), compute_uv=False) for _ in range(40)]
        counts = [(values > 1e-9).sum(axis=1) for values in singular]
        assert all(len({*count}) == 1 for count in counts)  # one for the batch
        return [int(count[0]) for count in counts]

    assert set(ranks(0)) == drawn
    assert ranks(0) == ranks(0)
    assert ranks(0) != ranks(1) or len(drawn) == 1


def test_a_fixed_rank_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    RankTruncate(2)(random(4, 5))
    assert torch.equal(torch.get_rng_state(), state)


def test_further_arguments_are_returned() -> None:
    x = random(3, 6, 7)
    image, label, weight = RankTruncate(2)(x, 4, 0.5)
    assert torch.equal(image, RankTruncate(2)(x))
    assert (label, weight) == (4, 0.5)


def test_grey_pictures_stay_grey() -> None:
    planes = drawings()[5]
    picture = RankTruncate(1)(Image.fromarray(planes.numpy()))
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), RankTruncate(1)(planes).numpy())


class Subclass(torch.Tensor):
    """As torchvision's ``tv_tensors.Image``."""


def test_the_class_of_a_tensor_is_kept() -> None:
    for x in (random(3, 6, 7), drawings()):
        transformed = RankTruncate(2)(x.as_subclass(Subclass))
        assert type(transformed) is Subclass
        assert torch.equal(transformed.as_subclass(torch.Tensor), RankTruncate(2)(x))
    assert type(RankTruncate(2)(torch.nn.Parameter(random(3, 6, 7)))) is torch.Tensor


def test_it_is_a_module_that_can_be_copied_and_printed() -> None:
    transform, x = RankTruncate((2, 2), "high", "fixed"), random(3, 6, 7)
    for other in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        assert torch.equal(other(x), transform(x))
    assert repr(transform) == "RankTruncate(rank=2, component='high', gradient='fixed')"
    assert repr(RankTruncate((2, 4))) == "RankTruncate(rank=(2, 4), component='low', gradient='exact')"
    assert torch.equal(torch.nn.Sequential(transform)(x), transform(x))


def test_the_input_does_not_change() -> None:
    for x, component in itertools.product((drawings(), random(3, 6, 7)), ("low", "high")):
        before = x.clone()
        RankTruncate(2, component)(x)
        assert torch.equal(x, before)
    whole = drawings()
    RankTruncate(99)(whole).zero_()  # a new tensor, also where nothing is cut
    assert whole.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "rank: 0 is too small, the least is 1"),
        ((-1,), "rank: -1 is too small, the least is 1"),
        ((True,), "rank: True: give a whole number, or (lowest, highest)"),
        ((2.0,), "rank: 2.0: give a whole number, or (lowest, highest)"),
        (([2, 5, 9],), "rank: [2, 5, 9]: give a whole number, or (lowest, highest)"),
        (((0, 5),), "rank: 0 is too small, the least is 1"),
        (((5, 2),), "rank: (5, 2) holds no rank; write (lowest, highest)"),
        (("5",), "rank: '5': give a whole number, or (lowest, highest)"),
        ((5, "hgih"), "component: 'hgih' is not one of low, high, did you mean 'high'?"),
        ((5, None), "component: None is not one of low, high"),
        (
            (5, "low", "exakt"),
            "gradient: 'exakt' is not one of exact, fixed, straight-through, did you mean 'exact'?",
        ),
    ],
)
def test_wrong_arguments_are_one_line(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        RankTruncate(*arguments)  # type: ignore[arg-type]
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), "image: ndarray is neither a tensor (..., h, w) nor a PIL image"),
        ({"low": 1}, "image: dict is neither a tensor (..., h, w) nor a PIL image"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "image: torch.int64 is neither uint8 grey levels nor floating point"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "image: torch.bool is neither uint8 grey levels nor floating point"),
        (torch.zeros(4), "image: (4,) is not (..., h, w) with sides from 1 to 15,000 pixels"),
        (torch.zeros(3, 0, 4), "image: (3, 0, 4) is not (..., h, w) with sides from 1 to 15,000 pixels"),
        (torch.zeros(1, 15_001, dtype=torch.uint8), "image: (1, 15001) is not (..., h, w)"),
        (torch.full((3, 4, 4), torch.nan), "image: it has values that are not finite (NaN or infinity)"),
        (torch.full((3, 4, 4), torch.inf), "image: it has values that are not finite (NaN or infinity)"),
        (torch.full((3, 32, 32), torch.nan), "image: it has values that are not finite (NaN or infinity)"),
        (torch.full((3, 32, 32), torch.inf), "image: it has values that are not finite (NaN or infinity)"),
        (torch.full((3, 32, 32), 1e200, dtype=torch.float64), "image: its values are too large"),
        (Image.new("RGBA", (4, 4)), "image: a PIL image of mode RGBA: convert it to RGB or L first"),
        (Image.new("I;16", (4, 4)), "image: a PIL image of mode I;16: convert it to RGB or L first"),
    ],
)
def test_wrong_images_are_one_line(image: object, message: str) -> None:
    with pytest.raises(UsageError) as error:
        RankTruncate(2)(image)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rank", [10**30, (1, 10**30), range(1, 10**30)])
def test_a_rank_of_no_image_is_refused_at_once(rank: int | tuple[int, int] | range) -> None:
    with pytest.raises(UsageError, match="is too large, the most is 15,000"):
        RankTruncate(rank)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "rank: 0"), ((-1,), "rank: -1"), ((2, "exakt"), "gradient"), ((2, "fixed", "x"), "component")],
)
def test_the_function_checks_its_arguments_too(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        truncate(random(3, 4, 4), *arguments)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="divide grey levels by 255"):
        truncate(drawings(), 2)
