"""Finds a CIFAR layout: in the data directory, in an archive, in the cache, or on the authors' server."""

import os
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.cache import cache_folder
from pipeline.sources.cifar.manifest import CifarManifest, Layout
from pipeline.sources.cifar.unpack import unpack
from pipeline.sources.download import Download, Report, fetch, stderr_report


def locate(
    manifest: CifarManifest,
    data_dir: Path | None,
    *,
    cache: Path | None = None,
    base_url: str | None = None,
    download: bool | Report = True,
) -> tuple[Path, Layout]:
    """Returns the folder with a layout's batch files, and that layout: the binary one if both are there.

    Args:
        data_dir: the folder of a layout, a folder that holds one, or a folder that holds an official archive (which
            is unpacked into the cache). None: the cache, into which the pickle archive is downloaded if necessary.
        cache: the folder to use instead of ``cache_folder``.
        base_url: the server to use instead of the authors'.
        download: as in ``open_source``.

    Raises:
        PipelineError: there is no layout, it is incomplete, or the download failed.
    """
    # Absolute, since workers have another current directory.
    root = Path(os.path.abspath(data_dir)) if data_dir is not None else cache or cache_folder(manifest.dataset)
    if data_dir is not None and not root.is_dir():
        fault = "is a file" if root.exists() else "does not exist"
        raise PipelineError(f"{data_dir} {fault}: --data-dir takes {_usage(manifest)}")
    partial = None
    for layout in manifest.layouts:
        for folder in (root / layout.folder, root):
            present = [(folder / batch.file).is_file() for batch in layout.files]
            if all(present):
                return folder, layout
            if any(present):
                missing = layout.files[present.index(False)].file
                partial = partial or f"{folder} lacks {missing}: unpack the whole of {layout.archive.file} there again"
    for layout in manifest.layouts:
        if (root / layout.archive.file).is_file():
            return unpack(root / layout.archive.file, layout, cache or cache_folder(manifest.dataset)), layout
    if partial:
        raise PipelineError(partial)
    if data_dir is not None:
        raise PipelineError(f"{data_dir} holds no {manifest.title}: --data-dir takes {_usage(manifest)}")
    if not download:
        archive = manifest.layout("python").archive
        raise PipelineError(
            f"{manifest.title} is not here, and --dry-run downloads nothing: give --data-dir, or build, "
            f"which fetches {archive.bytes / 1e6:,.0f} MB once"
        )
    return _download(manifest.layout("python"), root, base_url, None if download is True else download)


def _download(layout: Layout, cache: Path, base_url: str | None, report: Report | None) -> tuple[Path, Layout]:
    archive = layout.archive
    url = f"{base_url.rstrip('/')}/{archive.file}" if base_url else archive.url
    download = Download(url, archive.bytes, archive.md5)
    fetch(download, cache / archive.file, report or stderr_report(archive.file))
    return unpack(cache / archive.file, layout, cache), layout


def _usage(manifest: CifarManifest) -> str:
    folders = " or ".join(f"{layout.folder}/" for layout in manifest.layouts)
    archives = " or ".join(layout.archive.file for layout in manifest.layouts)
    return f"the folder that holds {folders}, or {archives}"
