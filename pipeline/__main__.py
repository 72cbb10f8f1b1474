"""``rank-shards``, and ``python -m pipeline``: the commands as subcommands."""

import contextlib
import importlib
import os
import sys
from typing import NamedTuple, NoReturn

from pipeline import __version__, console, signals
from pipeline.errors import UsageError, nearest


class Command(NamedTuple):
    """A subcommand.

    Attributes:
        module: its module. ``main(arguments)`` runs the command and returns the exit status.
        purpose: one line for the list of commands.
    """

    module: str
    purpose: str


COMMANDS = {
    "build": Command("pipeline.build", "cut a dataset at the given ranks and write its shards"),
    "verify": Command("pipeline.verify", "check that an output is complete and correct"),
    "repair": Command("pipeline.repair", "rebuild the files that verify reports, and no others"),
    "report": Command("pipeline.report.__main__", "write pictures and plots of an output as one HTML file"),
    "show": Command("pipeline.show", "show your own pictures at several ranks"),
    "export": Command(
        "pipeline.export", "write images of an output in the layout of another tool, such as npy or parquet"
    ),
    "publish": Command("pipeline.publish.__main__", "upload an output to the Hugging Face Hub, and compare its hashes"),
    "submit": Command("pipeline.submit", "run a job file on its Ray cluster"),
    "study train": Command("pipeline.study.train", "train a network on one variant of an output"),
    "study spectrum": Command("pipeline.study.spectrum", "measure networks at every rank of their input"),
    "study benchmark": Command("pipeline.study.benchmark", "compare networks by their errors on distorted images"),
    "study attack": Command("pipeline.study.attack", "attack a network, and measure how truncated ranks defend it"),
    "study rig": Command("pipeline.study.rig", "compute the pixels that a prediction depends on, by rank"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a subcommand, or lists them. Returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    found = next((name for name in (" ".join(words[:2]), *words[:1]) if name in COMMANDS), None)
    if found is None:
        return console.run(lambda: _list(words), "stopped")
    command = importlib.import_module(COMMANDS[found].module)
    with console.as_subcommand():
        status: int = command.main(words[len(found.split()) :])
    return status


def _list(words: list[str]) -> int:
    """Prints the commands or the version. Raises UsageError for an unknown command."""
    if words == ["--version"]:
        print(f"rank-shards {__version__}")
        return 0
    if words and words[0] not in ("--help", "-h", "help"):
        raise UsageError(_unknown(words))
    print("usage: rank-shards COMMAND [options]\n\nCommands (rank-shards COMMAND --help shows the options of each):")
    for name, command in COMMANDS.items():
        print(f"  {name:15} {command.purpose}")
    print("\nrank-shards --version prints the version.")
    return 0


def _unknown(words: list[str]) -> str:
    """Returns what is wrong with words that name no command, with the nearest command."""
    groups = sorted({name.split()[0] for name in COMMANDS if " " in name})
    if words[0] in groups:
        members = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
        if len(words) == 1 or words[1].startswith("-"):
            return f"name the {words[0]}: {', '.join(members)}"
        return f"unknown {words[0]} {words[1]!r}{nearest(' '.join(words[:2]), members)}; see rank-shards --help"
    kind = "option" if words[0].startswith("-") else "command"
    hint = nearest(words[0], [*COMMANDS, "--help", "--version"])
    return f"unknown {kind} {words[0]!r}{hint}; see rank-shards --help"


def script() -> NoReturn:
    """Runs the console command ``rank-shards``.

    Python searches the folder of a script first, here the folder of all commands of the environment, where other packages
    put modules. It is not searched. The current folder is searched last, for the user's own networks.
    """
    folder = os.path.dirname(os.path.realpath(sys.argv[0]))
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == folder:
        del sys.path[0]
    with contextlib.suppress(OSError):  # the current folder was removed
        sys.path.append(os.getcwd())
    os.environ["PYTHONSAFEPATH"] = "1"  # for processes that commands start
    signals.leave(main())


if __name__ == "__main__":
    signals.leave(main())
