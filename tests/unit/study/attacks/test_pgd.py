"""Projected gradient descent, compared with attack libraries and with its definition."""

from collections.abc import Callable
from pathlib import Path

import foolbox
import numpy as np
import pytest
import torch
import torchattacks
from foolbox.models.pytorch import PyTorchModel
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.study.attacks.pgd import Attack, draw_starts, draw_targets, perturb
from pipeline.study.attacks.run import run
from pipeline.study.images import Images
from pipeline.study.networks.load import load_network
from pipeline.study.networks.network import Network
from tests.unit.study.conftest import tensor

EPS = 4 / 255


def curved(seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network whose gradients are zero nowhere."""
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 6, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 9, 4))
    return nn.Sequential(*layers).to(dtype).eval().requires_grad_(False)


def by_foolbox(network: nn.Module, x: Tensor, targets: Tensor, attack: Attack, random_start: bool) -> Tensor:
    library_attack = foolbox.attacks.LinfPGD(
        abs_stepsize=attack.step_size, steps=attack.steps, random_start=random_start
    )
    model = PyTorchModel(network, bounds=(0, 1), device="cpu")
    _, adversarial, _ = library_attack(
        model, x, foolbox.criteria.TargetedMisclassification(targets), epsilons=attack.eps
    )
    result: Tensor = adversarial
    return result


def by_torchattacks(network: nn.Module, x: Tensor, targets: Tensor, attack: Attack, random_start: bool) -> Tensor:
    library_attack = torchattacks.PGD(
        network, eps=attack.eps, alpha=attack.step_size, steps=attack.steps, random_start=random_start
    )
    library_attack.set_mode_targeted_by_label(quiet=True)
    result: Tensor = library_attack(x, targets)
    return result


@pytest.mark.parametrize("attack", [Attack(), Attack(8 / 255, 7, 2.5 * (8 / 255) / 7), Attack(0.3, 10, 0.1)])
@pytest.mark.parametrize("library", [by_foolbox, by_torchattacks])
def test_without_a_random_start_every_subpixel_equals_the_libraries(library, attack: Attack) -> None:
    dtype = torch.float64 if library is by_foolbox else torch.float32  # torchattacks takes only float32
    network, x = curved(1, dtype), torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(2)).to(dtype)
    targets = torch.arange(9) % 4
    ours = perturb(network, x, targets, torch.zeros_like(x), attack)
    theirs = library(network, x, targets, attack, random_start=False)
    assert (ours - x).abs().max() > 0.9 * attack.eps
    differing = (ours - theirs).abs() > 1e-6
    assert differing.double().mean() <= (0 if dtype == torch.float64 else 0.001)


@settings(max_examples=40, deadline=None)
@given(
    eps=st.floats(1e-3, 1),
    steps=st.integers(1, 5),
    step_size=st.floats(1e-3, 1),
    seed=st.integers(0, 1000),
)
def test_adversarial_images_are_within_eps_and_within_the_image_range(
    eps: float, steps: int, step_size: float, seed: int
) -> None:
    attack = Attack(eps, steps, step_size, seed)
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, 3, 8, 8)) / 255)
    starts = torch.from_numpy(draw_starts((3, 3, 8, 8), attack)).double()
    adversarial = perturb(curved(seed), x, torch.tensor([0, 1, 2]), starts, attack)
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial - x).abs().max() <= eps * (1 + 1e-7)


def test_starts_are_uniform_and_depend_on_the_seed() -> None:
    starts = draw_starts((1000, 3, 4, 4), Attack(EPS, seed=3))
    assert np.abs(starts).max() <= EPS * (1 + 1e-6)
    shares, _ = np.histogram(starts / EPS, bins=8, range=(-1, 1))
    assert np.abs(shares - 6000).max() < 5 * np.sqrt(6000)
    np.testing.assert_array_equal(starts[:7], draw_starts((7, 3, 4, 4), Attack(EPS, seed=3)))
    assert (starts[:7] != draw_starts((7, 3, 4, 4), Attack(EPS, seed=4))).mean() > 0.99


def test_targets_are_uniform_over_the_other_classes() -> None:
    labels = np.arange(90_000) % 10
    targets = draw_targets(labels, 10, 0)
    counts = np.histogram2d(labels, targets, bins=10)[0]
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(10, dtype=bool)]
    assert np.abs(others - 1000).max() < 5 * np.sqrt(1000)
    np.testing.assert_array_equal(targets[:50], draw_targets(labels[:50], 10, 0))
    assert (targets != draw_targets(labels, 10, 1)).mean() > 0.8


def successes(network: Network, images: Images, attack: Attack) -> np.ndarray:
    """Returns whether our attack succeeds on each image, bool (n,)."""
    attacked = run([network], images, attack)
    return np.asarray(attacked.outcomes[0].after == attacked.targets)


def libraries(network: Network, images: Images, attack: Attack) -> dict[str, np.ndarray]:
    """Returns whether the attack of each library succeeds on each image, bool (n,), with the library's random starts."""
    x = tensor(images)
    targets = torch.from_numpy(draw_targets(images.labels, 10, attack.seed))
    torch.manual_seed(0)
    successful = {}
    for name, library in (("foolbox", by_foolbox), ("torchattacks", by_torchattacks)):
        adversarial = torch.cat(
            [
                library(network, x[start : start + 200], targets[start : start + 200], attack, random_start=True)
                for start in range(0, len(x), 200)
            ]
        )
        with torch.no_grad():
            successful[name] = (network(adversarial).argmax(1) == targets).numpy()
    return successful


def assert_within_sampling_error(ours: np.ndarray, theirs: np.ndarray) -> None:
    """McNemar's exact test: of the images on which only one attack succeeds, half are ours."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert only_ours + only_theirs == 0 or binomtest(only_ours, only_ours + only_theirs).pvalue > 0.01


Published = Callable[[str], Network]


def test_the_attack_libraries_succeed_as_often_on_the_robust_network(test_images: Images, published: Published) -> None:
    robust, images = published("resnet4b"), test_images.first(100)
    ours = successes(robust, images, Attack())
    assert ours.mean() < 0.25
    for theirs in libraries(robust, images, Attack()).values():
        assert_within_sampling_error(ours, theirs)


@pytest.mark.full
def test_all_lossless_test_images(test_images: Images, published: Published) -> None:
    for name, low, high in (("resnet20", 0.95, 1.0), ("resnet4b", 0.0, 0.25)):
        ours = successes(published(name), test_images, Attack())
        assert low <= ours.mean() <= high
        for library, theirs in libraries(published(name), test_images, Attack()).items():
            print(f"{name}: ours {ours.mean():.4f}, {library} {theirs.mean():.4f}")
            assert_within_sampling_error(ours, theirs)


def test_outcomes_do_not_depend_on_the_batch(test_images: Images, published: Published) -> None:
    images = test_images.first(30)
    attacked = [run([published("resnet4b")], images, Attack(steps=3), batch=batch) for batch in (30, 7)]
    whole, parts = (result.outcomes[0] for result in attacked)
    np.testing.assert_array_equal(whole.after, parts.after)


def test_networks_without_gradients_are_refused(test_images: Images, onnx: Path) -> None:
    with pytest.raises(UsageError, match="needs gradients"):
        run([load_network(str(onnx))], test_images.first(2), Attack())
