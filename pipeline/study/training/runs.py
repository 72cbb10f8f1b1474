"""All trainings of a command: every variant, as it is stored and signed, with every seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import UsageError, nearest, one_line
from pipeline.study.networks import load as models
from pipeline.study.networks.cifar import ARCHITECTURES, Triple
from pipeline.study.networks.load import Network
from pipeline.study.training.batches import Samples
from pipeline.study.training.curves import Row
from pipeline.study.training.data import Selection, Tables, moments, read_variant, signed
from pipeline.study.training.epochs import Setting, train
from pipeline.study.training.progress import TrainingProgress
from pipeline.study.training.recipe import Recipe

FULL, STORED, SIGNED = "full", "stored", "signed"  # what networks are tested on, the last two also trained on


@dataclass(frozen=True)
class Runs:
    """What a command trains.

    Attributes:
        chosen: the output, and which of its images.
        variants: their names.
        network: of ``networks.ARCHITECTURES``, or ``module:factory``.
        fill: grey level around crops; None for the variant's own (``Tables.fill``).
        control: whether high-rank-only variants are also trained on signed.
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


@dataclass(frozen=True)
class Trained:
    """One trained network.

    Attributes:
        form: what it was trained on: the variant ``stored`` as it is, or ``signed``, without its offset.
        classes: how many there are.
        images: how many it was trained on.
        tested: and tested on.
        rows: an epoch each, see ``training.train``; accuracies under ``full``, ``stored`` and ``signed``.
    """

    variant: str
    form: str
    seed: int
    classes: int
    images: int
    tested: int
    rows: list[Row]


def device(asked: str | None) -> str:
    """The device asked for, or the best. Raises UsageError where it cannot be used."""
    if asked is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=asked)
    except (RuntimeError, AssertionError) as error:
        reason = one_line(error).split(". ")[0].rstrip(".")
        raise UsageError(f"--device {asked}: {reason}; give cpu, or leave it away") from None
    return asked


def precision(on: str) -> str:
    """bfloat16 where a GPU computes in it, else float32."""
    half = on.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if half else "float32"


def run(runs: Runs, to: Path, quiet: bool = False) -> list[Trained]:
    """Train all that is not trained yet.

    Normalisation is one for all: mean and deviation of the full-rank training images, in training and in every test.

    Args:
        to: receives a folder for each network.

    Raises:
        UsageError: a variant, split, key or network that there is not; or ``to`` holds other trainings.
    """
    full = read_variant(runs.chosen, FULL)
    mean, std = moments(full.train)
    _build(runs.network, full, mean, std)  # before anything is cut or written
    tables = [full if name == FULL else read_variant(runs.chosen, name) for name in runs.variants]
    forms = [(one, form) for one in tables for form in _forms(one, runs.control)]
    progress = TrainingProgress(len(forms) * len(runs.seeds), runs.recipe.epochs, runs.recipe.batch, quiet)
    trained = []
    for one, form in forms:
        for seed in runs.seeds:
            folder = to / (one.variant if form == STORED else f"{one.variant}-{form}") / f"seed{seed}"
            progress.begin(f"{one.variant} {form}, seed {seed}")
            torch.manual_seed(seed)
            network = _build(runs.network, one, mean, std)
            setting = _setting(runs, full, one, form)
            rows = train(network, seed, setting, folder, progress.show)
            count = one.classes, len(setting.train), len(full.test)
            trained.append(Trained(one.variant, form, seed, *count, rows))
    progress.close()
    return trained


def _forms(tables: Tables, control: bool) -> Iterator[str]:
    yield STORED
    if tables.signed and control:
        yield SIGNED


def _setting(runs: Runs, full: Tables, one: Tables, form: str) -> Setting:
    tests: dict[str, Samples] = {FULL: full.test}
    if one is not full:
        tests[STORED] = one.test
    if one.signed:
        tests[SIGNED] = signed(one.test)
    return Setting(
        train=signed(one.train) if form == SIGNED else one.train,
        tests=tests,
        recipe=runs.recipe,
        padding=runs.padding,
        fill=one.fill if runs.fill is None else runs.fill,
        device=runs.device,
        precision=runs.precision,
    )


def _build(spec: str, tables: Tables, mean: Triple, std: Triple) -> Network:
    """An untrained network that takes these images and tells their classes apart."""
    classes, (_, height, width, _) = tables.classes, tables.train.pixels.shape
    if spec in ARCHITECTURES:
        known = ARCHITECTURES[spec]
        network = Network(known.build(classes), spec, mean, std, (known.size, known.size))
    elif ":" in spec and not spec.startswith("timm:"):
        network = models.load(spec, name=spec, mean=mean, std=std)
    else:
        there = f"{', '.join(ARCHITECTURES)} and module:factory"
        raise UsageError(f"--network {spec!r}: there are {there}{nearest(spec, ARCHITECTURES)}")
    outputs = network.eval().outputs((height, width))
    if outputs != classes:
        raise UsageError(f"{spec} gives {outputs} logits an image, the images have {classes} classes")
    return network
