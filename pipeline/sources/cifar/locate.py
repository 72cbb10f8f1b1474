"""Where a CIFAR layout lies on this machine: as given, in an archive, in the cache, or on the authors' server."""

import os
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.cache import cache_folder
from pipeline.sources.cifar.manifest import CifarManifest, Layout
from pipeline.sources.download import Download, Report, fetch, stderr_report
from pipeline.sources.unpack import unpack


def locate(
    manifest: CifarManifest,
    data_dir: Path | None,
    *,
    cache: Path | None = None,
    base_url: str | None = None,
    download: bool = True,
    report: Report | None = None,
) -> tuple[Path, Layout]:
    """The folder that holds a layout's batch files, and that layout; the binary one where both are there.

    Args:
        data_dir: the folder of a layout, a folder that holds one, or a folder that holds an official archive (which
            is unpacked into the cache). None: the cache, into which the pickle archive is downloaded if need be.
        cache: instead of ``cache_folder``.
        base_url: downloads come from here instead of the authors' server.
        download, report: as in ``open_source``.

    Raises:
        PipelineError: nothing there, something missing, or no download.
    """
    cache = cache or cache_folder(manifest.dataset)
    place = cache if data_dir is None else Path(os.path.abspath(data_dir))  # workers have another current directory
    if data_dir is not None and not place.is_dir():
        what = "is a file" if place.exists() else "does not exist"
        raise PipelineError(f"{data_dir} {what}: --data-dir takes {_wanted(manifest)}")
    partial = None
    for layout in manifest.layouts:
        for folder in (place / layout.folder, place):
            there = [(folder / known.file).is_file() for known in layout.files]
            if all(there):
                return folder, layout
            if any(there):
                missing = layout.files[there.index(False)].file
                partial = partial or f"{folder} lacks {missing}: unpack the whole of {layout.archive.file} there again"
    for layout in manifest.layouts:
        if (place / layout.archive.file).is_file():
            return unpack(place / layout.archive.file, layout, cache), layout
    if partial:
        raise PipelineError(partial)
    if data_dir is not None:
        raise PipelineError(f"{data_dir} holds no {manifest.title}: --data-dir takes {_wanted(manifest)}")
    if not download:
        archive = manifest.layout("python").archive
        raise PipelineError(
            f"{manifest.title} is not here, and --dry-run downloads nothing: give --data-dir, or build, "
            f"which fetches {archive.bytes / 1e6:,.0f} MB once"
        )
    return _download(manifest.layout("python"), cache, base_url, report)


def _download(layout: Layout, cache: Path, base_url: str | None, report: Report | None) -> tuple[Path, Layout]:
    archive = layout.archive
    url = f"{base_url.rstrip('/')}/{archive.file}" if base_url else archive.url
    download = Download(url, archive.bytes, archive.md5)
    fetch(download, cache / archive.file, report or stderr_report(archive.file))
    return unpack(cache / archive.file, layout, cache), layout


def _wanted(manifest: CifarManifest) -> str:
    folders = " or ".join(f"{layout.folder}/" for layout in manifest.layouts)
    archives = " or ".join(layout.archive.file for layout in manifest.layouts)
    return f"the folder that holds {folders}, or {archives}"
