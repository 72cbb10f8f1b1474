"""Real networks and the lossless test images."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from pipeline.study.inputs import Images, from_records
from pipeline.study.networks.load import Network, load

KNOWN = {
    "resnet20": ("resnet20", "natural/resnet20-12fca82f.th"),
    "resnet56": ("resnet56", "natural/resnet56-4bfd9763.th"),
    "resnet4b": ("resnet4b", "robust/resnet4b.pth"),
    "resnet2b": ("resnet2b", "robust/resnet2b.pth"),
    "cnn_a_adv": ("cnn_a", "robust/cifar_cnn_a_adv.model"),
    "cnn_a_mix": ("cnn_a", "robust/cifar_cnn_a_mix.model"),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other cost most where other processes want the cores, as in CI."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """The folder of weights."""
    return shared / "data" / "weights"


@pytest.fixture(scope="session")
def known(weights: Path) -> Callable[[str], Network]:
    """Loads one of ``KNOWN``."""

    def open_one(name: str) -> Network:
        spec, file = KNOWN[name]
        return load(spec, weights / file, name=name)

    return open_one


@pytest.fixture(scope="session")
def records(shared: Path) -> Path:
    """The 1,017 lossless test images."""
    return shared / "data" / "cifar10" / "test_batch.first1017.bin"


@pytest.fixture(scope="session")
def test_images(records: Path) -> Images:
    return from_records(records)


def tensor(images: Images) -> torch.Tensor:
    """float32 (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command's ``main`` in this process."""

    def run(main: Callable[[list[str]], int], *arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture
def refused(command: Run) -> Callable[..., str]:
    """Runs a command that must be refused; gives its one line."""

    def run(main: Callable[[list[str]], int], *arguments: object, status: int = 2) -> str:
        ran = command(main, *arguments)
        assert ran.out == ""
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert ran.status == status
        return ran.err.removeprefix("error: ").rstrip("\n")

    return run
