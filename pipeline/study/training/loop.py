"""The training loop of one network: tests and writes a checkpoint after each epoch, and continues from a checkpoint."""

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
from pipeline.study.networks.network import Network
from pipeline.study.result_files import write_csv, write_whole
from pipeline.study.training import checkpoint
from pipeline.study.training.batches import Augmented, Samples
from pipeline.study.training.curves import CURVE, Row, event_writer
from pipeline.study.training.recipe import Recipe, descent

WEIGHTS = "weights.pt"
_TEST_BATCH = 500

# Called after every batch with the epoch (from 1), its finished batches, all its batches, and the loss of the batch.
Report = Callable[[int, int, int, Tensor], None]


@dataclass(frozen=True)
class Setting:
    """Data, recipe and device of one training.

    Attributes:
        train: training images.
        tests: test images by name.
        padding: pixels around an image before the random crop.
        fill: grey level of the padding.
        device: torch device.
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
        """Everything that decides the result, as plain values. Checkpoints store it: do not change names or values."""
        images = {"images": len(self.train), "training images": self.train.digest, "zero": self.train.zero}
        tests = {f"{name} test images": samples.digest for name, samples in self.tests.items()}
        augmentation = {"padding": self.padding, "fill": self.fill, "precision": self.precision}
        return images | tests | asdict(self.recipe) | augmentation


def train(network: Network, seed: int, setting: Setting, folder: Path, report: Report) -> list[Row]:
    """Trains a network, or continues from its checkpoint, and saves its weights.

    On a CPU the result is bit for bit that of an uninterrupted training with the same number of threads. GPUs sum in
    varying order.

    Args:
        network: an untrained network.
        seed: seed of the order of images, the crops and the flips.
        folder: receives ``checkpoint.pt``, ``curve.csv`` and TensorBoard's events, and at the end ``weights.pt``.

    Returns:
        one row per epoch: ``epoch``, ``lr`` (at its first batch), ``loss`` and ``train`` (mean loss and accuracy of its
        batches, each before the batch's step), the accuracy on each of ``setting.tests``, and ``seconds``.

    Raises:
        UsageError: the folder holds another training.
        PipelineError: the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = _Training(network, seed, setting, folder)
    with event_writer(folder, len(training.rows)) as add_events:
        while len(training.rows) < setting.recipe.epochs:
            add_events(training.epoch(report))
    write_whole(folder / WEIGHTS, lambda path: torch.save(_weights(network), path))
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
        state = checkpoint.load(folder, self.identity)
        if state:
            for name, part in self._stateful().items():
                part.load_state_dict(state[name])
            self.rows = state["rows"]

    def _stateful(self) -> dict[str, Any]:
        return {"module": self.network.module, "optimiser": self.optimiser, "schedule": self.schedule}

    def epoch(self, report: Report) -> Row:
        """Trains one more epoch, tests, and saves a checkpoint. Returns the epoch's row."""
        epoch, start = len(self.rows) + 1, time.monotonic()
        row: Row = {"epoch": epoch, "lr": float(self.schedule.get_last_lr()[0])}
        loss, accuracy = self._learn(epoch, report)
        if not math.isfinite(loss):
            raise PipelineError(
                f"{self.folder}: the loss is {loss} in epoch {epoch}: give a smaller --lr and another --out"
            )
        row |= {"loss": loss, "train": accuracy}
        self.network.eval()
        row |= {name: self._accuracy(samples) for name, samples in self.tests.items()}
        row["seconds"] = round(time.monotonic() - start, 3)
        self.rows.append(row)
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        checkpoint.save(self.folder, self.identity, state | {"rows": self.rows})
        write_csv(self.folder / CURVE, self.rows)
        return row

    def _learn(self, epoch: int, report: Report) -> tuple[float, float]:
        """Returns the mean loss and accuracy of the epoch's batches."""
        seed = self.seed * 1_000_003 + epoch  # depends only on the epoch, so that an interruption changes nothing
        torch.manual_seed(seed)  # for random layers of the network, such as dropout
        self.network.train()
        loss = hits = torch.zeros((), device=self.setting.device)
        for step, (x, labels) in enumerate(self.data.epoch(self.setting.recipe.batch, seed), 1):
            logits = self._logits(x)
            batch_loss = F.cross_entropy(logits, labels)
            self.optimiser.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.schedule.step()
            loss, hits = loss + batch_loss.detach(), hits + (logits.argmax(1) == labels).float().mean()
            report(epoch, step, self.steps, batch_loss.detach())
        return float(loss) / self.steps, float(hits) / self.steps

    @torch.inference_mode()
    def _accuracy(self, samples: Samples) -> float:
        right = [self._logits(x).argmax(1) == labels for x, labels in samples.batches(_TEST_BATCH)]
        return float(torch.cat(right).double().mean())

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.setting.precision == "bfloat16"):
            logits: Tensor = self.network(x)
        return logits.float()


def _weights(network: Network) -> dict[str, Any]:
    """Returns the weights with their normalisation, as ``load_network`` reads them."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.module.state_dict().items()}
    return {"state_dict": state, "mean": network.mean.flatten().tolist(), "std": network.std.flatten().tolist()}
