"""Trains a small network on one variant of an output, and tests it on every variant of the same output.

python examples/train_small.py out/sample --variant rank5
"""

import argparse
import sys
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline.data import RankDataset, open_output, to_tensor
from pipeline.errors import PipelineError, UsageError


def network(classes: int) -> nn.Module:
    """Returns a network of three convolutions for RGB images of any size, float32 in [0, 1]."""
    layers: list[nn.Module] = []
    for wide_in, wide_out in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(wide_in, wide_out, 3, padding=1), nn.GroupNorm(8, wide_out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def loader(data: RankDataset, batch: int, **options: bool) -> DataLoader[Any]:
    """Returns batches of tensors and labels."""
    return DataLoader(data, batch, **options)  # type: ignore[arg-type]


def train(model: nn.Module, data: RankDataset, epochs: int) -> None:
    """Trains with AdamW and prints the mean loss of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batches = loader(data, 128, shuffle=True, drop_last=len(data) > 128)
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for images, labels in batches:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} of {epochs}: loss {total / len(batches):.3f}", flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, data: RankDataset) -> float:
    """Returns the share of correctly classified images."""
    model.eval()
    right = 0
    for images, labels in loader(data, 256):
        right += int((model(images).argmax(1) == labels).sum())
    return right / len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", help="folder that pipeline.build wrote")
    parser.add_argument("--variant", default="rank5", help="variant to train on (default rank5)")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    data = RankDataset(options.output, options.variant, "train", transform=to_tensor)
    if data.part.shape is None:
        raise UsageError(f"{options.output}: the images differ in size: build it with --resize 64 --crop 64")
    names = [name for name in open_output(options.output).variants if not name.endswith("-exact")]
    tests = [RankDataset(options.output, name, "test", transform=to_tensor) for name in names]
    model = network(len(data.classes))
    train(model, data, options.epochs)
    for test in tests:
        print(f"trained on {options.variant}, tested on {test.variant}: {accuracy(model, test):.1%} right")


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
