"""``python -m pipeline``: lists the commands."""

import sys

from pipeline import console
from pipeline.errors import UsageError

COMMANDS = {
    "build": "cut a dataset at the given ranks and write its shards",
    "verify": "check that an output is complete and correct",
    "repair": "rebuild the files that verify reports, and no others",
    "report": "write pictures and plots of an output as one HTML file",
    "show": "show your own pictures at several ranks",
    "export": "write one variant of an output as npy arrays or as a tree of PNG files",
    "study.train": "train a network on one variant of an output",
    "study.spectrum": "measure the accuracy of networks at every rank of their input",
    "study.attack": "attack a network, and measure how well truncated ranks defend it",
    "study.rig": "compute rank-integrated gradients: the pixels that a prediction depends on",
}


def main() -> int:
    """Lists the commands. Returns the exit status."""
    if sys.argv[1:]:
        name = sys.argv[1] if sys.argv[1] in COMMANDS else "build"
        raise UsageError(f"nothing was done: write commands with a dot, as in python -m pipeline.{name}")
    print("Commands (--help shows the options of each):")
    for name, purpose in COMMANDS.items():
        print(f"  python -m pipeline.{name:15} {purpose}")
    return 0


if __name__ == "__main__":
    console.leave(console.run(main, "stopped"))
