"""``python -m pipeline.study.benchmark``: compares networks by their errors on low-rank, blurred, noisy and JPEG images."""

import argparse
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import UsageError
from pipeline.study.options import (
    add_out,
    check_choice,
    load_images,
    load_networks,
    prepare_torch,
    study_parser,
    whole_numbers,
)

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.images import Images
    from pipeline.study.spectra.benchmark import Scores, Severities

_FEW = 30  # images, below which intervals are rough


def _parser() -> Parser:
    parser = study_parser(
        "benchmark",
        "Compare networks: their accuracy over low and high ranks, and over blur, noise and JPEG of the same distortion, "
        "with 95 % intervals, and their errors relative to a reference network. "
        "The same command continues a run that was stopped.",
    )
    group = parser.add_argument_group("experiment")
    group.add_argument("--reference", metavar="LABEL", help="network to which errors are relative (default: the first)")
    group.add_argument(
        "--low",
        metavar="LIST",
        type=whole_numbers("--low", 1),
        help="low ranks (default: 1,2,3,4,5 of 32 pixels; in proportion for larger images)",
    )
    group.add_argument(
        "--high",
        metavar="LIST",
        type=whole_numbers("--high", 1),
        help="high ranks (default: 6,8,10,15,20 of 32 pixels; in proportion for larger images)",
    )
    group.add_argument("--dry-run", action="store_true", help="estimate the time on this machine; write nothing")
    add_out(group, "the tables and the figure")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; the same command continues")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.results.result_files import make_folder
    from pipeline.study.spectra.benchmark import FAMILIES, score
    from pipeline.study.spectra.estimate import dry_run
    from pipeline.study.spectra.resumed import doubts_of, resumed
    from pipeline.study.spectra.spectrum import Plan
    from pipeline.study.threads import split_cores

    if len(options.model) < 2:
        raise UsageError("a benchmark compares networks: give at least two --model")
    threads = split_cores()
    images = load_images(options)
    severities = _severities(options, images)
    networks = load_networks(options, images.size, len(images.classes))
    names = [network.name for network in networks]
    reference = check_choice("--reference", options.reference or names[0], names)
    plan = Plan.of(images.size, FAMILIES, (*severities.low, *severities.high))
    if options.dry_run:
        print(dry_run(networks, images, plan, threads))
        return 0
    make_folder(options.out)
    spectrum = resumed("benchmark", networks, images, plan, threads, options)
    scores = score(spectrum, severities, reference)
    warnings = doubts_of(spectrum) + list(_rough(scores, len(images)))
    _write(scores, severities, images, warnings, options)
    for line in warnings:
        console.tell(f"warning: {line}")
    return 0


def _severities(options: argparse.Namespace, images: "Images") -> "Severities":
    from pipeline.study.spectra.benchmark import Severities

    side = min(images.size)
    default = Severities.of(side)
    low, high = (tuple(sorted(chosen)) if chosen else None for chosen in (options.low, options.high))
    severities = Severities(low or default.low, high or default.high)
    if not severities.high or severities.high[0] <= severities.low[-1]:
        raise UsageError(
            f"--high begins at {severities.high[0] if severities.high else 'no rank'}, not above the largest rank of --low, "
            f"{severities.low[-1]}"
        )
    if severities.high[-1] >= side:
        raise UsageError(
            f"--high: {severities.high[-1]} is too large; images of {side} pixels have ranks 1 to {side - 1}"
        )
    return severities


def _rough(scores: "Scores", images: int) -> "list[str]":
    from pipeline.study.spectra.benchmark import MEAN

    lines = []
    if images < _FEW:
        lines.append(f"only {images} images: intervals of fewer than {_FEW} are rough")
    reference = scores.models.index(scores.reference)
    for place, name in enumerate(scores.rows):
        if name != MEAN and scores.judged[place] == 0:
            lines.append(f"{name}: no image could be given the distortion of these ranks, so it does not count")
        elif name != MEAN and scores.accuracy.value[place, reference] == 1:
            lines.append(f"{name}: the reference {scores.reference} makes no error, so no error is relative to it")
    return lines


def _write(
    scores: "Scores", severities: "Severities", images: "Images", warnings: list[str], options: argparse.Namespace
) -> None:
    from dataclasses import asdict

    from pipeline.study.plots.benchmark import benchmark_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.results.result_files import plain_options, settings, write_csv, write_json, write_whole
    from pipeline.study.spectra.benchmark_text import latex, summary

    out = options.out
    write_csv(out / "benchmark.csv", scores.table())
    write_whole(out / "benchmark.tex", lambda partial: partial.write_text(latex(scores)))
    with figure_style():
        save(benchmark_figure(scores), out / "benchmark")
    content = {"images": images.origin, "count": len(images), "reference": scores.reference, "warnings": warnings}
    write_json(out / "benchmark.json", settings(plain_options(options)) | content | {"ranks": asdict(severities)})
    print(summary(scores, severities, images))


if __name__ == "__main__":
    signals.leave(main())
