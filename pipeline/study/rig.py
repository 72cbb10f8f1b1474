"""``python -m pipeline.study.rig``: Rank Integrated Gradients beside plain gradients (eq. 3, figures 1, 8, 10, 11, 17, 18).

The Python API is ``rig`` and ``vanilla``. Both accept any torch classifier, on CPU or GPU.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_out, load_images, load_networks, prepare_torch, study_parser

if TYPE_CHECKING:  # torch and numpy would slow down --help
    from pipeline.study.attribution.gradients import rig as rig
    from pipeline.study.attribution.gradients import vanilla as vanilla
    from pipeline.study.attribution.maps import Maps
    from pipeline.study.images import Images


_LIMIT = 8


def _parser() -> Parser:
    parser = study_parser(
        "rig",
        "Computes Rank Integrated Gradients (eq. 3 of the paper) of images for one or more networks and, for comparison, "
        "plain gradients. --reduce applies to both.",
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
        "--batch", metavar="N", type=whole("--batch"), default=128, help="gradients at a time (default 128)"
    )
    add_out(group, "maps, tables and the figure")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; no results were written")


def _main(options: argparse.Namespace) -> int:
    prepare_torch()
    from pipeline.study.attribution.gradients import check_options
    from pipeline.study.attribution.maps import compute_maps, maps_file
    from pipeline.study.result_files import make_folder

    check_options(options.reduce, options.output)
    images = _images(options)
    networks = load_networks(options, images.size, len(images.classes))
    files: dict[str, str] = {}
    for network in networks:
        network.check_gradients("RIG", images.size)
        other = files.setdefault(maps_file(network.name), network.name)
        if other != network.name:
            raise UsageError(
                f"the maps of {other!r} and of {network.name!r} would both be {maps_file(other)}: "
                "give labels of letters and digits"
            )
    make_folder(options.out)
    maps = [compute_maps(network, images, options.reduce, options.output, options.batch) for network in networks]
    _write(images, maps, options)
    for network_maps in maps:
        print(network_maps.summary())
    return 0


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
    from pipeline.study.result_files import plain_options, settings, write_csv, write_json, write_npz

    out = options.out
    write_csv(out / "rig.csv", (row for network_maps in maps for row in network_maps.rows(images)))
    for m in maps:
        arrays = {"rig": m.rig, "vanilla": m.vanilla, "target": m.target, "keys": np.array(images.keys)}
        write_npz(out / maps_file(m.name), arrays)
    with figure_style():
        save(rig_figure(images, maps), out / "rig")
    write_json(out / "rig.json", settings(plain_options(options)) | {"images": images.origin})


def __getattr__(name: str) -> object:
    """Imports ``rig`` and ``vanilla``, which need torch, when they are used: ``--help`` stays fast."""
    if name in ("rig", "vanilla"):
        from pipeline.study.attribution import gradients

        return getattr(gradients, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    console.leave(main())
