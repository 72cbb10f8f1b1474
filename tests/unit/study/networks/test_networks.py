"""Networks: the accuracy of published weights, equal logits from every file format, and errors."""

import math
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError
from pipeline.study.images import Images
from pipeline.study.networks.cifar import ARCHITECTURES, CIFAR10
from pipeline.study.networks.load import load_network
from pipeline.study.networks.network import Network
from pipeline.study.spectra.spectrum import predict
from tests.unit.study.conftest import tensor

# Accuracy on the 1,017 lossless test images in per cent, as the description of the weights states.
STATED = {"resnet20": 91.6, "resnet4b": 77.3, "resnet2b": 70.4, "cnn_a_adv": 70.6, "cnn_a_mix": 77.8}


@pytest.mark.parametrize(
    ("name", "accuracy"), [*STATED.items(), pytest.param("resnet56", 92.7, marks=pytest.mark.full)]
)
def test_published_weights_reach_their_stated_accuracy(
    name: str, accuracy: float, published: Callable[[str], Network], test_images: Images
) -> None:
    network = published(name)
    right = [
        predict(network, tensor(test_images)[rows : rows + 64]) == test_images.labels[rows : rows + 64]
        for rows in range(0, len(test_images), 64)
    ]
    assert round(100 * sum(part.sum() for part in right) / len(test_images), 1) == accuracy


@pytest.mark.parametrize(
    ("name", "parameters"),  # as stated in papers and their code
    [("resnet20", 269_722), ("resnet56", 853_018), ("resnet18_cifar", 11_173_962), ("resnet50_cifar", 23_520_842)],
)
def test_architectures_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in ARCHITECTURES[name].build(10).parameters()) == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_takes_its_size_and_any_number_of_classes(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert architecture.build(7).eval()(torch.zeros(1, 3, architecture.size, architecture.size)).shape == (1, 7)


@pytest.mark.parametrize("name", ["resnet4b", "resnet2b"])
def test_onnx_gives_the_same_logits(
    name: str, weights: Path, published: Callable[[str], Network], test_images: Images
) -> None:
    onnx = load_network(
        str(weights / "robust" / f"{name.replace('net', 'net_')}.onnx"), mean=CIFAR10[0], std=CIFAR10[1]
    )
    x = tensor(test_images.first(7))
    torch.testing.assert_close(onnx(x), published(name)(x), rtol=0, atol=2e-5)
    assert not onnx.differentiable


@pytest.mark.parametrize("batch", [None, 4])
def test_exported_programs_give_the_same_logits(
    batch: int | None, published: Callable[[str], Network], test_images: Images, tmp_path: Path
) -> None:
    network, x = published("cnn_a_adv"), tensor(test_images.first(9))
    free = None if batch else ({0: torch.export.Dim("n")},)
    program = torch.export.export(network.module, (x[: batch or 2],), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "a.pt2")
    again = load_network(str(tmp_path / "a.pt2"), mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    torch.testing.assert_close(again(x), network(x))
    assert again.size == (32, 32)


def test_module_and_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\n"
        "def tiny(): return nn.Sequential(nn.Flatten(), nn.Linear(12, 5))\n"
        "def broken(): raise OSError('no\\nway')\n"
        "number = lambda: 5\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    torch.save({"state_dict": {f"module.{k}": v for k, v in own.state_dict().items()}}, tmp_path / "w.pt")
    network = load_network("own_networks:tiny", tmp_path / "w.pt", mean=(0.5, 0.5, 0.5), std=(2.0, 2.0, 2.0))
    x = torch.rand(3, 3, 2, 2)
    torch.testing.assert_close(network(x), own((x - 0.5) / 2))
    assert (network.name, network.size, network.training) == ("w", None, False)
    for spec, part in {
        "own_networks:broken": "OSError: no\\nway",
        "own_networks:absent": "AttributeError",
        "no_such_module:f": "ModuleNotFoundError",
        "own_networks:number": "returned int, not a torch.nn.Module",
    }.items():
        with pytest.raises(UsageError) as error:
            load_network(spec)
        assert part in str(error.value)


def test_mean_and_std_in_the_weights_file_are_used(tmp_path: Path) -> None:
    state = ARCHITECTURES["cnn_a"].build(10).state_dict()
    torch.save({"state_dict": state, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}, tmp_path / "w.pt")
    network = load_network("cnn_a", tmp_path / "w.pt")
    torch.testing.assert_close(network.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(
        load_network("cnn_a", tmp_path / "w.pt", std=(1, 1, 2)).std.flatten(), torch.tensor([1.0, 1, 2])
    )


def test_invalid_mean_and_std_are_refused(weights: Path, tmp_path: Path) -> None:
    for deviation in (0, -1, math.nan, math.inf):
        with pytest.raises(UsageError, match="are not three positive numbers"):
            load_network("resnet2b", weights / "robust" / "resnet2b.pth", std=(0.2, deviation, 0.2))
    for mean in (math.nan, math.inf):
        with pytest.raises(UsageError, match="are not three numbers"):
            load_network("resnet2b", weights / "robust" / "resnet2b.pth", mean=(0.2, mean, 0.2))
    torch.save({"state_dict": ARCHITECTURES["cnn_a"].build(10).state_dict(), "mean": "0.5"}, tmp_path / "w.pt")
    with pytest.raises(PipelineError, match="its mean is not three numbers"):
        load_network("cnn_a", tmp_path / "w.pt")


def test_nan_logits_are_refused() -> None:
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), "diverged")
    assert network.outputs((2, 2)) == 5
    nn.init.constant_(network.module[1].bias, math.nan)  # type: ignore[index]
    with pytest.raises(UsageError, match="diverged returns NaN"):
        network.outputs((2, 2))


class NoGrad(nn.Module):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no\nkey")


def test_networks_that_fail_or_detach_gradients_are_refused() -> None:
    with pytest.raises(UsageError, match=r"own.*4 x 4 pixels: KeyError: 'no\\nkey'"):
        Network(Raises(), "own").outputs((4, 4))
    network = Network(NoGrad(), "own")
    assert network.outputs((4, 4)) == 3
    with pytest.raises(UsageError, match="RIG needs gradients, but own detaches"):
        network.check_gradients("RIG", (4, 4))
    Network(nn.Flatten(), "own").check_gradients("RIG", (4, 4))


def test_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    torch.save(ARCHITECTURES["resnet20"].build(100).state_dict(), tmp_path / "w.pt")
    assert load_network("resnet20", tmp_path / "w.pt")(torch.zeros(1, 3, 32, 32)).shape == (1, 100)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("import sys; sys.evil = True",))


@pytest.mark.parametrize("content", ["pickle", "torch", "noise", "empty", "number"])
def test_files_without_weights_run_no_code(content: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    if content == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif content == "torch":
        torch.save({"state_dict": Evil()}, path)
    elif content == "number":
        torch.save({"epoch": 5}, path)
    else:
        path.write_bytes(b"\x00\x01noise" * (content == "noise"))
    with pytest.raises(PipelineError, match="holds no plain weights"):
        load_network("resnet20", path)
    assert not hasattr(sys, "evil")


def test_mistakes_are_one_line(weights: Path, tmp_path: Path) -> None:
    good = weights / "natural" / "resnet20-12fca82f.th"
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "bad.pt2").write_bytes(b"no model")
    torch.save({"weight": torch.zeros(10, 5)}, tmp_path / "other.pt")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("resnet_20", good), "did you mean 'resnet20'?"),
        (("resnet20",), "needs --weights FILE"),
        (("resnet56", good), "layer1.3.conv1.weight"),
        (("resnet20", weights / "natural" / "resnet56-4bfd9763.th"), "layer1.3.conv1.weight"),
        (("cnn_a", weights / "robust" / "resnet2b.pth"), "conv1.weight"),
        (("resnet4b", weights / "robust" / "resnet2b.pth"), "conv1.weight"),
        (("resnet20", tmp_path / "absent.pt"), "No such file"),
        ((str(tmp_path / "absent.onnx"),), "does not exist"),
        ((str(tmp_path / "bad.onnx"),), "is no readable onnx file"),
        ((str(tmp_path / "bad.pt2"),), "is no readable pt2 file"),
        ((str(weights / "robust" / "resnet_2b.onnx"), good), "contains its own weights"),
    ]
    for arguments, part in cases:
        with pytest.raises(PipelineError) as error:
            load_network(*arguments)  # type: ignore[arg-type]
        assert part in str(error.value), arguments
        assert "\n" not in str(error.value)


def test_wrong_sizes_and_devices(published: Callable[[str], Network], weights: Path) -> None:
    with pytest.raises(UsageError, match="32 x 32 pixels, these have 64 x 64"):
        published("resnet4b")(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UsageError, match=r"\(n, 3, height, width\)"):
        published("resnet4b")(torch.zeros(3, 32, 32))
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device cuda"):
            load_network("resnet2b", weights / "robust" / "resnet2b.pth", device="cuda")


def test_timm_without_torchvision_or_network_is_one_line() -> None:
    with pytest.raises(UsageError, match="model 'timm:no_such_network'"):
        load_network("timm:no_such_network")
