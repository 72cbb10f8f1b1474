"""``python -m tests.fuzz PARSER... --minutes 10``: coverage-guided fuzzing of parsers, one after the other, with atheris.

Every parser runs in a process of its own, in which mainly ``pipeline`` is instrumented. If an input kills the process, the
next one starts, until the minutes are over. Inputs that break a bound, or end in an error that is not allowed, are written
to ``--findings``, one for each place in the code. The command ends with a table. Its status is 1 if there are findings.
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
    """Counts of one parser: inputs tried, inputs that reached new code, and its findings."""

    executions: int
    covering: int
    findings: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parser", nargs="*", metavar="PARSER", help=f"of {', '.join(harness.names())} (default: all)")
    parser.add_argument("--minutes", type=float, default=10, help="for each parser (default 10)")
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="default out/fuzz")
    options = parser.parse_args()
    if unknown := sorted(set(options.parser) - set(harness.names())):
        parser.error(f"no parser is called {unknown[0]!r}; there are {', '.join(harness.names())}")
    print("| parser | inputs tried | reached new code | crashes |\n|---|---|---|---|", flush=True)
    findings: list[str] = []
    for name in options.parser or harness.names():
        figures = fuzz(name, 60 * options.minutes, options.findings / name)
        print(f"| {name} | {figures.executions:,} | {figures.covering:,} | {len(figures.findings)} |", flush=True)
        findings += figures.findings
    print("\n".join(["", *findings]))
    return 1 if findings else 0


def fuzz(name: str, seconds: float, findings: Path) -> Figures:
    """Fuzzes one parser for ``seconds``."""
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
                output = log.read()
            executions += _last(r"stat::number_of_executed_units:\s+(\d+)", output) or _last(r"^#(\d+)\s", output)
            covering += _last(r"stat::new_units_added:\s+(\d+)", output)
            if status:
                (findings / f"ended-{status}-{int(left)}.txt").write_text(output[-10_000:])
    reports = [path for path in findings.glob("*.txt") if path.name != "log.txt" and path.stat().st_mtime >= begun]
    return Figures(executions, covering, sorted(map(str, reports)))


def _last(pattern: str, text: str) -> int:
    numbers = re.findall(pattern, text, re.MULTILINE)
    return int(numbers[-1]) if numbers else 0


if __name__ == "__main__":
    sys.exit(main())
