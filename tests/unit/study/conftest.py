"""Fixtures of the studies' tests: networks with published weights, lossless images, and small outputs, once per session."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.study import progress
from pipeline.study.images import Images, from_records
from pipeline.study.networks.load import load_network
from pipeline.study.networks.network import Network
from pipeline.study.training import progress as training_progress
from tests.conftest import Result
from tests.unit.study.outputs import sample_output

PUBLISHED = {
    "resnet20": ("resnet20", "natural/resnet20-12fca82f.th"),
    "resnet56": ("resnet56", "natural/resnet56-4bfd9763.th"),
    "resnet4b": ("resnet4b", "robust/resnet4b.pth"),
    "resnet2b": ("resnet2b", "robust/resnet2b.pth"),
    "cnn_a_adv": ("cnn_a", "robust/cifar_cnn_a_adv.model"),
    "cnn_a_mix": ("cnn_a", "robust/cifar_cnn_a_mix.model"),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch's threads wait for each other, which costs most when other processes use the cores, as in CI."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights(shared: Path) -> Path:
    """The folder of weights."""
    return shared / "data" / "weights"


@pytest.fixture(scope="session")
def published(weights: Path) -> Callable[[str], Network]:
    """Returns a function that loads a network of ``PUBLISHED``."""

    def load_published(name: str) -> Network:
        spec, file = PUBLISHED[name]
        return load_network(spec, weights / file, name=name)

    return load_published


@pytest.fixture(scope="session")
def onnx(weights: Path) -> Path:
    """A network without gradients."""
    return weights / "robust" / "resnet_2b.onnx"


@pytest.fixture(scope="session")
def records(shared: Path) -> Path:
    """The file of the 1,017 lossless test images."""
    return shared / "data" / "cifar10" / "test_batch.first1017.bin"


@pytest.fixture(scope="session")
def test_images(records: Path) -> Images:
    return from_records(records)


@pytest.fixture(scope="session")
def sample_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of the sample with the variants rank2, highrank2 and full. Do not modify it."""
    return sample_output(tmp_path_factory.mktemp("sample") / "out")


def tensor(images: Images) -> torch.Tensor:
    """Returns float32 (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(images.pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def table(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a csv file."""
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def no_progress_lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps progress lines, which a slow machine would show after ten seconds, out of what tests compare."""
    if "progress" not in request.path.name:
        for intervals in (progress._INTERVAL, training_progress._INTERVAL):
            monkeypatch.setitem(intervals, False, 1e6)


Run = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Returns a function that runs a command's ``main`` in this process."""

    def run(main: Callable[[list[str]], int], *arguments: object) -> Result:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def refused(command: Run) -> Callable[..., str]:
    """Returns a function that runs a command, checks that it fails with a one-line error, and returns the error."""

    def run(main: Callable[[list[str]], int], *arguments: object, status: int = 2) -> str:
        ran = command(main, *arguments)
        assert ran.out == ""
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1
        assert ran.status == status
        return ran.err.removeprefix("error: ").rstrip("\n")

    return run
