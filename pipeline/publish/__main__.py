"""``python -m pipeline.publish OUT ORG/NAME``: uploads an output to the Hugging Face Hub."""

import argparse
import datetime
import re
import sys
from typing import Any

from pipeline import console, signals
from pipeline.console import Parser
from pipeline.errors import PipelineError, UsageError, one_line
from pipeline.storage.location import local_output


def _parser() -> Parser:
    parser = Parser(
        prog="python -m pipeline.publish",
        description="Upload a finished output to the Hugging Face Hub as a dataset: verify its files, upload them without "
        ".build/, and compare the hashes that the Hub reports with manifest.json. croissant.json gets the date and the "
        "addresses. The token is that of HF_TOKEN or of 'hf auth login'.",
        epilog="The same command continues an interrupted upload. Exit status: 0 published; 1 failed; 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("out", metavar="OUT", type=local_output("publish"), help="the output's folder")
    parser.add_argument(
        "repository", metavar="ORG/NAME", type=_repository, help="the dataset on the Hub; it is created"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be uploaded, without any network")
    parser.add_argument("--private", action="store_true", help="create the dataset as private")
    parser.add_argument("--revision", metavar="NAME", type=_revision, default="main", help="branch (default main)")
    parser.add_argument(
        "--date", metavar="DATE", type=_date, help="datePublished, such as 2026-12-31 (default: today, or as published)"
    )
    parser.add_argument(
        "--i-have-the-right-to-share",
        action="store_true",
        help="for images whose terms this program does not know: you may give them to others",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    return parser


def _repository(text: str) -> str:
    """Returns the name of a repository, by the rules of the Hub."""
    owner, slash, name = text.partition("/")
    if not slash or not owner or not name or "/" in name:
        raise UsageError(f"ORG/NAME: {text!r} is not an owner and a name, such as my-lab/cifar10-ranks")
    for part in (owner, name):
        word = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
        if not re.fullmatch(word, part) or "--" in part or ".." in part or part.endswith(".git"):
            raise UsageError(
                f"ORG/NAME: {part!r} must be up to 96 letters, digits, '-', '_' or '.', without '--', '..' or '.git' at the "
                "end, and begin and end with a letter, digit or '_'"
            )
    return text


def _revision(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", text) or ".." in text:
        raise UsageError(f"--revision: {text!r} is no name of a branch; use letters, digits, '-', '_' and '.'")
    return text


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"--date: {text!r} is no date such as 2026-12-31") from None


def main(arguments: list[str] | None = None) -> int:
    """Runs the command. Returns the exit status."""
    with signals.raising():
        return console.run(
            lambda: _main(_parser().parse(arguments)), "stopped; what is uploaded stays, and the same command continues"
        )


def _main(options: argparse.Namespace) -> int:
    from pipeline.publish import local, terms
    from pipeline.verification.manifest import document

    manifest = document.read_raw(options.out)
    local.check_quickly(options.out)
    terms.check(manifest, options.i_have_the_right_to_share)
    if options.dry_run:
        print(_plan(options, manifest))
        return 0
    return _publish(options, manifest)


def _plan(options: argparse.Namespace, manifest: dict[str, Any]) -> str:
    """Returns what would be uploaded, by folder."""
    from pipeline.planning.manifest import NAME
    from pipeline.publish.copy import groups

    lines = [f"would publish {options.out} as the dataset {options.repository}, revision {options.revision}:"]
    sizes = {name: claim["bytes"] for name, claim in manifest["files"].items()}
    for folder, names in groups(sizes).items():
        total = sum(sizes[name] for name in names)
        lines.append(f"  {folder or 'files at the root'}: {len(names):,} files, {total:,} bytes")
        lines += [] if folder else [f"    {name}" for name in [*names, NAME]]
    lines.append(
        f"  in all {len(sizes) + 1:,} files, {sum(sizes.values()):,} bytes and manifest.json; nothing was uploaded"
    )
    return "\n".join(one_line(line) for line in lines)


def _publish(options: argparse.Namespace, manifest: dict[str, Any]) -> int:
    from pipeline.planning.manifest import NAME
    from pipeline.publish import local
    from pipeline.publish.copy import Copy, groups
    from pipeline.publish.hub import Hub

    hub = Hub(options.repository, options.revision)
    hub.log_in()
    terminal = sys.stderr.isatty() and not options.quiet

    def say(text: str) -> None:
        if not options.quiet:
            console.tell(one_line(text))

    say(f"reading {len(manifest['files']):,} files to compare them with manifest.json")
    local.check_hashes(options.out)
    hub.create(options.private)
    hub.check_foreign_files(manifest)
    held = hub.manifest()
    date = options.date or hub.date_of(manifest, held) or datetime.datetime.now(datetime.UTC).date().isoformat()
    copy = Copy.of(options.out, manifest, hub.publication(date))
    if held is not None and held != copy.read(NAME):
        hub.retract()
    for folder, names in groups(copy.files).items():
        say(f"uploading {folder or 'the files at the root'}: {len(names):,} files")
        hub.upload(copy, folder, names, progress=terminal)
    wrong = hub.compare(copy)
    if wrong:
        raise PipelineError(
            f"the Hub reports other content than {options.out} for {wrong[0]} ({len(wrong)} such files); run the same "
            "command again, or delete these files on the Hub first"
        )
    if not options.quiet:
        size = sum(file.size for file in copy.files.values())
        print(
            f"published {hub.page}\n  {len(copy.files):,} files, {size:,} bytes: the Hub reports the hashes of manifest.json"
        )
    return 0


if __name__ == "__main__":
    signals.leave(main())
