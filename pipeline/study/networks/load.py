"""Loads a network by its name, ``module:factory``, an ONNX or ``torch.export`` file, or timm's or RobustBench's name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import PipelineError, UsageError, nearest, one_line
from pipeline.study.networks import robustbench_zoo
from pipeline.study.networks.cifar import ARCHITECTURES, Triple
from pipeline.study.networks.network import Network
from pipeline.study.networks.weights import Weights, load_into, read_weights


def load_network(
    spec: str,
    weights: Path | str | None = None,
    *,
    name: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    device: str = "cpu",
) -> Network:
    """Returns a network in evaluation mode.

    Args:
        spec: a name of ``networks.cifar.ARCHITECTURES``; ``module:factory``, a function without arguments that returns a
            torch module; ``FILE.onnx``; ``FILE.pt2`` (torch.export); ``timm:NAME``; or
            ``robustbench:[DATASET/[THREAT/]]NAME``.
        weights: a file that ``torch.save`` wrote: a state dict, or a dict with one under ``state_dict``. Only tensors and
            plain values are unpickled.
        name: name in figures and tables; None for the name of the weights' file or of the model.
        mean, std: normalisation of the input in [0, 1]. The default is ``mean`` and ``std`` in the weights' file, then the
            architecture's, then none.
        device: ``cpu``, ``cuda``...

    Raises:
        UsageError: the network does not exist, or the weights are missing or do not fit.
        PipelineError: a file cannot be read.
    """
    if spec.startswith(robustbench_zoo.PREFIX):
        return _from_robustbench(spec, weights, name, mean or std, device)
    read = read_weights(Path(weights)) if weights is not None else None
    label = name or (Path(weights).stem if weights is not None else spec.removeprefix("timm:"))
    if spec.endswith((".onnx", ".pt2")):
        if read:
            raise UsageError(f"{spec} contains its own weights: remove --weights")
        network = _from_file(Path(spec), name or Path(spec).stem)
    elif spec.startswith("timm:"):
        network = _from_timm(spec.removeprefix("timm:"), read, label)
    elif ":" in spec:
        network = Network(_from_factory(spec), label)
    else:
        network = _from_architecture(spec, read, label)
    if read:
        load_into(network.module, read, spec)
    _set(network, "mean", mean or (read.mean if read else None))
    _set(network, "std", std or (read.std if read else None))
    if not bool(network.mean.isfinite().all()):
        raise UsageError(f"mean of {network.name}: {network.mean.flatten().tolist()} are not three numbers")
    if not bool(((network.std > 0) & network.std.isfinite()).all()):
        raise UsageError(f"std of {network.name}: {network.std.flatten().tolist()} are not three positive numbers")
    return _placed(network, device)


def _placed(network: Network, device: str) -> Network:
    with device_errors(device):
        return network.eval().requires_grad_(False).to(device)


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """Turns torch's errors about a device into a UsageError."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        reason = one_line(error).split(". ")[0].rstrip(".")
        raise UsageError(f"--device {device}: {reason}; give --device cpu") from None


def _set(network: Network, buffer: str, values: Triple | None) -> None:
    if values is not None:
        getattr(network, buffer).copy_(torch.tensor(values).view(1, 3, 1, 1))


def _from_architecture(spec: str, weights: Weights | None, name: str) -> Network:
    if spec not in ARCHITECTURES:
        kinds = "module:factory, FILE.onnx, FILE.pt2, timm:NAME or robustbench:NAME"
        close = nearest(spec, ARCHITECTURES)
        raise UsageError(f"model {spec!r} does not exist: give {', '.join(ARCHITECTURES)}, {kinds}{close}")
    if not weights:
        raise UsageError(f"{spec} needs --weights FILE: this program has no weights of its own")
    architecture = ARCHITECTURES[spec]
    module = architecture.build(weights.outputs or 10)
    return Network(module, name, architecture.mean, architecture.std, (architecture.size, architecture.size))


def _from_robustbench(
    spec: str, weights: Path | str | None, name: str | None, normalisation: Triple | None, device: str
) -> Network:
    if normalisation:
        raise UsageError(f"{spec} normalises its input itself: remove --mean and --std")
    file = Path(weights) if weights is not None else None
    if file is not None and not file.is_file():
        raise UsageError(f"{file}: the file does not exist")
    return _placed(robustbench_zoo.load(spec, file, name or spec.rpartition("/")[2].rpartition(":")[2]), device)


def _from_factory(spec: str) -> nn.Module:
    path, _, factory = spec.partition(":")
    try:
        build: Callable[[], Any] = getattr(importlib.import_module(path), factory)
        module = build()
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"model {spec!r}: {type(error).__name__}: {one_line(error)}") from None
    if not isinstance(module, nn.Module):
        raise UsageError(f"model {spec!r} returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _from_file(path: Path, name: str) -> Network:
    from pipeline.study.networks.model_files import Exported, Onnx

    if not path.is_file():
        raise UsageError(f"model {str(path)!r}: the file does not exist")
    try:
        module: Exported | Onnx
        module = Onnx(path) if path.suffix == ".onnx" else Exported(path)
    except PipelineError:
        raise
    except Exception as error:  # the readers may raise anything on damaged files
        raise PipelineError(f"{path} is no readable {path.suffix[1:]} file: {one_line(error)[:200]}") from None
    return Network(module, name, size=module.size, differentiable=path.suffix != ".onnx")


def _from_timm(model: str, weights: Weights | None, name: str) -> Network:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"model 'timm:{model}': {error}; pip install timm torchvision") from None
    outputs = {"num_classes": weights.outputs} if weights and weights.outputs else {}
    try:
        module: Any = timm.create_model(model, pretrained=weights is None, **outputs)  # type: ignore[arg-type]
    except Exception as error:
        advice = "give --weights FILE" if weights is None else "see timm.list_models()"
        raise UsageError(f"model 'timm:{model}': {one_line(error)[:200]}; {advice}") from None
    config = module.pretrained_cfg
    size = tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None
    return Network(module, name, tuple(config["mean"]), tuple(config["std"]), size)
