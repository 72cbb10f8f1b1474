"""The optional packages: which extra of the installation brings each, and the one line for a missing one."""

import contextlib
import importlib.util
from collections.abc import Iterator

from pipeline.errors import PipelineError

# The extra of pyproject.toml that brings a module.
EXTRAS = {
    "torch": "train",
    "webdataset": "train",
    "jinja2": "report",
    "matplotlib": "report",
    "skimage": "report",
    "onnxruntime": "study",
    "pyautoattack": "study",
    "tensorboard": "study",
    "pyarrow": "parquet",
    "s3fs": "cloud",
    "gcsfs": "cloud",
    "huggingface_hub": "hub",
}


def install(module: str, extra: str | None = None) -> str:
    """Returns the line that says how to install a missing module, with ``extra`` or the module's own one."""
    return f"{module} is not installed: pip install 'rank-shards[{extra or EXTRAS[module]}]'"


def missing(error: ImportError) -> PipelineError | None:
    """Returns the error for a module of an extra that could not be found; None for any other failed import."""
    module = (error.name or "").partition(".")[0]
    absent = isinstance(error, ModuleNotFoundError) and module in EXTRAS
    return PipelineError(install(module)) if absent else None


def require(extra: str, *modules: str) -> None:
    """Checks, without importing them, that modules are installed. Raises PipelineError that advises to install ``extra``."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise PipelineError(install(module, extra))


@contextlib.contextmanager
def optional_import() -> Iterator[None]:
    """Gives a failed import in the block its one line: raises PipelineError if an extra brings the module."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(error) or error from None
