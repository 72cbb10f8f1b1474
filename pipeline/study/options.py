"""Options that the experiments share: networks, each with its weights, and images."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import Parser, path, whole
from pipeline.errors import UsageError
from pipeline.sources import DATASETS

if TYPE_CHECKING:  # torch and numpy must not slow down --help
    from pipeline.study.inputs import Images
    from pipeline.study.networks.load import Network

_MODEL = (
    "NAME of a known network, module:factory, FILE.onnx, FILE.pt2 or timm:NAME; LABEL=... says what figures call it"
)


@dataclass
class ModelOption:
    """One ``--model`` with what follows it up to the next."""

    spec: str
    label: str | None = None
    weights: Path | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class _Model(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        label, equals, spec = values.partition("=")
        named = equals and "/" not in label  # a path may hold an equals sign, too
        one = ModelOption(spec, label) if named else ModelOption(values)
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), one])


class _OfModel(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if not namespace.model:
            raise UsageError(f"{option} belongs to the --model before it: give --model first")
        setattr(namespace.model[-1], self.dest, values)


def add_models(parser: Parser) -> None:
    """``--model`` and what belongs to it."""
    group = parser.add_argument_group("networks (any number: repeat --model, each with its own --weights)")
    group.add_argument("--model", metavar="[LABEL=]SPEC", action=_Model, default=[], help=_MODEL)
    of: dict[str, Any] = {"action": _OfModel, "default": argparse.SUPPRESS}
    group.add_argument(
        "--weights", metavar="FILE", type=path("--weights"), help="its state dict, as torch.save writes it", **of
    )
    group.add_argument("--mean", metavar="R,G,B", type=_triple, help="of its input in [0, 1]; default: its own", **of)
    group.add_argument("--std", metavar="R,G,B", type=_triple, help="of its input in [0, 1]; default: its own", **of)
    group.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default) or cuda")


def add_images(parser: Parser) -> None:
    """Where images come from."""
    group = parser.add_argument_group("images (an output, a file of CIFAR-10 records, or a dataset)")
    group.add_argument(
        "--images", metavar="PLACE", type=path("--images"), help="an output's folder, or a CIFAR-10 .bin file"
    )
    group.add_argument("--dataset", metavar="NAME", help=f"instead of --images: {', '.join(DATASETS)}")
    group.add_argument("--data-dir", metavar="DIR", type=path("--data-dir"), help="where the dataset lies")
    group.add_argument("--split", metavar="NAME", help="of an output or a dataset (default test)")
    group.add_argument("--limit", metavar="N", type=whole("--limit"), help="images to take (default: all)")
    group.add_argument("--resize", metavar="N", type=whole("--resize"), help="of a dataset: shorter side, pixels")
    group.add_argument("--crop", metavar="N", type=whole("--crop"), help="of a dataset: centre crop, pixels")
    group.add_argument(
        "--allow-unverified", action="store_true", help="of a dataset: take CIFAR files that are not the official ones"
    )


def _triple(text: str) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"{text!r}: --mean and --std take three numbers such as 0.49,0.48,0.45") from None
    return red, green, blue


def networks(options: argparse.Namespace, size: tuple[int, int], classes: int) -> "list[Network]":
    """The networks asked for, on their device, of distinct names, for images of ``size``, telling ``classes`` apart."""
    from pipeline.study.networks.load import load

    if not options.model:
        raise UsageError("give at least one --model; see --help")
    given: Sequence[ModelOption] = options.model
    loaded = [
        load(one.spec, one.weights, name=one.label, mean=one.mean, std=one.std, device=options.device) for one in given
    ]
    for network in loaded:
        outputs = network.outputs(size)
        if outputs != classes:
            raise UsageError(
                f"{network.name} tells {outputs} classes apart, these images have {classes}: they do not go together"
            )
        if sum(other.name == network.name for other in loaded) > 1:
            raise UsageError(f"two networks are called {network.name!r}: name them with --model LABEL=SPEC")
    return loaded


def images(options: argparse.Namespace) -> "Images":
    """The images asked for."""
    from pipeline.numerics.geometry import Geometry
    from pipeline.study import inputs

    if (options.images is None) == (options.dataset is None):
        raise UsageError("give either --images (an output's folder or a .bin file) or --dataset")
    if options.crop and options.crop > (options.resize or 0):
        raise UsageError(f"--crop {options.crop}: goes with a --resize of {options.crop} or more")
    geometry = Geometry(options.resize, options.crop) if options.resize or options.crop else None
    split = "test" if options.split is None else options.split
    if options.dataset:
        return inputs.from_source(
            options.dataset, options.data_dir, split, options.limit, geometry, options.allow_unverified
        )
    if geometry or options.data_dir or options.allow_unverified:
        raise UsageError("--resize, --crop, --data-dir and --allow-unverified go with --dataset")
    if options.images.suffix == ".bin":
        if options.split is not None:
            raise UsageError(f"--split {options.split}: a file of records is no split, give the file of those images")
        return inputs.from_records(options.images, options.limit)
    return inputs.from_output(options.images, split, options.limit)
