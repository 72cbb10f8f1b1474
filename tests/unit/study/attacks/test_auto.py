"""AutoAttack stays within its bound, finds what torchattacks finds, and is a row beside PGD's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError
from pipeline.study.attack import main
from pipeline.study.attacks import auto
from pipeline.study.networks.network import Network
from tests.unit.study.conftest import PUBLISHED, Run, table

CLASSES = 5


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps and queries: the paper's numbers take 20 seconds for a dozen tiny images."""
    monkeypatch.setattr(auto, "_STEPS", 10)
    monkeypatch.setattr(auto, "_QUERIES", 50)


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, Tensor, Tensor]:
    """A random network, images of 8 pixels, and the classes that it predicts for them."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(72, CLASSES)).eval()
        x = torch.rand(16, 3, 8, 8)
    return network, x, network(x).argmax(1)


def right(network: nn.Module, x: Tensor, labels: Tensor) -> int:
    return int((network(x).argmax(1) == labels).sum())


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("eps", [0.01, 0.03, 0.06])
def test_it_finds_what_torchattacks_finds_and_no_less_than_pgd(
    eps: float, small: tuple[nn.Module, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x, labels = small
    state = torch.random.get_rng_state()
    adversarial = auto.auto_attack(network, x, labels, eps, CLASSES, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (adversarial - x).abs().max() <= eps + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    found = right(network, adversarial, labels)
    pgd = torchattacks.PGD(network, eps=eps, alpha=eps / 4, steps=20)(x, labels)
    assert found <= right(network, pgd, labels)
    theirs = [
        torchattacks.APGD(network, eps=eps, seed=0),
        torchattacks.APGDT(network, eps=eps, seed=0, n_classes=CLASSES),
    ]
    assert abs(found - right(network, torchattacks.MultiAttack(theirs)(x, labels), labels)) <= 1
    again = auto.auto_attack(network, x, labels, eps, CLASSES, seed=0)
    assert torch.equal(again, adversarial)


@pytest.mark.usefixtures("short")
def test_it_is_a_row_beside_pgd_and_goes_through_the_truncation(
    command: Run, weights: Path, records: Path, tmp_path: Path
) -> None:
    spec, file = PUBLISHED["cnn_a_adv"]
    job = ("--model", spec, "--weights", weights / file, "--images", records, "--limit", 8, "--steps", 2, "--ranks", 8)
    for name, more in (("pgd", ()), ("auto", ("--autoattack",))):
        ran = command(main, *job, *more, "--out", tmp_path / name)
        assert (ran.status, ran.err) == (0, "")
    assert "AutoAttack, any wrong class" in ran.out
    rows = table(tmp_path / "auto" / "attack.csv")
    assert [row for row in rows if row["attack"] != "autoattack"] == table(tmp_path / "pgd" / "attack.csv")
    found = [row for row in rows if row["attack"] == "autoattack" and row["images"] == "all"]
    assert [row["rank"] for row in found] == ["", "8"]
    for row in found:
        assert float(row["success"]) + float(row["recovery"]) == pytest.approx(1)
        assert float(row["recovery"]) <= float(row["accuracy before"])
    predictions = [row for row in table(tmp_path / "auto" / "predictions.csv") if row["attack"] == "autoattack"]
    assert len(predictions) == 16
    assert {row["target"] for row in predictions} == {""}


def torchattacks_of_100_steps(network: nn.Module, eps: float) -> "torchattacks.MultiAttack":
    """Its own AutoAttack makes 10 steps. Its code is another one, for the same attacks."""
    steps = {"eps": eps, "norm": "Linf", "seed": 0, "n_restarts": 1, "steps": 100}
    return torchattacks.MultiAttack(
        [
            torchattacks.APGD(network, loss="ce", **steps),
            torchattacks.APGDT(network, n_classes=10, **steps),
            torchattacks.FAB(network, n_classes=10, multi_targeted=True, **steps),
            torchattacks.Square(network, eps=eps, norm="Linf", seed=0, n_restarts=1, n_queries=5000),
        ]
    )


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet20", "resnet4b"])
def test_the_paper_s_steps_agree_with_torchattacks(
    name: str, published: Callable[[str], Network], test_images: object
) -> None:
    images = test_images.first(32)  # type: ignore[attr-defined]
    network = published(name)
    x = torch.from_numpy(images.pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    labels = torch.from_numpy(images.labels)
    ours = right(network, auto.auto_attack(network, x, labels, 1 / 255, 10, 0), labels)
    theirs = right(network, torchattacks_of_100_steps(network, 1 / 255)(x, labels), labels)
    print(f"\n{name}, eps 1/255, robust of 32 images: {ours} by pyautoattack, {theirs} by torchattacks")
    assert abs(ours - theirs) <= 2


def test_few_classes_and_a_missing_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    auto.check(4)
    with pytest.raises(UsageError, match="--autoattack needs 4 classes or more; these images have 3"):
        auto.check(3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(PipelineError, match=r"pyautoattack is not installed: pip install 'rank-shards\[study\]'"):
        auto.check(10)
