"""``python -m tests.soak``: random stories until the time is over. Each is replayed by its seed.

The first line names the seed of the first story; the next story has the next seed. A story that fails prints all that
happened in it, and the command that replays it.
"""

import random
import sys
import time
from collections import Counter

from pipeline.console import Parser, run, whole
from tests.soak.play import Player


def main() -> int:
    parser = Parser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=whole("--minutes"), default=10)
    parser.add_argument("--seed", type=whole("--seed", 0), help="of the first story (default: a random one)")
    parser.add_argument("--stories", type=whole("--stories"), help="at most so many (default: until the time is over)")
    options = parser.parse(None)
    first = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    print(f"seed {first}", flush=True)
    start, counts, failed = time.monotonic(), Counter[str](), list[int]()
    seed = first
    with Player() as player:
        while time.monotonic() - start < 60 * options.minutes and seed - first != options.stories:
            story = player.play(seed)
            counts += story.counts
            if story.failure:
                failed.append(seed)
                print(f"\nstory {seed} failed:\n" + "\n".join(story.events) + f"\n{story.failure}", flush=True)
                print(f"replay it: python -m tests.soak --seed {seed} --stories 1", flush=True)
            seed += 1
    print(f"\n{seed - first} stories in {time.monotonic() - start:.0f} s, {len(failed)} failed {failed or ''}")
    for name, count in sorted(counts.items()):
        print(f"{count:7} {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run(main, "stopped"))
