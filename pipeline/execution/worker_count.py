"""How many workers a build starts on this machine, when ``--workers`` does not say."""

from collections.abc import Iterable

from pipeline.cores import usable_cores
from pipeline.planning.job import Job
from pipeline.planning.output_spec import Content
from pipeline.planning.shard_task import ShardTask

# Pixels to write below which a build needs no workers: about as many as one core writes while Ray starts and stops.
# Measured: 30 to 80 ns for each pixel of each variant, and 3 to 5 s for Ray.
SMALL = 100_000_000


def worker_count(job: Job, shards: int, pixels: int) -> int:
    """Returns the number of workers; 0: this process builds, without Ray.

    Args:
        shards: the number of shards to build.
        pixels: the pixels to write, by ``pixels_to_write``.
    """
    if job.workers is not None:
        return min(shards, job.workers)
    return 0 if pixels < SMALL and not job.address else min(shards, usable_cores())


def pixels_to_write(content: Content, shards: Iterable[tuple[int, int]]) -> int:
    """Returns about how many pixels a build writes: images times pixels of an image times variants.

    Args:
        shards: of each shard to build, the number of images, and of variants that it lacks.
    """
    height, width = content.shape or (content.side, content.side)
    return sum(images * height * width * max(variants, 1) for images, variants in shards)


def pixels_of(content: Content, tasks: Iterable[ShardTask]) -> int:
    """Returns ``pixels_to_write`` of tasks."""
    return pixels_to_write(content, ((len(task.entries), len(task.tars)) for task in tasks))
