"""The training loop of one network: tests and writes a checkpoint after each epoch, and continues from a checkpoint."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import PipelineError, UsageError
from pipeline.study.networks.network import Network
from pipeline.study.results.result_files import write_csv, write_whole
from pipeline.study.training import checkpoint
from pipeline.study.training.batches import Samples
from pipeline.study.training.curves import CURVE, Row, event_writer
from pipeline.study.training.processes import ALONE, Team
from pipeline.study.training.recipe import Recipe, descent
from pipeline.study.training.streamed import Streamed

WEIGHTS = "weights.pt"
_TEST_BATCH, _STREAMED_TEST_BATCH = 500, 64
_APART = 1_000_000_007  # between the seeds of two processes

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
        team: the processes that train together; several need streamed images.
    """

    train: Samples | Streamed
    tests: Mapping[str, Samples | Streamed]
    recipe: Recipe
    padding: int
    fill: int
    device: str = "cpu"
    precision: str = "float32"
    team: Team = ALONE

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result, as plain values. Checkpoints store it: do not change names or values."""
        images = {"images": len(self.train), "training images": self.train.digest, "zero": self.train.zero}
        tests = {f"{name} test images": samples.digest for name, samples in self.tests.items()}
        augmentation = {"padding": self.padding, "fill": self.fill, "precision": self.precision}
        streamed = {"streamed by processes": self.team.size} if isinstance(self.train, Streamed) else {}
        return images | tests | asdict(self.recipe) | augmentation | streamed


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
    team = setting.team
    team.of_first(lambda: folder.mkdir(parents=True, exist_ok=True))
    training = _Training(network, seed, setting, folder)
    with event_writer(folder, len(training.rows)) if team.first else nullcontext(lambda row: None) as add_events:
        while len(training.rows) < setting.recipe.epochs:
            add_events(training.epoch(report))
    team.of_first(lambda: write_whole(folder / WEIGHTS, lambda path: torch.save(_weights(network), path)))
    return training.rows


class _Training:
    def __init__(self, network: Network, seed: int, setting: Setting, folder: Path) -> None:
        self.setting, self.seed, self.folder, self.team = setting, seed, folder, setting.team
        self.network = network.requires_grad_(True).to(setting.device)
        self.network.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identity = {"network": network.name, "seed": seed, **setting.identity}
        self.team.check_same(self.identity)
        self.team.copy_first(self.network.module)
        self.data = setting.train.to(setting.device).augmented(setting.padding, setting.fill)
        self.tests = {name: samples.to(setting.device) for name, samples in setting.tests.items()}
        self.steps = self.data.steps(setting.recipe.batch)
        self.optimiser, self.schedule = descent(setting.recipe, network.module, self.steps)
        self.rows: list[Row] = []
        state = self.team.of_first(lambda: checkpoint.load(folder, self.identity))
        if state:
            self.team.agree(lambda: self._restore(state))

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            for name, part in self._stateful().items():
                part.load_state_dict(state[name])
        except (KeyError, RuntimeError, ValueError):  # the messages list every tensor
            raise UsageError(
                f"{self.folder} holds a checkpoint of another network than {self.network.name}: give another --out"
            ) from None
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
        self.team.average_buffers(self.network.module)
        self.network.eval()
        row |= {name: self._accuracy(samples) for name, samples in self.tests.items()}
        row["seconds"] = round(time.monotonic() - start, 3)
        self.rows.append(row)
        self.team.of_first(self._save)
        return row

    def _save(self) -> None:
        state = {name: part.state_dict() for name, part in self._stateful().items()}
        checkpoint.save(self.folder, self.identity, state | {"rows": self.rows})
        write_csv(self.folder / CURVE, self.rows)

    def _learn(self, epoch: int, report: Report) -> tuple[float, float]:
        """Returns the mean loss and accuracy of the epoch's batches."""
        seed = self.seed * 1_000_003 + epoch  # depends only on the epoch, so that an interruption changes nothing
        torch.manual_seed(seed + _APART * self.team.rank)  # for random layers of the network, such as dropout
        self.network.train()
        loss = hits = torch.zeros((), device=self.setting.device)
        for step, (x, labels) in enumerate(self.data.epoch(self.setting.recipe.batch, seed), 1):
            logits = self._logits(x)
            batch_loss = F.cross_entropy(logits, labels)
            self.optimiser.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            accuracy = (logits.argmax(1) == labels).float().mean()
            measured = torch.stack([batch_loss.detach(), accuracy])
            step_loss, step_accuracy = self.team.average(self.network.module, len(labels), measured)
            self.optimiser.step()
            self.schedule.step()
            loss, hits = loss + step_loss, hits + step_accuracy
            report(epoch, step, self.steps, step_loss)
        return float(loss) / self.steps, float(hits) / self.steps

    @torch.inference_mode()
    def _accuracy(self, samples: Samples | Streamed) -> float:
        right = torch.zeros((), dtype=torch.int64, device=self.setting.device)
        for x, labels in samples.batches(_TEST_BATCH if isinstance(samples, Samples) else _STREAMED_TEST_BATCH):
            right += (self._logits(x).argmax(1) == labels).sum()
        return int(self.team.total(right)) / len(samples)

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.setting.precision == "bfloat16"):
            logits: Tensor = self.network(x)
        return logits.float()


def _weights(network: Network) -> dict[str, Any]:
    """Returns the weights with their normalisation, as ``load_network`` reads them."""
    state = {name: tensor.cpu().contiguous() for name, tensor in network.module.state_dict().items()}
    return {"state_dict": state, "mean": network.mean.flatten().tolist(), "std": network.std.flatten().tolist()}
