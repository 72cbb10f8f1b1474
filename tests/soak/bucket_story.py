"""A story on object storage: the API fails, or the build is killed at a request. The S3 server is moto's."""

import itertools
import os
import random
import signal
from collections import Counter
from pathlib import Path

from tests.faults.builds import Files, hashes
from tests.faults.forked import Forked
from tests.soak.sources import Source
from tests.soak.story import DONE, FAILED, REJECTS, check_one_line, errors, grown
from tests.trust.test_any_job import command, options
from tests.unit.storage.failing_wire import AFTER, BEFORE, FailingWire, Result
from tests.unit.storage.s3_server import S3Server
from tests.unit.storage.test_s3_faults import digests

BUCKET = "soak"
_numbers = itertools.count()


class Wire:
    """The S3 server, and the process whose forks build to it. A context manager."""

    def __enter__(self) -> "Wire":
        self.server = S3Server().__enter__()
        self.server.client.create_bucket(Bucket=BUCKET)
        os.environ |= self.server.environment
        self.builds: FailingWire = FailingWire().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.builds.__exit__(None, None, None)
        self.server.__exit__(None, None, None)


class BucketStory:
    """The story of a seed, as ``story.Story``, with one or two acts and without edits or damage."""

    def __init__(self, seed: int, folder: Path, wire: Wire) -> None:
        self._draw, self._wire = random.Random(seed), wire
        self._source = Source(self._draw, folder / "source")
        self._reference = folder / "reference"
        self._url = f"s3://{BUCKET}/{seed}/{next(_numbers)}"
        self.events: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Runs the story. Raises AssertionError where something does not hold."""
        job = self._source.options | options(self._draw, self._source.side)
        before: Files = {}
        for act in range(self._draw.randint(1, 2)):
            job = grown(self._draw, job, self._source.side) if act else job
            arguments = [str(word) for word in command(job)]
            whole = Forked(arguments, self._reference).end()
            self.events.append(f"build: {' '.join(arguments)}: {whole}")
            if whole.status not in (DONE, REJECTS):
                check_one_line(whole.err)
                return
            expected = hashes(self._reference)
            for _ in range(self._draw.randint(0, 3)):
                self._disturb(arguments, whole.status)
                self._check_files(before, expected)
            calm = self._build(arguments)
            assert calm.status == whole.status, calm
            assert digests(self._wire.server, self._url) == expected
            assert self._wire.server.uploads(self._url) == []
            before = expected

    def _disturb(self, arguments: list[str], calm: int) -> None:
        draw, server = self._draw, self._wire.server
        if draw.random() < 0.5:
            at, when = draw.randint(1, 60), draw.choice([BEFORE, AFTER])
            self._note(f"kill {when} request {at}", "kill at a request")
            run = self._build(arguments, at, when)
            assert run.status in (-signal.SIGKILL, calm), run
            return
        method, code = draw.choice(["PUT", "GET|HEAD", "POST", "DELETE", ".*"]), draw.choice([500, 503, 403])
        times, after = draw.choice([1, 2, 5, 1000]), draw.randint(0, 60)
        self._note(f"{method} answers {code}, {times} times after {after}", "API answers with an error")
        server.fail(method, ".*", code, "AccessDenied" if code == 403 else "SlowDown", times, after)
        run = self._build(arguments)
        server.reset()
        if run.status == FAILED:
            assert errors(run.err)[-1].startswith("error: "), run
        else:
            assert run.status == calm, run

    def _build(self, arguments: list[str], at: int = 0, when: str = BEFORE) -> Result:
        run: Result = self._wire.builds.build(*arguments, url=self._url, at=at, when=when)
        self.events.append(f"build: to S3: {run}")
        self.counts["build to S3"] += 1
        assert "Traceback" not in run.err, run
        return run

    def _check_files(self, before: Files, after: Files) -> None:
        """Checks that every object is an old or a new one; with a manifest, all are old or all are new."""
        actual = digests(self._wire.server, self._url)
        wrong = [name for name, digest in actual.items() if digest not in (before.get(name), after.get(name))]
        assert not wrong, f"{wrong} are neither old nor new"
        if "manifest.json" in actual:
            assert actual in (before, after)

    def _note(self, text: str, kind: str) -> None:
        self.events.append(text)
        self.counts[kind] += 1
