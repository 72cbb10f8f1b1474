"""``python -m pipeline.study.spectrum``: classifies images at every rank (Algorithm 1, figures 6, 7 and 13)."""

import argparse
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, check_choice, load_images, load_networks, prepare_torch, study_parser

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.spectra.spectrum import Spectrum
    from pipeline.study.spectra.tables import Twin


def _parser() -> Parser:
    parser = study_parser(
        "spectrum",
        "Classify every image at every rank k = 0 (black) .. min(h, w) with any number of networks: accuracy "
        "(figures 6, 7, 13) and agreement with the full-rank prediction (Algorithm 1), with 95 % intervals.",
    )
    group = parser.add_argument_group("experiment")
    group.add_argument(
        "--family",
        metavar="LIST",
        default="rank",
        help="rank (default), and controls with the same distortion: lowpass, blur, jpeg, noise",
    )
    group.add_argument("--as-stored", action="store_true", help="round and clip the images, as PNG files store them")
    group.add_argument(
        "--twin",
        metavar="ROBUST=NATURAL",
        action="append",
        default=[],
        help="labels of two networks of one architecture",
    )
    group.add_argument(
        "--reference", metavar="LABEL", help="network to which gaps are measured (default: the first that is no twin)"
    )
    group.add_argument("--at", metavar="K", type=whole("--at"), default=3, help="rank of the summary (default 3)")
    group.add_argument("--batch", metavar="N", type=whole("--batch"), default=64, help="batch size (default 64)")
    add_out(group, "tables and figures")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; no results were written")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.distortion.families import parse_families
    from pipeline.study.progress import counter
    from pipeline.study.result_files import make_folder
    from pipeline.study.spectra.spectrum import run
    from pipeline.study.spectra.summary import summary

    families = parse_families(options.family)
    images = load_images(options)
    if options.at >= min(images.size):
        raise UsageError(f"--at {options.at}: these images have ranks 1 to {min(images.size) - 1}")
    networks = load_networks(options, images.size, len(images.classes))
    twins, reference = _twins(options, [network.name for network in networks])
    make_folder(options.out, other="attack")
    progress = counter("images at every rank")
    spectrum = run(networks, images, families, options.as_stored, options.batch, progress)
    _write(spectrum, twins, reference, options)
    print(summary(spectrum, twins, options.at))
    return 0


def _twins(options: argparse.Namespace, names: list[str]) -> "tuple[list[Twin], str]":
    """Returns the twins of ``--twin``, and the name of the network to which gaps are measured."""
    from pipeline.study.spectra.tables import Twin

    pairs = []
    for text in options.twin:
        robust, _, natural = text.partition("=")
        for name in (robust, natural):
            check_choice("--twin", name, names)
        if robust == natural:
            raise UsageError(f"--twin {text}: a network is not its own twin; give ROBUST=NATURAL")
        pairs.append((robust, natural))
    paired = {name for pair in pairs for name in pair}
    reference = options.reference
    if reference is None:
        reference = next((name for name in names if name not in paired), names[0])
    check_choice("--reference", reference, names)
    if reference in paired:
        raise UsageError("--twin needs a natural network of another architecture: give it as --reference")
    return [Twin(robust, natural, reference) for robust, natural in pairs], reference


def _write(spectrum: "Spectrum", twins: "list[Twin]", reference: str, options: argparse.Namespace) -> None:
    from pipeline.study.plots.spectrum import controls_figure, spectrum_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.result_files import plain_options, settings, write_csv, write_json
    from pipeline.study.spectra import tables

    out = options.out
    write_csv(out / "spectrum.csv", tables.curves(spectrum))
    write_csv(out / "classes.csv", tables.by_class(spectrum))
    write_csv(out / "predictions.csv", tables.predictions(spectrum))
    if len(spectrum.models) > 1:
        write_csv(out / "differences.csv", tables.differences(spectrum))
    if twins:
        write_csv(out / "shares.csv", tables.shares(spectrum, twins))
    with figure_style():
        save(spectrum_figure(spectrum, twins, reference), out / "spectrum")
        if len(spectrum.families) > 1:
            write_csv(out / "controls.csv", tables.controls(spectrum))
            save(controls_figure(spectrum), out / "controls")
    content = {"images": spectrum.images.origin, "count": len(spectrum.images), "reference": reference}
    write_json(out / "spectrum.json", settings(plain_options(options)) | content)


if __name__ == "__main__":
    console.leave(main())
