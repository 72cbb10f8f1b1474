"""Promises: what known wrappers add to checkpoints is removed, with a message; others are refused by their first key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from pipeline.errors import UsageError
from pipeline.study.networks.cifar import ARCHITECTURES
from pipeline.study.networks.load import load_network

State = dict[str, Tensor]


def plain() -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES["cnn_a"].build(10)


def compiled(module: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(module)
    return cast(nn.Module, wrapped)


def prefixed(prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in plain().state_dict().items()}


def robustness(prefix: str = "module.") -> dict[str, Any]:
    """A checkpoint of MadryLab's robustness library: the network, its attacker with the same network, a normalizer."""
    state = {
        f"{prefix}normalizer.new_mean": torch.full((3, 1, 1), 0.25),
        f"{prefix}normalizer.new_std": torch.ones(3, 1, 1),
    }
    state |= prefixed(f"{prefix}model.") | {f"{prefix}attacker.normalize.new_mean": torch.zeros(3, 1, 1)}
    return {"model": state | prefixed(f"{prefix}attacker.model."), "epoch": 3}


def compiled_part() -> State:
    """Saved from a network of which only one part was compiled."""
    return {name.replace(".weight", "._orig_mod.weight"): tensor for name, tensor in prefixed("").items()}


CHECKPOINTS: dict[str, tuple[Callable[[], Any], str]] = {
    "torch.compile": (lambda: compiled(plain()).state_dict(), "torch.compile"),
    "a compiled part": (compiled_part, "torch.compile"),
    "DataParallel": (lambda: nn.DataParallel(plain()).state_dict(), "DataParallel"),
    "compiled DataParallel": (
        lambda: compiled(nn.DataParallel(plain())).state_dict(),
        "torch.compile, DataParallel",
    ),
    "DataParallel of compiled": (lambda: prefixed("module._orig_mod."), "torch.compile, DataParallel"),
    "EMA": (lambda: AveragedModel(plain()).state_dict(), "AveragedModel"),
    "EMA in a dict": (lambda: {"state_dict": AveragedModel(plain()).state_dict()}, "AveragedModel"),
    "Lightning": (lambda: {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5.0"}, "Lightning"),
    "compiled Lightning": (lambda: {"state_dict": prefixed("model._orig_mod.")}, "torch.compile, Lightning"),
    "part net": (lambda: prefixed("net."), "a wrapper (net.)"),
    "robustness": (robustness, "DataParallel, the robustness library"),
    "robustness on one GPU": (lambda: robustness(""), "the robustness library"),
    "net": (lambda: {"net": prefixed("module."), "acc": 93.0, "epoch": 5}, "DataParallel"),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_wrapped_weights_are_those_of_the_network(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, wrappers = CHECKPOINTS[kind]
    torch.save(make(), tmp_path / "w.pt")
    network = load_network("cnn_a", tmp_path / "w.pt")
    expected = plain().state_dict()
    for name, tensor in network.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "w.pt") in error
    assert wrappers in error
    if "robustness" in kind:  # the images are normalised as in its training
        assert network.mean.flatten().tolist() == [0.25] * 3
        assert network.std.flatten().tolist() == [1.0] * 3


def test_names_that_fit_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network may have a part that is called ``model`` or ``module``."""
    (tmp_path / "parts.py").write_text(
        "from torch import nn\n"
        "class Own(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.model = nn.Linear(12, 5)\n"
        "        self.module = nn.Linear(5, 5)\n"
        "    def forward(self, x): return self.module(self.model(x.flatten(1)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import parts  # type: ignore[import-not-found]

    own = parts.Own()
    torch.save(own.state_dict(), tmp_path / "w.pt")
    x = torch.rand(3, 3, 2, 2)
    torch.testing.assert_close(load_network("parts:Own", tmp_path / "w.pt")(x), own(x))
    assert capsys.readouterr().err == ""
    torch.save(compiled(own).state_dict(), tmp_path / "w.pt")
    torch.testing.assert_close(load_network("parts:Own", tmp_path / "w.pt")(x), own(x))
    assert "torch.compile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "key"),
    [
        pytest.param(lambda: prefixed("backbone."), "backbone.0.weight", id="an unknown prefix"),
        pytest.param(
            lambda: prefixed("module.encoder."), "module.encoder.0.weight", id="an unknown one in a known one"
        ),
        pytest.param(lambda: prefixed("model.") | {"loss.weight": torch.ones(3)}, "loss.weight", id="one key too many"),
        pytest.param(
            lambda: prefixed("") | {"0.weight": torch.ones(3)}, r"0.weight has the shape \(3,\)", id="a shape"
        ),
        pytest.param(lambda: {k: v for k, v in prefixed("").items() if k != "0.bias"}, "0.bias", id="a key too few"),
    ],
)
def test_other_weights_are_refused_by_their_first_key(state: Callable[[], State], key: str, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    with pytest.raises(UsageError, match=f"does not fit cnn_a: .*{key}") as error:
        load_network("cnn_a", tmp_path / "w.pt")
    assert "\n" not in str(error.value)
