"""Truncation in front of a network, as a defence. ``tests/unit/test_transforms.py`` tests its values and gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.errors import UsageError
from pipeline.study.attacks.pgd import Attack
from pipeline.study.attacks.run import run
from pipeline.study.attacks.truncation import Truncated
from pipeline.study.images import Images
from pipeline.study.networks.network import Network


def by_lapack(x: np.ndarray, rank: int) -> np.ndarray:
    u, s, v = np.linalg.svd(x, full_matrices=False)
    low: np.ndarray = (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]
    return low


@pytest.mark.parametrize(("rank", "gradient"), [(0, "exact"), (-1, "fixed"), (2, "exakt")])
def test_wrong_arguments_are_refused(rank: int, gradient: str) -> None:
    with pytest.raises(UsageError):
        Truncated(torch.nn.Identity(), rank, gradient)


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
