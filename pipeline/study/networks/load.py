"""Networks to study, from whatever holds them: a name, ``module:factory``, ONNX, ``torch.export`` or timm."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import PipelineError, UsageError, nearest, one_line
from pipeline.study.networks.cifar import ARCHITECTURES, Triple
from pipeline.study.networks.weights import Weights, fit, read_weights

PLAIN: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Network(nn.Module):
    """A classifier of images in [0, 1], in evaluation mode, its normalisation inside.

    Args:
        module: takes normalised float32 (n, 3, h, w), gives logits (n, classes).
        name: what figures and tables call it.
        mean, std: per channel, in units of the image in [0, 1].
        size: (height, width) that it takes, pixels; None for any.
        differentiable: whether gradients flow through it.

    Attributes:
        name, size, differentiable: as given.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        mean: Triple = PLAIN[0],
        std: Triple = PLAIN[1],
        size: tuple[int, int] | None = None,
        differentiable: bool = True,
    ) -> None:
        super().__init__()
        self.module, self.name, self.size, self.differentiable = module, name, size, differentiable
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32 (n, classes) of float32 (n, 3, h, w); values outside [0, 1] are taken as they are.

        Raises:
            UsageError: images of another size than it takes.
        """
        self.check(tuple(x.shape))
        logits: Tensor = self.module((x - self.mean) / self.std)
        return logits

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise UsageError unless it takes arrays of a shape."""
        if len(shape) != 4 or shape[1] != 3:
            raise UsageError(f"{self.name} takes images as (n, 3, height, width), not {shape}")
        if self.size and shape[2:] != self.size:
            given, taken = (" x ".join(map(str, size)) for size in (shape[2:], self.size))
            raise UsageError(
                f"{self.name} takes images of {taken} pixels, these have {given}: build or --resize them so"
            )

    def outputs(self, size: tuple[int, int]) -> int:
        """How many classes it tells apart, tried on a ramp from black to white of ``size``.

        Raises:
            UsageError: it cannot take it, or its logits are none.
        """
        ramp = torch.linspace(0, 1, 3 * size[0] * size[1], device=self.mean.device).view(1, 3, *size)
        with torch.no_grad():
            try:
                logits = self(ramp)
            except UsageError:
                raise
            except Exception as error:  # it may be the user's code: whatever it raises, the user should see what
                told = f"{type(error).__name__}: {one_line(error)[:200]}"
                raise UsageError(f"{self.name} cannot take images of {size[0]} x {size[1]} pixels: {told}") from None
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UsageError(f"{self.name} gives no logits (n, classes)")
        if logits.isnan().any():
            raise UsageError(f"{self.name} gives logits that are not numbers (NaN): its weights are broken")
        return logits.shape[1]

    def need_gradients(self, experiment: str, size: tuple[int, int]) -> None:
        """Raise UsageError where gradients do not flow through it, tried on a black image of ``size``."""
        if not self.differentiable:
            raise UsageError(f"{experiment} needs gradients, which {self.name} does not give (ONNX runs forwards only)")
        if not self(torch.zeros(1, 3, *size, device=self.mean.device, requires_grad=True)).requires_grad:
            raise UsageError(
                f"{experiment} needs gradients, which {self.name} does not give: something in it detaches them"
            )


def load(
    spec: str,
    weights: Path | str | None = None,
    *,
    name: str | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    device: str = "cpu",
) -> Network:
    """A network in evaluation mode.

    Args:
        spec: one of ``networks.ARCHITECTURES``; ``module:factory``, called without arguments for a torch module;
            ``FILE.onnx``; ``FILE.pt2`` (torch.export); or ``timm:NAME``.
        weights: a state dict, also under the key ``state_dict``, as ``torch.save`` writes it. Nothing but tensors and
            plain values is ever unpickled.
        name: what it is called; None for the weights' or the model's own name.
        mean, std: of its input in [0, 1]; None for those that the weights' file holds under ``mean`` and ``std``, else the
            architecture's, else none at all: such a module gets [0, 1].
        device: ``cpu``, ``cuda``...

    Raises:
        UsageError: there is no such network, weights are missing, or they do not fit.
        PipelineError: a file cannot be read.
    """
    found = read_weights(Path(weights)) if weights is not None else None
    called = name or (Path(weights).stem if weights is not None else spec.removeprefix("timm:"))
    if spec.endswith((".onnx", ".pt2")):
        if found:
            raise UsageError(f"{spec} holds its own weights: leave --weights away")
        network = _file(Path(spec), name or Path(spec).stem)
    elif spec.startswith("timm:"):
        network = _timm(spec.removeprefix("timm:"), found, called)
    elif ":" in spec:
        network = Network(_factory(spec), called)
    else:
        network = _known(spec, found, called)
    if found:
        fit(network.module, found, spec)
    _set(network, "mean", mean or (found.mean if found else None))
    _set(network, "std", std or (found.std if found else None))
    if not bool(network.mean.isfinite().all()):
        raise UsageError(f"mean of {network.name}: {network.mean.flatten().tolist()} are not three numbers")
    if not bool(((network.std > 0) & network.std.isfinite()).all()):
        raise UsageError(f"std of {network.name}: {network.std.flatten().tolist()} are not three positive numbers")
    try:
        return network.eval().requires_grad_(False).to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r}: {one_line(error).split('. ')[0]}; use cpu") from None


def _set(network: Network, what: str, values: Triple | None) -> None:
    if values is not None:
        getattr(network, what).copy_(torch.tensor(values).view(1, 3, 1, 1))


def _known(spec: str, found: Weights | None, name: str) -> Network:
    if spec not in ARCHITECTURES:
        kinds = "module:factory, FILE.onnx, FILE.pt2 or timm:NAME"
        close = nearest(spec, ARCHITECTURES)
        raise UsageError(f"model {spec!r}: there are {', '.join(ARCHITECTURES)}, {kinds}{close}")
    if not found:
        raise UsageError(f"{spec} needs --weights FILE: no weights come with this program")
    known = ARCHITECTURES[spec]
    return Network(known.build(found.outputs or 10), name, known.mean, known.std, (known.size, known.size))


def _factory(spec: str) -> nn.Module:
    where, _, factory = spec.partition(":")
    try:
        build: Callable[[], Any] = getattr(importlib.import_module(where), factory)
        module = build()
    except Exception as error:  # it is the user's code: whatever it raises, the user should see what
        raise UsageError(f"model {spec!r}: {type(error).__name__}: {one_line(error)}") from None
    if not isinstance(module, nn.Module):
        raise UsageError(f"model {spec!r} gave {type(module).__name__}, not a torch.nn.Module")
    return module


def _file(path: Path, name: str) -> Network:
    from pipeline.study.networks import files

    if not path.is_file():
        raise UsageError(f"model {str(path)!r}: there is no such file")
    try:
        module: files.Exported | files.Onnx
        module = files.Onnx(path) if path.suffix == ".onnx" else files.Exported(path)
    except PipelineError:
        raise
    except Exception as error:  # readers raise what they like on damaged files
        raise PipelineError(f"{path} is no readable {path.suffix[1:]} file: {one_line(error)[:200]}") from None
    return Network(module, name, size=module.size, differentiable=path.suffix != ".onnx")


def _timm(model: str, found: Weights | None, name: str) -> Network:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f"model 'timm:{model}': {error}; pip install timm torchvision") from None
    outputs = {"num_classes": found.outputs} if found and found.outputs else {}
    try:
        module: Any = timm.create_model(model, pretrained=found is None, **outputs)  # type: ignore[arg-type]
    except Exception as error:
        where = "give --weights FILE" if found is None else "see timm.list_models()"
        raise UsageError(f"model 'timm:{model}': {one_line(error)[:200]}; {where}") from None
    config = module.pretrained_cfg
    size = tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None
    return Network(module, name, tuple(config["mean"]), tuple(config["std"]), size)
