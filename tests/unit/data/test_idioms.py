"""Tests ``RankDataset`` with the code that robustness libraries run on a dataset, copied line by line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, random_split

from pipeline.data import RankDataset, to_tensor
from tests.unit.data.conftest import read_shards


def make_loaders(
    custom_class: Callable[..., Any], data_path: str, transforms: Any, subset: int, **custom_class_args: Any
) -> tuple[Any, Any]:
    """Does what ``robustness.loaders.make_loaders`` of MadryLab/robustness does for a custom class and a random subset."""
    transform_train, transform_test = transforms
    train_set = custom_class(root=data_path, train=True, download=True, transform=transform_train, **custom_class_args)
    test_set = custom_class(root=data_path, train=False, download=True, transform=transform_test, **custom_class_args)
    attrs = ["samples", "train_data", "data"]
    vals = {attr: hasattr(train_set, attr) for attr in attrs}
    assert any(vals.values()), f"dataset must expose one of {attrs}"
    train_sample_count = len(getattr(train_set, [k for k in vals if vals[k]][0]))  # noqa: RUF015
    rng = np.random.RandomState(1)
    chosen = rng.choice(list(range(train_sample_count)), size=subset, replace=False)
    train_set = Subset(train_set, chosen)  # type: ignore[arg-type]
    train = DataLoader(train_set, batch_size=16, shuffle=True, num_workers=0, pin_memory=False)
    return train, DataLoader(test_set, batch_size=16, shuffle=False, num_workers=0, pin_memory=False)


def load_dataset(dataset: Any, n_examples: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Does what ``robustbench.data._load_dataset`` does."""
    batch_size = 100
    test_loader = DataLoader(dataset, batch_size=batch_size, shuffle=False, num_workers=0)
    x_test, y_test = [], []
    for i, (x, y) in enumerate(test_loader):
        x_test.append(x)
        y_test.append(y)
        if n_examples is not None and batch_size * i >= n_examples:
            break
    x_test_tensor, y_test_tensor = torch.cat(x_test), torch.cat(y_test)
    if n_examples is not None:
        x_test_tensor, y_test_tensor = x_test_tensor[:n_examples], y_test_tensor[:n_examples]
    return x_test_tensor, y_test_tensor


def test_madrylab_loaders_accept_it_as_a_custom_class(out: Path) -> None:
    train, test = make_loaders(RankDataset, str(out), (to_tensor, to_tensor), subset=48, variant="highrank5")
    assert sum(len(labels) for _, labels in train) == 48
    images, labels = (torch.cat(parts) for parts in zip(*test, strict=True))
    expected = read_shards(out, "highrank5", "test")
    np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy() * 255, expected.images, atol=1e-4)
    assert labels.tolist() == expected.labels


def test_robustbench_loads_its_first_examples(out: Path) -> None:
    data = RankDataset(root=str(out), train=False, transform=to_tensor, download=True)
    x, y = load_dataset(data, 12)
    expected = read_shards(out, "rank5", "test")
    assert (x.shape, x.dtype, y.dtype) == ((12, 3, 32, 32), torch.float32, torch.int64)
    np.testing.assert_allclose(x.permute(0, 2, 3, 1).numpy() * 255, expected.images[:12], atol=1e-4)
    assert y.tolist() == expected.labels[:12]


def test_attributes_mean_the_same_as_in_torchvisions_cifar10(out: Path) -> None:
    data = RankDataset(str(out), train=True, transform=None, target_transform=None, download=False)
    assert data.train
    assert data.data[np.array(data.targets) == 3].shape[1:] == (32, 32, 3)
    assert data.data.mean(axis=(0, 1, 2)).shape == (3,)
    assert [data.classes[label] for label in data.targets[:5]] == [
        name for label in data.targets[:5] for name, i in data.class_to_idx.items() if i == label
    ]
    first, second = random_split(data, [60, 40])  # type: ignore[arg-type, var-annotated]
    assert (len(first), len(second)) == (60, 40)


def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)).eval()


def batch(out: Path) -> tuple[torch.Tensor, torch.Tensor]:
    data = RankDataset(out, "rank5", "val", transform=to_tensor)
    loader: DataLoader[Any] = DataLoader(data, batch_size=20)  # type: ignore[arg-type]
    images, labels = next(iter(loader))
    assert images.min() >= 0
    assert images.max() <= 1
    return images, labels


def check_attack(images: torch.Tensor, attacked: torch.Tensor, labels: torch.Tensor) -> None:
    """Asserts that the attacked images differ by at most 8/255, and that their loss is higher."""
    assert attacked.shape == images.shape
    assert 0 < (attacked - images).abs().max() <= 8 / 255 + 1e-6
    loss, model = torch.nn.functional.cross_entropy, linear()
    assert loss(model(attacked), labels) > loss(model(images), labels)


def test_foolbox_attacks_a_batch(out: Path) -> None:
    foolbox = pytest.importorskip("foolbox")
    images, labels = batch(out)
    model = foolbox.PyTorchModel(linear(), bounds=(0, 1), device="cpu")
    attacked = foolbox.attacks.LinfPGD(steps=5)(model, images, labels, epsilons=8 / 255)[1]
    check_attack(images, attacked, labels)


def test_torchattacks_attacks_a_batch(out: Path) -> None:
    torchattacks = pytest.importorskip("torchattacks", exc_type=ImportError)
    images, labels = batch(out)
    attacked = torchattacks.PGD(linear(), eps=8 / 255, alpha=2 / 255, steps=5)(images, labels)
    check_attack(images, attacked, labels)
