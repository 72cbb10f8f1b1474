"""Runs all trainings of a command: every variant with every seed, high-rank-only variants also without their offset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import UsageError, nearest
from pipeline.study.networks.cifar import ARCHITECTURES, Triple
from pipeline.study.networks.load import device_errors, load_network
from pipeline.study.networks.network import Network
from pipeline.study.training.curves import Row
from pipeline.study.training.data import Selection, VariantImages, moments, read_variant, without_offset
from pipeline.study.training.loop import Setting, train
from pipeline.study.training.processes import ALONE, Team, local_device
from pipeline.study.training.progress import TrainingProgress
from pipeline.study.training.recipe import Recipe
from pipeline.study.training.streamed import Stream

FULL, STORED, SIGNED = "full", "stored", "signed"  # names of the tests; the last two are also forms of training images


@dataclass(frozen=True)
class Runs:
    """The trainings of a command. The field names are keys of ``results.json``.

    Attributes:
        chosen: the output and the selection of its images.
        variants: names of the variants to train on.
        network: a name of ``networks.cifar.ARCHITECTURES``, or ``module:factory``.
        fill: grey level around random crops; None for the variant's own (``VariantImages.fill``).
        control: whether to train on signed images of high-rank-only variants as well, the negative control.
        workers: DataLoader workers of each process that streams the images; None holds all images in memory.
    """

    chosen: Selection
    variants: tuple[str, ...]
    network: str
    seeds: tuple[int, ...]
    recipe: Recipe
    padding: int
    fill: int | None
    device: str
    precision: str
    control: bool
    workers: int | None = None


@dataclass(frozen=True)
class Trained:
    """One trained network.

    Attributes:
        form: the training images: ``stored``, or ``signed``, without the offset.
        classes: number of classes.
        images, tested: number of training images and of test images.
        rows: one per epoch (see ``loop.train``), with accuracies under ``full``, ``stored`` and ``signed``.
    """

    variant: str
    form: str
    seed: int
    classes: int
    images: int
    tested: int
    rows: list[Row]


def choose_device(name: str | None) -> str:
    """Returns the device, by default cuda if there is a GPU. Raises UsageError if it cannot be used."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    name = local_device(name)
    with device_errors(name):
        torch.zeros(1, device=name).cpu()
    return name


def default_precision(device: str) -> str:
    """Returns bfloat16 if the device is a GPU with bfloat16 arithmetic, else float32."""
    supported = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if supported else "float32"


def run(runs: Runs, out: Path, quiet: bool = False, team: Team = ALONE) -> list[Trained]:
    """Trains every network that is not trained yet. Returns all networks of ``runs``.

    All trainings and tests use the same normalisation: mean and deviation of the full-rank training images.

    Args:
        out: receives a folder per network.
        team: the processes that train together; the first writes.

    Raises:
        UsageError: a variant, split, key or network does not exist, or ``out`` holds other trainings.
    """
    full, mean, std, variants = team.agree(lambda: _read(runs, team))
    forms = [(images, form) for images in variants for form in _forms(images, runs.control)]
    progress = TrainingProgress(
        len(forms) * len(runs.seeds), runs.recipe.epochs, runs.recipe.batch, quiet or not team.first
    )
    trained = []
    for images, form in forms:
        setting = _setting(runs, full, images, form, team)
        name = images.variant if form == STORED else f"{images.variant}-{form}"
        for seed in runs.seeds:
            progress.begin(f"{images.variant} {form}, seed {seed}")
            torch.manual_seed(seed)
            network = _build(runs.network, images, mean, std)
            rows = train(network, seed, setting, out / name / f"seed{seed}", progress.show)
            counts = images.classes, len(setting.train), len(full.test)
            trained.append(Trained(images.variant, form, seed, *counts, rows))
    progress.close()
    return trained


def _read(runs: Runs, team: Team) -> tuple[VariantImages, Triple, Triple, list[VariantImages]]:
    """Returns the full-rank images, their mean and deviation, and the images of every variant."""
    stream = None if runs.workers is None else Stream(team.rank, team.size, runs.workers)
    full = read_variant(runs.chosen, FULL, stream)
    _check_shares(len(full.train), runs, team.size)
    mean, std = moments(full.train)
    _build(runs.network, full, mean, std)  # reports a wrong network before anything is cut or written
    return (
        full,
        mean,
        std,
        [full if name == FULL else read_variant(runs.chosen, name, stream) for name in runs.variants],
    )


def _check_shares(images: int, runs: Runs, processes: int) -> None:
    """Raises UsageError unless every process has an image in every step."""
    if processes == 1:
        return
    if runs.workers is None:
        raise UsageError(f"{processes} processes need --stream: images in memory are trained by one process")
    if images < processes:
        raise UsageError(f"{processes} processes are more than the {images:,} training images: start fewer")
    if runs.recipe.batch < 2 * processes:
        raise UsageError(
            f"--batch {runs.recipe.batch}: it is the batch of all processes together: give {processes} processes "
            f"{2 * processes} or more"
        )


def _forms(images: VariantImages, control: bool) -> Iterator[str]:
    yield STORED
    if images.signed and control:
        yield SIGNED


def _setting(runs: Runs, full: VariantImages, images: VariantImages, form: str, team: Team) -> Setting:
    tests = {FULL: full.test}
    if images is not full:
        tests[STORED] = images.test
    if images.signed:
        tests[SIGNED] = without_offset(images.test)
    return Setting(
        train=without_offset(images.train) if form == SIGNED else images.train,
        tests=tests,
        recipe=runs.recipe,
        padding=runs.padding,
        fill=images.fill if runs.fill is None else runs.fill,
        device=runs.device,
        precision=runs.precision,
        team=team,
    )


def _build(spec: str, images: VariantImages, mean: Triple, std: Triple) -> Network:
    """Returns an untrained network that takes these images and has one output per class."""
    if spec in ARCHITECTURES:
        architecture = ARCHITECTURES[spec]
        size = (architecture.size, architecture.size)
        network = Network(architecture.build(images.classes), spec, mean, std, size)
    elif ":" in spec and not spec.startswith(("timm:", "robustbench:")):
        network = load_network(spec, name=spec, mean=mean, std=std)
    else:
        names = f"{', '.join(ARCHITECTURES)} or module:factory"
        raise UsageError(f"--network {spec!r} does not exist: give {names}{nearest(spec, ARCHITECTURES)}")
    network.eval().check_classes(images.train.size, images.classes)
    return network
