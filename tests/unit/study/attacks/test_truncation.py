"""Truncation in front of a network: values compared with LAPACK, gradients with finite differences, and as a defence."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.study.attacks.pgd import Attack
from pipeline.study.attacks.run import run
from pipeline.study.attacks.truncation import GRADIENTS, Truncated, truncate
from pipeline.study.images import Images
from pipeline.study.networks.network import Network


def by_lapack(x: np.ndarray, rank: int) -> np.ndarray:
    u, s, v = np.linalg.svd(x, full_matrices=False)
    low: np.ndarray = (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]
    return low


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
    np.testing.assert_allclose(truncate(torch.from_numpy(x), rank, gradient).numpy(), by_lapack(x, rank), atol=1e-9)


def test_float32_photographs_are_exact_to_a_thousandth_of_a_grey_level(test_images: Images) -> None:
    x = test_images.first(50).pixels.transpose(0, 3, 1, 2) / 255
    for rank in (1, 5, 20, 31):
        cut = truncate(torch.from_numpy(x).float(), rank)
        assert cut.dtype == torch.float32
        assert np.abs(cut.numpy() - by_lapack(x, rank)).max() < 0.001 / 255


@pytest.mark.parametrize("shape", [(2, 1, 6, 7), (2, 1, 7, 6), (1, 3, 5, 5)])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_exact_gradient_equals_finite_differences(shape: tuple[int, ...], rank: int) -> None:
    x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(rank)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: truncate(x, rank, "exact"), x)


@pytest.mark.parametrize("rank", [1, 4])
def test_the_fixed_gradient_treats_singular_vectors_as_constants(rank: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, upstream = (torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=generator) for _ in range(2))
    v = np.linalg.svd(x.numpy(), full_matrices=False)[2][..., :rank, :]
    x.requires_grad_(True)
    truncate(x, rank, "fixed").backward(upstream)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), upstream.numpy() @ v.swapaxes(-1, -2) @ v, atol=1e-10)


def test_gradients_stay_finite_where_singular_values_meet() -> None:
    flat, identity, black = torch.full((5, 5), 0.5), torch.eye(5), torch.zeros(5, 5)
    for gradient in GRADIENTS:
        x = torch.stack([flat, identity, black])[None].double().requires_grad_(True)
        truncate(x, 2, gradient).sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_at_full_rank_there_is_no_truncation() -> None:
    x = torch.rand(2, 3, 4, 6)
    assert truncate(x, 4) is x
    assert truncate(x, 9) is x


def test_adaptive_attacks_undo_most_of_the_defence(published: Callable[[str], Network], test_images: Images) -> None:
    network, images = published("resnet20"), test_images.first(16)
    attacked = run([network], images, Attack(), ranks=(10,))
    success = {outcome.attack: float((outcome.after == attacked.targets).mean()) for outcome in attacked.outcomes}
    assert list(success) == ["direct", "transfer", "fixed", "exact"]
    assert success["direct"] > 0.9
    assert success["transfer"] < success["direct"] - 0.2
    assert success["exact"] > success["transfer"] + 0.2
    assert success["fixed"] > success["transfer"]


def test_a_truncated_network_is_the_network_on_truncated_images() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(75, 4))
    x = torch.rand(6, 3, 5, 5)
    expected = module(torch.from_numpy(by_lapack(x.double().numpy(), 2)).float())
    torch.testing.assert_close(Truncated(module, 2, "exact")(x), expected, atol=1e-5, rtol=0)
