"""``python -m tests.fuzz PARSER... --minutes 10``: coverage-guided fuzzing of parsers, one after the other, with atheris.

Every parser runs in a process of its own, instrumented in ``pipeline`` and little else; one that an input kills is followed
by another until the minutes are over. Inputs that break a bound or end in another error than is allowed are written to
``--findings``, one for each place in the code. Ends with a table; the status is 1 where something was found.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz import harness


class Figures(NamedTuple):
    """Of one parser: inputs tried, inputs that reached new code, and what was found."""

    executions: int
    covering: int
    findings: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parser", nargs="*", metavar="PARSER", help=f"of {', '.join(harness.names())} (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="for each parser (default 10)")
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="default out/fuzz")
    given = parser.parse_args()
    if unknown := sorted(set(given.parser) - set(harness.names())):
        parser.error(f"no parser is called {unknown[0]!r}; there are {', '.join(harness.names())}")
    print("| parser | inputs tried | reached new code | crashes |\n|---|---|---|---|", flush=True)
    found = []
    for name in given.parser or harness.names():
        figures = fuzz(name, 60 * given.minutes, given.findings / name)
        print(f"| {name} | {figures.executions:,} | {figures.covering:,} | {len(figures.findings)} |", flush=True)
        found += figures.findings
    print("\n".join(["", *found]))
    return 1 if found else 0


def fuzz(name: str, seconds: float, findings: Path) -> Figures:
    """Fuzz one parser for so long."""
    findings.mkdir(parents=True, exist_ok=True)
    executions = covering = 0
    begun, end = time.time(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(harness.inputs(name, harness.load(name))):
            Path(corpus, f"seed-{number}").write_bytes(data)
        while (left := end - time.monotonic()) > 1:
            command = [sys.executable, "-m", "tests.fuzz.target", name, corpus, str(findings), str(int(left))]
            with open(findings / "log.txt", "w+", errors="replace") as log:
                status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
                log.seek(0)
                told = log.read()
            executions += _last(r"stat::number_of_executed_units:\s+(\d+)", told) or _last(r"^#(\d+)\s", told)
            covering += _last(r"stat::new_units_added:\s+(\d+)", told)
            if status:
                (findings / f"ended-{status}-{int(left)}.txt").write_text(told[-10_000:])
    told_of = [path for path in findings.glob("*.txt") if path.name != "log.txt" and path.stat().st_mtime >= begun]
    return Figures(executions, covering, sorted(map(str, told_of)))


def _last(pattern: str, text: str) -> int:
    numbers = re.findall(pattern, text, re.MULTILINE)
    return int(numbers[-1]) if numbers else 0


if __name__ == "__main__":
    sys.exit(main())
