"""``python -m pipeline.study.rig``: Rank Integrated Gradients beside plain gradients (eq. 3, figures 1, 8, 10, 11, 17, 18).

``rig`` and ``vanilla`` are the API: any torch classifier, CPU or GPU.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.console import Parser, whole
from pipeline.errors import UsageError
from pipeline.study.options import add_images, add_models, images, networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.study.inputs import Images
    from pipeline.study.networks.load import Network
    from pipeline.study.rig_maps import Maps
    from pipeline.study.rig_maps import rig as rig
    from pipeline.study.rig_maps import vanilla as vanilla


_LIMIT = 8


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.study.rig",
        description="Rank Integrated Gradients (eq. 3 of the paper) of some images for some networks, beside plain "
        "gradients of the same reduction.",
        epilog="Exit status: 0 done; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    add_models(parser)
    add_images(parser)
    group = parser.add_argument_group("experiment (--limit is 8 images by default)")
    group.add_argument(
        "--keys", metavar="LIST", help="images to take instead of the first, as in test-00000003,test-00000008"
    )
    group.add_argument("--reduce", metavar="HOW", default="max", help="over channels: max (default, signed) or absmax")
    group.add_argument(
        "--output", metavar="WHAT", default="softmax", help="softmax (default) or logit of the top class"
    )
    group.add_argument(
        "--batch", metavar="N", type=whole("--batch"), default=128, help="gradients at a time (default 128)"
    )
    group.add_argument(
        "--out", metavar="DIR", type=console.path("--out"), required=True, help="folder for maps, tables and the figure"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    return console.run(lambda: _main(_parser().parse(arguments)), "stopped; nothing has been written")


def _main(options: argparse.Namespace) -> int:
    from pipeline.study import results
    from pipeline.study.rig_maps import check, explain, maps_file

    check(options.reduce, options.output)
    if options.keys is None:
        options.limit = options.limit or _LIMIT
    elif options.limit is not None:
        raise UsageError(f"--limit {options.limit}: --keys says which images to take; give one of the two")
    given = images(options)
    if options.keys is not None:
        given = _at_keys(given, [part.strip() for part in options.keys.split(",")])
    loaded = networks(options, given.size, len(given.classes))
    for network in loaded:
        network.need_gradients("RIG", given.size)
        others = [
            other.name for other in loaded if other is not network and maps_file(other.name) == maps_file(network.name)
        ]
        if others:
            raise UsageError(
                f"the maps of {network.name!r} and of {others[0]!r} would both be {maps_file(network.name)}: "
                "give labels of letters and digits"
            )
    out = results.folder(options.out)
    maps = [explain(network, given, options.reduce, options.output, options.batch) for network in loaded]
    _write(given, loaded, maps, out, options)
    for one in maps:
        found = one.correlation[one.correlation == one.correlation]
        average = f"{found.mean():.2f} on average" if len(found) else "none"
        flat = f", flat maps of {len(given) - len(found)} left out" if len(found) < len(given) else ""
        print(f"{one.name}: {len(given)} images, correlation of RIG with plain gradients {average}{flat}")
    return 0


def _at_keys(given: "Images", keys: list[str]) -> "Images":
    import numpy as np

    missing = [key for key in keys if key not in given.keys]
    if missing:
        raise UsageError(f"--keys: there is no image {missing[0]!r}; the first is {given.keys[0]}")
    return given.at(np.array([given.keys.index(key) for key in keys]))


def _write(
    given: "Images", loaded: "Sequence[Network]", maps: "Sequence[Maps]", out: Path, options: argparse.Namespace
) -> None:
    import numpy as np

    from pipeline.study import results
    from pipeline.study.plots import rig as plots_rig
    from pipeline.study.plots import style as plots
    from pipeline.study.rig_maps import maps_file

    results.write_csv(out / "rig.csv", (row for one in maps for row in one.rows(given)))
    for one in maps:
        arrays = {"rig": one.rig, "vanilla": one.vanilla, "target": one.target, "keys": np.array(given.keys)}
        results.write_npz(out / maps_file(one.name), arrays)
    with plots.style():
        plots.save(plots_rig.figure(given, maps), out / "rig")
    results.write_json(out / "rig.json", results.settings(results.plain(options)) | {"images": given.origin})


def __getattr__(name: str) -> object:
    """``rig`` and ``vanilla``, which take torch: loaded when asked for, so that --help stays quick."""
    if name in ("rig", "vanilla"):
        from pipeline.study import rig_maps

        return getattr(rig_maps, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    console.leave(main())
