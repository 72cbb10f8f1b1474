"""The same job by Ray Data, as a user would write it: images in, one SVD each, WebDataset shards out.

``python -m bench.ray_data FOLDER RANKS OUT WORKERS`` prints seconds as JSON: of Ray's start, and of the job.
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.execution import run
from pipeline.planning.job import Job

Columns = dict[str, Any]


def png_folder(job: Job, out: Path) -> Path:
    """Writes the images of a job's first split as ``<label>/<key>.png``, which Ray Data can read."""
    source, plan = run.plan_job(job)
    for shard in plan.shards:
        for entry in plan.entries(shard):
            pixels = plan.content.geometry.apply(source.decode(source.read(entry)).pixels)
            path = out / f"{entry.label}" / f"{entry.index:08d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return out


def seconds(folder: Path, ranks: str, out: Path, workers: int) -> dict[str, float]:
    """Runs the job in a process of its own. Returns the seconds of ``start`` and ``job``."""
    arguments = [str(folder), ranks, str(out), str(workers)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "bench.ray_data", *arguments],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def cut_batch(batch: Columns, ranks: tuple[int, ...]) -> Columns:
    """Returns the files of a batch: low and high parts at every rank, key and label."""
    pixels = batch["image"].transpose(0, 3, 1, 2)
    left, values, right = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
    files: Columns = {
        "__key__": np.array([Path(path).stem for path in batch["path"]]),
        "cls": np.array([int(Path(path).parent.name) for path in batch["path"]]),
    }
    for rank in ranks:
        rounded = np.rint((left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :])
        files[f"rank{rank}.png"] = np.clip(rounded, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        files[f"highrank{rank}.png"] = np.clip(pixels - rounded + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return files


def _main(folder: str, ranks: str, out: str, workers: str) -> None:
    import ray

    start = time.perf_counter()
    ray.init(num_cpus=int(workers), include_dashboard=False, object_store_memory=600 << 20, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ready = time.perf_counter()
    images = ray.data.read_images(folder, include_paths=True, mode="RGB")
    cuts = tuple(int(rank) for rank in ranks.split(","))
    images.map_batches(partial(cut_batch, ranks=cuts), batch_size=64).write_webdataset(out)
    done = time.perf_counter()
    ray.shutdown()
    print(json.dumps({"start": ready - start, "job": done - ready}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
