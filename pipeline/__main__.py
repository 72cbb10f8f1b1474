"""``python -m pipeline``: the commands."""

import sys

from pipeline import console
from pipeline.errors import UsageError

COMMANDS = {
    "build": "cut a dataset at the given ranks and write its shards",
    "verify": "prove that an output is complete and right",
    "repair": "make anew what verify has found wrong, and nothing else",
    "report": "pictures and plots of an output, as one HTML file",
    "show": "what the ranks of your own pictures look like",
    "export": "write one variant of an output as npy arrays or as a tree of PNG files",
    "study.train": "train a network on one variant of an output",
    "study.spectrum": "accuracy of a network over the rank of its input",
    "study.attack": "attack a network, and what truncating ranks is worth against it",
    "study.rig": "rank-integrated gradients: which pixels a prediction depends on",
}


def main() -> int:
    """List the commands. Returns the exit status."""
    if sys.argv[1:]:
        name = sys.argv[1] if sys.argv[1] in COMMANDS else "build"
        raise UsageError(f"nothing was done: commands are written with a dot, as in python -m pipeline.{name}")
    print("Commands; each explains itself with --help:")
    for name, what in COMMANDS.items():
        print(f"  python -m pipeline.{name:15} {what}")
    return 0


if __name__ == "__main__":
    console.leave(console.run(main, "stopped"))
