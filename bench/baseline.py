"""The baseline: one process, one SVD per image, Pillow's default PNG, webdataset's ShardWriter.

It does the whole job correctly: all ranks from one ``numpy.linalg.svd`` in float64, both components, all three channels. It
leaves out what this project adds: resuming, verification, reproducible bytes, more than one core.
"""

import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import webdataset as wds
from PIL import Image

from pipeline.numerics.geometry import Geometry
from pipeline.sources.index import Entry, Source


def build(
    source: Source, entries: Sequence[Entry], geometry: Geometry, ranks: tuple[int, ...], out: Path
) -> dict[str, float]:
    """Writes low and high parts of every entry at every rank. Returns seconds by stage (read, svd, encode, write)."""
    names = [f"{component}{rank}" for rank in ranks for component in ("rank", "highrank")]
    for name in names:
        (out / name).mkdir(parents=True)
    writers = {name: wds.ShardWriter(str(out / name / "%06d.tar"), maxcount=1250, verbose=0) for name in names}
    seconds = dict.fromkeys(("read", "svd", "encode", "write"), 0.0)
    for entry in entries:
        start = time.perf_counter()
        pixels = geometry.apply(source.decode(source.read(entry)).pixels)
        read = time.perf_counter()
        left, values, right = np.linalg.svd(pixels.astype(np.float64), full_matrices=False)
        cuts = {}
        for rank in ranks:
            rounded = np.rint((left[:, :, :rank] * values[:, None, :rank]) @ right[:, :rank])
            cuts[f"rank{rank}"] = np.clip(rounded, 0, 255).astype(np.uint8)
            cuts[f"highrank{rank}"] = np.clip(pixels - rounded + 128, 0, 255).astype(np.uint8)
        cut = time.perf_counter()
        files = {}
        for name, planes in cuts.items():
            buffer = io.BytesIO()
            Image.fromarray(planes.transpose(1, 2, 0)).save(buffer, "png")
            files[name] = buffer.getvalue()
        encoded = time.perf_counter()
        for name, file in files.items():
            writers[name].write({"__key__": f"{entry.index:08d}", "png": file, "cls": entry.label})
        written = time.perf_counter()
        times = (start, read, cut, encoded, written)
        for stage, begin, end in zip(seconds, times, times[1:], strict=False):
            seconds[stage] += end - begin
    for writer in writers.values():
        writer.close()
    return seconds
