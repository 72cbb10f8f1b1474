"""``python -m pipeline.study.attack``: attacks networks with targeted PGD, alone and behind rank truncation (table 2)."""

import argparse
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, load_images, load_networks, prepare_torch, study_parser, whole_numbers

if TYPE_CHECKING:  # torch would slow down --help
    from pipeline.study.attacks.run import Attacked

_RELATIVE = "relative"


def _parser() -> Parser:
    parser = study_parser(
        "attack",
        "Targeted L-infinity PGD. Reports how often a network predicts the target (success), the true class (recovery) or "
        "another class (other): of all images, and of the images that it classified correctly before. With --ranks also "
        "behind rank truncation, with the images made for the network alone and with attacks through the truncation.",
    )
    group = parser.add_argument_group("attack (in units of the image in [0, 1]; fractions such as 4/255 are accepted)")
    group.add_argument("--eps", metavar="X", type=_unit("--eps"), default=4 / 255, help="bound (default 4/255)")
    group.add_argument("--steps", metavar="N", type=whole("--steps"), default=20, help="gradient steps (default 20)")
    group.add_argument(
        "--step-size", metavar="X", type=_step_size, default=1 / 255, help="default 1/255; relative: 2.5 eps / steps"
    )
    group.add_argument(
        "--seed", metavar="N", type=whole("--seed", 0), default=0, help="seed of targets and starts (default 0)"
    )
    group.add_argument("--ranks", metavar="LIST", type=_ranks, default=(), help="ranks of truncation, such as 5,10,20")
    group.add_argument(
        "--autoattack",
        action="store_true",
        help="also AutoAttack with the same eps, which has no target (much slower than PGD)",
    )
    group.add_argument("--batch", metavar="N", type=whole("--batch"), default=256, help="batch size (default 256)")
    add_out(group, "tables and the figure")
    return parser


def _unit(option: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            value = -1.0
        if not 0 < value <= 1:
            raise UsageError(f"{option}: {text!r} is not in (0, 1]: give a number or a fraction such as 4/255")
        return value

    return parse


def _step_size(text: str) -> float | str:
    return _RELATIVE if text == _RELATIVE else _unit("--step-size")(text)


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(sorted(whole_numbers("--ranks", 1)(text)))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; no results were written")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.attacks import tables
    from pipeline.study.attacks.auto import check
    from pipeline.study.attacks.pgd import Attack
    from pipeline.study.attacks.run import run
    from pipeline.study.progress import counter
    from pipeline.study.results.result_files import make_folder

    images = load_images(options)
    if max(options.ranks, default=0) >= min(images.size):
        raise UsageError(f"--ranks {options.ranks[-1]}: these images have ranks 1 to {min(images.size) - 1}")
    if len(images.classes) < 2:
        raise UsageError(f"{images.origin}: all images are of one class, but a targeted attack needs two classes")
    networks = load_networks(options, images.size, len(images.classes))
    for network in networks:
        network.check_gradients("an attack", images.size)
    if options.autoattack:
        check(len(images.classes))
    make_folder(options.out, other="spectrum")
    step = 2.5 * options.eps / options.steps if options.step_size == _RELATIVE else options.step_size
    attack = Attack(options.eps, options.steps, step, options.seed, options.autoattack)
    attacked = run(networks, images, attack, options.ranks, options.batch, counter("batches attacked"))
    _write(attacked, options)
    print(tables.text(attacked), flush=True)
    return 0


def _write(attacked: "Attacked", options: argparse.Namespace) -> None:
    from pipeline.study.attacks import tables
    from pipeline.study.plots.attack import attack_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.results.result_files import plain_options, settings, write_csv, write_json

    write_csv(options.out / "attack.csv", tables.rows(attacked))
    write_csv(options.out / "predictions.csv", tables.predictions(attacked))
    content = {"images": attacked.images.origin, "results": list(tables.rows(attacked))}
    write_json(options.out / "attack.json", settings(plain_options(options)) | content)
    with figure_style():
        save(attack_figure(attacked), options.out / "attack")


if __name__ == "__main__":
    signals.leave(main())
