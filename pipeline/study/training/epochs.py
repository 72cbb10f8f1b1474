"""One network's training: epochs, tests after each, a checkpoint after each, and going on from it."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import PipelineError
from pipeline.study import results
from pipeline.study.networks.load import Network
from pipeline.study.training import checkpoint, curves
from pipeline.study.training.batches import Augmented, Samples
from pipeline.study.training.curves import Row
from pipeline.study.training.recipe import Recipe, descent

WEIGHTS = "weights.pt"
_TEST_BATCH = 500

# Called after every batch with the epoch (from 1), the batches done of it, all its batches, and the batch's loss.
Report = Callable[[int, int, int, Tensor], None]


@dataclass(frozen=True)
class Setting:
    """What a network is trained on, and how.

    Attributes:
        train: training images.
        tests: test images, by what they are called.
        padding: pixels around an image before the crop.
        fill: grey level of these.
        device: of torch.
        precision: ``float32``, or ``bfloat16`` for torch's autocast.
    """

    train: Samples
    tests: dict[str, Samples]
    recipe: Recipe
    padding: int
    fill: int
    device: str = "cpu"
    precision: str = "float32"

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the result, as plain values."""
        images = {"images": len(self.train), "training images": self.train.digest, "zero": self.train.zero}
        tests = {f"{name} test images": samples.digest for name, samples in self.tests.items()}
        how = {"padding": self.padding, "fill": self.fill, "precision": self.precision}
        return images | tests | asdict(self.recipe) | how


def train(network: Network, seed: int, setting: Setting, folder: Path, report: Report) -> list[Row]:
    """Train a network, or go on where its checkpoint ends, and save its weights.

    On a CPU the result is that of an uninterrupted training with as many threads, to the bit; GPUs add in any order.

    Args:
        network: as yet untrained.
        seed: decides the order of images, crops and flips.
        folder: receives ``checkpoint.pt``, ``curve.csv``, TensorBoard's events, and in the end ``weights.pt``.

    Returns:
        a row an epoch: ``epoch``, ``lr`` (at its first batch), ``loss`` and ``train`` (mean loss and accuracy of its
        batches, each as it was before its step), the accuracy on each of ``setting.tests``, and ``seconds``.

    Raises:
        UsageError: the folder holds another training.
        PipelineError: the loss is no longer a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(network, seed, setting, folder)
    with curves.events(folder, len(training.rows)) as write:
        while len(training.rows) < setting.recipe.epochs:
            write(training.epoch(report))
    checkpoint.write_whole(folder / WEIGHTS, lambda path: torch.save(_weights(network), path))
    return training.rows


class _Training:
    def __init__(self, network: Network, seed: int, setting: Setting, folder: Path) -> None:
        self.setting, self.seed, self.folder = setting, seed, folder
        self.network = network.requires_grad_(True).to(setting.device)
        self.network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identity = {"network": network.name, "seed": seed, **setting.identity}
        self.data = Augmented(setting.train.to(setting.device), setting.padding, setting.fill)
        self.tests = {name: samples.to(setting.device) for name, samples in setting.tests.items()}
        self.steps = self.data.steps(setting.recipe.batch)
        self.optimiser, self.schedule = descent(setting.recipe, network.module, self.steps)
        self.rows: list[Row] = []
        kept = checkpoint.load(folder, self.identity)
        if kept:
            for name, part in self._parts().items():
                part.load_state_dict(kept[name])
            self.rows = kept["rows"]

    def _parts(self) -> dict[str, Any]:
        return {"module": self.network.module, "optimiser": self.optimiser, "schedule": self.schedule}

    def epoch(self, report: Report) -> Row:
        """Train for one more epoch, test, and keep the state."""
        epoch, began = len(self.rows) + 1, time.monotonic()
        row: Row = {"epoch": epoch, "lr": float(self.schedule.get_last_lr()[0])}
        loss, hits = self._learn(epoch, report)
        if not math.isfinite(loss):
            raise PipelineError(
                f"{self.folder}: the loss is {loss} in epoch {epoch}; give another --out and a smaller --lr"
            )
        row |= {"loss": loss, "train": hits}
        self.network.eval()
        row |= {name: self._accuracy(samples) for name, samples in self.tests.items()}
        row["seconds"] = round(time.monotonic() - began, 3)
        self.rows.append(row)
        state = {name: part.state_dict() for name, part in self._parts().items()}
        checkpoint.save(self.folder, self.identity, state | {"rows": self.rows})
        results.write_csv(self.folder / curves.CURVE, self.rows)
        return row

    def _learn(self, epoch: int, report: Report) -> tuple[float, float]:
        seed = self.seed * 1_000_003 + epoch  # of the epoch alone, so that it is the same after an interruption
        torch.manual_seed(seed)  # for what a network itself draws, such as dropout
        self.network.train()
        loss = hits = torch.zeros((), device=self.setting.device)
        for step, (x, labels) in enumerate(self.data.epoch(self.setting.recipe.batch, seed), 1):
            logits = self._logits(x)
            batch = F.cross_entropy(logits, labels)
            self.optimiser.zero_grad()
            batch.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.schedule.step()
            loss, hits = loss + batch.detach(), hits + (logits.argmax(1) == labels).float().mean()
            report(epoch, step, self.steps, batch.detach())
        return float(loss) / self.steps, float(hits) / self.steps

    @torch.inference_mode()
    def _accuracy(self, samples: Samples) -> float:
        right = [self._logits(x).argmax(1) == labels for x, labels in samples.batches(_TEST_BATCH)]
        return float(torch.cat(right).double().mean())

    def _logits(self, x: Tensor) -> Tensor:
        half = self.setting.precision == "bfloat16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            logits: Tensor = self.network(x)
        return logits.float()


def _weights(network: Network) -> dict[str, Any]:
    """What ``models.load`` reads, normalisation included."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.module.state_dict().items()}
    return {"state_dict": state, "mean": network.mean.flatten().tolist(), "std": network.std.flatten().tolist()}
