"""The processes of one training: what they add up, compare and leave to the first of them. ``torchrun`` starts them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from pipeline.errors import PipelineError, UsageError, one_line

_TIMEOUT = timedelta(minutes=30)  # the longest that a process waits for the others
_LINE = 1.0  # seconds that the first process has to print its error before torchrun ends it

_LOST = (
    "another process of the training ended, or torchrun was stopped: the same command continues after the last epoch"
)

T = TypeVar("T")


def process_count() -> int:
    """Returns the number of processes that ``torchrun`` started, or 1."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"WORLD_SIZE={one_line(text)!r} is no number of processes: start them with torchrun")
    return int(text)


def local_device(device: str) -> str:
    """Returns the device of this process: with several processes, each takes its own GPU of the machine."""
    if process_count() == 1 or device != "cuda":
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@dataclass(frozen=True)
class Team:
    """The processes of a training. All methods but ``share`` wait for all processes. One process waits for nobody.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum of a tensor over the processes. It may overwrite ``values``."""
        if self.size > 1:
            with _loss_reported():
                dist.all_reduce(values)
        return values

    def average(self, module: nn.Module, count: int, measured: Tensor) -> Tensor:
        """Averages gradients and measured values over the processes, weighted by their numbers of images.

        So the gradient is that of the mean loss over all images of the step, also when the shares differ.

        Args:
            module: has the gradients of the mean loss over this process's images. They are replaced.
            count: number of this process's images.
            measured: float (m,), means over this process's images.

        Returns:
            float (m,): the means over the images of all processes.
        """
        if self.size == 1:
            return measured
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        parts = [*(gradient.flatten() for gradient in gradients), measured, measured.new_ones(1)]
        sums = self.total(torch.cat(parts) * count)
        *averages, means, _ = torch.split(sums / sums[-1], [part.numel() for part in parts])
        for gradient, mean in zip(gradients, averages, strict=True):
            gradient.copy_(mean.view_as(gradient))
        return torch.as_tensor(means)

    def average_buffers(self, module: nn.Module) -> None:
        """Replaces the running means and variances of batch norm by their averages over the processes."""
        if self.size > 1:
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.total(buffer.clone()) / self.size)

    def copy_first(self, module: nn.Module) -> None:
        """Gives every process the weights of the first."""
        if self.size > 1:
            with _loss_reported(), torch.no_grad():
                for tensor in module.state_dict().values():
                    values = tensor.contiguous()
                    dist.broadcast(values, 0)
                    tensor.copy_(values)

    def agree(self, action: Callable[[], T]) -> T:
        """Runs ``action`` in every process and returns its result. An error in any process is the error of all."""
        if self.size == 1:
            return action()
        result, error = _attempt(action)
        errors: list[Any] = [None] * self.size
        with _loss_reported():
            dist.all_gather_object(errors, error)
        self._raise_first(errors)
        return result  # type: ignore[return-value]  # without an error there is a result

    def of_first(self, action: Callable[[], T]) -> T:
        """Runs ``action`` in the first process and returns its result in all. Its error is the error of all."""
        if self.size == 1:
            return action()
        outcome: list[Any] = list(_attempt(action)) if self.first else [None, None]
        with _loss_reported():
            dist.broadcast_object_list(outcome, 0)
        self._raise_first(outcome[1:])
        result: T = outcome[0]
        return result

    def check_same(self, identity: dict[str, Any]) -> None:
        """Raises UsageError unless every process has the same images and options."""
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        with _loss_reported():
            dist.all_gather_object(found, identity)
        names = [name for name in identity if any(other.get(name) != found[0][name] for other in found)]
        if names:
            message = f"the processes have different {', '.join(names)}: give all of them the same output and options"
            self._raise_first([(message, True)])

    def _raise_first(self, errors: list[tuple[str, bool] | None]) -> None:
        for error in errors:
            if error:
                self._fail(*error)

    def _fail(self, message: str, usage: bool) -> NoReturn:
        error = (UsageError if usage else PipelineError)(message)
        if self.first:
            raise error
        time.sleep(_LINE)
        raise SystemExit(error.status)


ALONE = Team()


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """Joins the processes that ``torchrun`` started, and leaves them at the end.

    Raises:
        PipelineError: the processes do not find each other.
    """
    if process_count() == 1:
        yield ALONE
        return
    signal.signal(signal.SIGTERM, _stopped)  # torchrun sends it when a process is lost
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise PipelineError(f"the processes of the training do not find each other: {one_line(error)[:200]}") from None
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _attempt(action: Callable[[], T]) -> tuple[T | None, tuple[str, bool] | None]:
    """Returns the result of an action and None, or None and its error as (message, whether the user's mistake)."""
    try:
        return action(), None
    except PipelineError as error:
        return None, (str(error), isinstance(error, UsageError))
    except OSError as error:
        return None, (f"{error.filename}: {error.strerror}" if error.filename else str(error), False)


@contextmanager
def _loss_reported() -> Iterator[None]:
    try:
        yield
    except RuntimeError:  # gloo and NCCL have long messages, with addresses instead of reasons
        raise PipelineError(_LOST) from None


def _stopped(number: int, frame: Any) -> NoReturn:
    raise PipelineError(_LOST)
