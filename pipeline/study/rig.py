"""``python -m pipeline.study.rig``: Rank Integrated Gradients beside plain gradients (eq. 3, figures 1, 8, 10, 11, 17, 18).

The Python API is ``rig`` and ``vanilla``. Both accept any torch classifier, on CPU or GPU.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline import console, signals
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, load_images, load_networks, prepare_torch, study_parser

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.attribution.gradients import rig as rig
    from pipeline.study.attribution.gradients import vanilla as vanilla
    from pipeline.study.attribution.maps import Maps, Method
    from pipeline.study.images import Images
    from pipeline.study.networks.network import Network


_LIMIT = 8


def _parser() -> Parser:
    parser = study_parser(
        "rig",
        "Computes Rank Integrated Gradients (eq. 3 of the paper) of images for one or more networks and, for comparison, "
        "plain gradients. --reduce applies to both. The same command continues a run that was stopped.",
    )
    group = parser.add_argument_group("experiment (--limit is 8 images by default)")
    group.add_argument(
        "--keys",
        metavar="LIST",
        help="keys of the images, such as test-00000003,test-00000008 (default: the first ones)",
    )
    group.add_argument(
        "--reduce", metavar="HOW", default="max", help="gradient over the channels: max (default, signed) or absmax"
    )
    group.add_argument(
        "--output", metavar="WHAT", default="softmax", help="softmax (default) or logit of the top class"
    )
    group.add_argument(
        "--integrated-gradients",
        metavar="STEPS",
        type=whole("--integrated-gradients"),
        help="also compute Integrated Gradients from a black image, by Captum",
    )
    group.add_argument(
        "--stages", action="store_true", help="also show how the map of the first image comes about (figure 10)"
    )
    group.add_argument(
        "--batch",
        metavar="N",
        type=whole("--batch"),
        help="gradients at a time in each thread (default: 128 of 32 pixels, 4 of 224 pixels)",
    )
    group.add_argument("--dry-run", action="store_true", help="estimate the time on this machine; write nothing")
    add_out(group, "maps, tables and the figure")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; the same command continues")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.attribution.gradients import check_options
    from pipeline.study.attribution.integrated import require_captum
    from pipeline.study.attribution.maps import Method, fitting_batch
    from pipeline.study.sanity import doubts
    from pipeline.study.threads import split_cores

    check_options(options.reduce, options.output)
    if options.integrated_gradients:
        require_captum()
    threads = split_cores()
    images = _images(options)
    networks = load_networks(options, images.size, len(images.classes))
    _check_networks(networks, images)
    batch = options.batch or fitting_batch(images.size)
    method = Method(options.reduce, options.output, batch, options.integrated_gradients or 0)
    if options.dry_run:
        print(_dry_run(networks, images, method, threads))
        return 0
    maps = _compute(networks, images, method, threads, options)
    _write(images, maps, options)
    if options.stages:
        _write_stages(networks[0], images, method, options)
    for network_maps in maps:
        print(network_maps.summary())
    for network_maps in maps:
        for line in doubts(network_maps.name, network_maps.target, images):
            console.tell(f"warning: {line}")
    return 0


def _check_networks(networks: "Sequence[Network]", images: "Images") -> None:
    """Raises UsageError for networks without gradients, and for two whose maps would have one file name."""
    from pipeline.study.attribution.maps import maps_file

    files: dict[str, str] = {}
    for network in networks:
        network.check_gradients("RIG", images.size)
        other = files.setdefault(maps_file(network.name), network.name)
        if other != network.name:
            raise UsageError(
                f"the maps of {other!r} and of {network.name!r} would both be {maps_file(other)}: "
                "give labels of letters and digits"
            )


def _compute(
    networks: "Sequence[Network]", images: "Images", method: "Method", threads: int, options: argparse.Namespace
) -> "list[Maps]":
    """Computes what the folder does not hold yet."""
    from pipeline.study.attribution.maps import compute_maps
    from pipeline.study.progress import counter
    from pipeline.study.results.digests import images_digest, network_digests
    from pipeline.study.results.parts_file import open_results
    from pipeline.study.results.result_files import make_folder

    make_folder(options.out)
    settings = asdict(method) | {"images": images_digest(images), "networks": network_digests(networks, options.model)}
    with open_results(options.out, "rig", settings) as parts:
        done, units = len(parts.parts), len(networks) * len(images)
        if 0 < done < units:
            console.tell(f"continuing: {done:,} of {units:,} maps are done")
        show = counter("gradients", done * method.gradients(images))
        return compute_maps(networks, images, method, parts, threads, show)


def _dry_run(networks: "Sequence[Network]", images: "Images", method: "Method", threads: int) -> str:
    """Returns a line for people with the estimated time, from the plain gradients of the first images."""
    from pipeline.liveness import duration
    from pipeline.study.attribution.maps import seconds_per_gradient

    count = method.gradients(images) * len(images) * len(networks)
    seconds = count * seconds_per_gradient(networks, images, method, threads)
    return (
        f"{len(images):,} images, {len(networks)} networks, {count:,} gradients: about {duration(seconds)} in {threads} "
        "threads. Nothing was written."
    )


def _images(options: argparse.Namespace) -> "Images":
    import numpy as np

    if options.keys is None:
        options.limit = options.limit or _LIMIT
        return load_images(options)
    if options.limit is not None:
        raise UsageError(f"--limit {options.limit}: --keys already selects the images; give one of the two")
    images = load_images(options)
    keys = [part.strip() for part in options.keys.split(",")]
    missing = [key for key in keys if key not in images.keys]
    if missing:
        raise UsageError(f"--keys: there is no image {missing[0]!r}; the first is {images.keys[0]}")
    return images.at(np.array([images.keys.index(key) for key in keys]))


def _write(images: "Images", maps: "Sequence[Maps]", options: argparse.Namespace) -> None:
    import numpy as np

    from pipeline.study.attribution.maps import maps_file
    from pipeline.study.plots.rig import rig_figure
    from pipeline.study.plots.style import figure_style, save
    from pipeline.study.results.result_files import plain_options, settings, write_csv, write_json, write_npz

    out = options.out
    write_csv(out / "rig.csv", (row for network_maps in maps for row in network_maps.rows(images)))
    for m in maps:
        arrays = {"rig": m.rig, "vanilla": m.vanilla, "target": m.target, "keys": np.array(images.keys)}
        if m.integrated is not None:
            arrays["integrated"] = m.integrated
        write_npz(out / maps_file(m.name), arrays)
    with figure_style():
        save(rig_figure(images, maps), out / "rig")
    write_json(out / "rig.json", settings(plain_options(options)) | {"images": images.origin})


def _write_stages(network: "Network", images: "Images", method: "Method", options: argparse.Namespace) -> None:
    """Draws the stages of the first image with the first network."""
    from pipeline.study.attribution.stages import stages
    from pipeline.study.plots.rig import stages_figure
    from pipeline.study.plots.style import figure_style, save

    shown = stages(network, images, method)
    with figure_style():
        save(stages_figure(images, shown), options.out / "stages")


def __getattr__(name: str) -> object:
    """Imports ``rig`` and ``vanilla``, which need torch, when they are used: ``--help`` stays fast."""
    if name in ("rig", "vanilla"):
        from pipeline.study.attribution import gradients

        return getattr(gradients, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    signals.leave(main())
