"""Plays the stories of seeds, each in a folder in memory.

``python -m tests.soak.play`` is a server for tests: pytest captures what its own forks write to stderr.
"""

import contextlib
import random
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.faults.builds import MEMORY
from tests.faults.forked import Server, serve, warm_up
from tests.faults.mutants import MUTANTS
from tests.soak.bucket_story import BucketStory, Wire
from tests.soak.story import Story

_ON_S3 = 0.1  # share of the stories


class Played(NamedTuple):
    """What happened in a story, counts of it, and the traceback of what did not hold, if anything."""

    events: list[str]
    counts: Counter[str]
    failure: str


class Player:
    """Plays stories. A context manager: the S3 server starts with the first story that needs it."""

    def __enter__(self) -> "Player":
        warm_up()
        self._stack = contextlib.ExitStack()
        self._wire: Wire | None = None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def play(self, seed: int) -> Played:
        """Returns what happened in the story of a seed."""
        with tempfile.TemporaryDirectory(prefix="soak-", dir=MEMORY) as folder:
            story = self._story(seed, Path(folder))
            failure = ""
            try:
                story.run()
            except Exception:
                failure = traceback.format_exc()
            return Played(story.events, story.counts, failure)

    def _story(self, seed: int, folder: Path) -> Story | BucketStory:
        if random.Random(f"where {seed}").random() >= _ON_S3:
            return Story(seed, folder)
        self._wire = self._wire or self._stack.enter_context(Wire())
        return BucketStory(seed, folder, self._wire)


class PlayerServer(Server):
    """The server, as a context manager, and its client."""

    def __init__(self) -> None:
        super().__init__("tests.soak.play")

    def play(self, seed: int, mutant: str = "") -> Played:
        """Returns what happened in the story of a seed. From then on the program is the mutant."""
        return Played(*self.ask(seed=seed, mutant=mutant))


if __name__ == "__main__":
    with Player() as player:

        def answer(seed: int, mutant: str) -> Played:
            MUTANTS[mutant]()
            return player.play(seed)

        serve(answer)
