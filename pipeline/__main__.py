"""``python -m pipeline``: the commands."""

from importlib.util import find_spec

COMMANDS = {
    "build": "cut a dataset at the given ranks and write its shards",
    "verify": "prove that an output is complete and right",
    "report": "pictures and plots of an output, as one HTML file",
    "show": "what the ranks of your own pictures look like",
    "export": "write one variant of an output as npy arrays or as a tree of PNG files",
    "study.train": "train a network on one variant of an output",
    "study.spectrum": "accuracy of a network over the rank of its input",
    "study.attack": "attack a network, and look at what the attack does to ranks",
    "study.rig": "rank-integrated gradients: which pixels a prediction depends on",
}


def available() -> dict[str, str]:
    """The commands that this installation has; studies are a part of their own."""
    has_studies = find_spec("pipeline.study") is not None
    return {
        name: what
        for name, what in COMMANDS.items()
        if "." not in name or (has_studies and find_spec(f"pipeline.{name}") is not None)
    }


if __name__ == "__main__":
    print("Commands; each explains itself with --help:")
    for command, what in available().items():
        print(f"  python -m pipeline.{command:15} {what}")
