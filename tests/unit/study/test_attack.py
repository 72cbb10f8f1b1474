"""Projected gradient descent, against the attack libraries' and against its own definition."""

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
from pipeline.study.inputs import Images, from_records
from pipeline.study.networks.load import Network, load

EPS = 4 / 255


def curved(seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network without flat parts, in which gradients are nowhere zero."""
    torch.manual_seed(seed)
    layers = (nn.Conv2d(3, 6, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 9, 4))
    return nn.Sequential(*layers).to(dtype).eval().requires_grad_(False)


def by_foolbox(network: nn.Module, x: Tensor, targets: Tensor, attack: Attack, random_start: bool) -> Tensor:
    made = foolbox.attacks.LinfPGD(abs_stepsize=attack.step_size, steps=attack.steps, random_start=random_start)
    model = PyTorchModel(network, bounds=(0, 1), device="cpu")
    _, adversarial, _ = made(model, x, foolbox.criteria.TargetedMisclassification(targets), epsilons=attack.eps)
    result: Tensor = adversarial
    return result


def by_torchattacks(network: nn.Module, x: Tensor, targets: Tensor, attack: Attack, random_start: bool) -> Tensor:
    made = torchattacks.PGD(
        network, eps=attack.eps, alpha=attack.step_size, steps=attack.steps, random_start=random_start
    )
    made.set_mode_targeted_by_label(quiet=True)
    result: Tensor = made(x, targets)
    return result


@pytest.mark.parametrize("attack", [Attack(), Attack(8 / 255, 7, 2.5 * (8 / 255) / 7), Attack(0.3, 10, 0.1)])
@pytest.mark.parametrize("library", [by_foolbox, by_torchattacks])
def test_without_a_random_start_every_subpixel_is_the_libraries(library, attack: Attack) -> None:
    dtype = torch.float64 if library is by_foolbox else torch.float32  # torchattacks takes no others
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
def test_what_it_makes_is_within_eps_and_within_the_image_range(
    eps: float, steps: int, step_size: float, seed: int
) -> None:
    attack = Attack(eps, steps, step_size, seed)
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, 3, 8, 8)) / 255)
    starts = torch.from_numpy(draw_starts((3, 3, 8, 8), attack)).double()
    made = perturb(curved(seed), x, torch.tensor([0, 1, 2]), starts, attack)
    assert made.min() >= 0
    assert made.max() <= 1
    assert (made - x).abs().max() <= eps * (1 + 1e-7)


def test_starts_are_uniform_and_of_their_seed() -> None:
    starts = draw_starts((1000, 3, 4, 4), Attack(EPS, seed=3))
    assert np.abs(starts).max() <= EPS * (1 + 1e-6)
    shares, _ = np.histogram(starts / EPS, bins=8, range=(-1, 1))
    assert np.abs(shares - 6000).max() < 5 * np.sqrt(6000)
    np.testing.assert_array_equal(starts[:7], draw_starts((7, 3, 4, 4), Attack(EPS, seed=3)))
    assert (starts[:7] != draw_starts((7, 3, 4, 4), Attack(EPS, seed=4))).mean() > 0.99


def test_targets_are_the_other_classes_equally_often() -> None:
    labels = np.arange(90_000) % 10
    targets = draw_targets(labels, 10, 0)
    counts = np.histogram2d(labels, targets, bins=10)[0]
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(10, dtype=bool)]
    assert np.abs(others - 1000).max() < 5 * np.sqrt(1000)
    np.testing.assert_array_equal(targets[:50], draw_targets(labels[:50], 10, 0))
    assert (targets != draw_targets(labels, 10, 1)).mean() > 0.8


@pytest.fixture(scope="module")
def images(shared: Path) -> Images:
    return from_records(shared / "data" / "cifar10" / "test_batch.first1017.bin")


@pytest.fixture(scope="module")
def natural(shared: Path) -> Network:
    return load("resnet20", shared / "data" / "weights" / "natural" / "resnet20-12fca82f.th", name="resnet20")


@pytest.fixture(scope="module")
def robust(shared: Path) -> Network:
    return load("resnet4b", shared / "data" / "weights" / "robust" / "resnet4b.pth", name="resnet4b")


def successes(network: Network, images: Images, attack: Attack) -> np.ndarray:
    """bool (n,): ours."""
    attacked = run([network], images, attack)
    return np.asarray(attacked.outcomes[0].after == attacked.targets)


def libraries(network: Network, images: Images, attack: Attack) -> dict[str, np.ndarray]:
    """bool (n,) by library, with random starts of their own."""
    x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).float() / 255
    targets = torch.from_numpy(draw_targets(images.labels, 10, attack.seed))
    torch.manual_seed(0)
    found = {}
    for name, library in (("foolbox", by_foolbox), ("torchattacks", by_torchattacks)):
        made = torch.cat(
            [
                library(network, x[start : start + 200], targets[start : start + 200], attack, random_start=True)
                for start in range(0, len(x), 200)
            ]
        )
        with torch.no_grad():
            found[name] = (network(made).argmax(1) == targets).numpy()
    return found


def assert_within_sampling_error(ours: np.ndarray, theirs: np.ndarray) -> None:
    """McNemar's exact test: images on which only one succeeds are as often ours as theirs."""
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert only_ours + only_theirs == 0 or binomtest(only_ours, only_ours + only_theirs).pvalue > 0.01


def test_the_robust_network_withstands_as_often_as_under_the_libraries_attacks(images: Images, robust: Network) -> None:
    some = images.first(300)
    ours = successes(robust, some, Attack())
    assert ours.mean() < 0.25
    for theirs in libraries(robust, some, Attack()).values():
        assert_within_sampling_error(ours, theirs)


def test_the_natural_network_is_led_to_the_target(images: Images, natural: Network) -> None:
    assert successes(natural, images.first(60), Attack()).mean() > 0.95


@pytest.mark.full
def test_all_lossless_test_images(images: Images, natural: Network, robust: Network) -> None:
    for network, low, high in ((natural, 0.95, 1.0), (robust, 0.0, 0.25)):
        ours = successes(network, images, Attack())
        assert low <= ours.mean() <= high
        for name, theirs in libraries(network, images, Attack()).items():
            print(f"{network.name}: ours {ours.mean():.4f}, {name} {theirs.mean():.4f}")
            assert_within_sampling_error(ours, theirs)


def test_outcomes_do_not_depend_on_the_batch(images: Images, robust: Network) -> None:
    some = images.first(30)
    whole, parts = (run([robust], some, Attack(steps=3), batch=batch).outcomes[0] for batch in (30, 7))
    np.testing.assert_array_equal(whole.after, parts.after)


def test_networks_without_gradients_are_refused(images: Images, shared: Path) -> None:
    onnx = load(str(shared / "data" / "weights" / "robust" / "resnet_2b.onnx"))
    with pytest.raises(UsageError, match="an attack needs gradients, which resnet_2b does not give"):
        run([onnx], images.first(2), Attack())
