"""Images that harm or delay the process that decodes them, in every process of a build."""

from collections.abc import Callable
from pathlib import Path

import pytest

# Python runs it at its start, in drivers, workers and whatever they start. An image acts by what follows its last byte.
_HOOK = """
import ctypes, importlib.abc, importlib.util, os, signal, sys, time

def act(raw):
    if b"SEGFAULT" in raw:
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"EXIT" in raw:
        os._exit(7)
    if b"MEMORY" in raw:
        raise MemoryError
    if b"STUCK" in raw or b"DEAF" in raw:
        while not os.path.exists({release!r}):
            if b"DEAF" in raw:
                ctypes.PyDLL(None).sleep(20)  # PyDLL keeps the interpreter to itself
            else:
                time.sleep(0.05)

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "pipeline.sources.images":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            decode = module.decode_image
            module.decode_image = lambda raw: act(raw) or decode(raw)

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Hook())
"""


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs the hook. Stuck images continue when the returned file exists."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK.format(release=str(tmp_path / "release")))
    monkeypatch.setenv("PYTHONPATH", str(hook))
    return tmp_path / "release"


@pytest.fixture
def trapped(pictures: Callable[..., Path], release: Path) -> Callable[..., Path]:
    """Writes a folder of two classes with ``each`` small images, those in ``deeds`` with an effect. Returns the folder."""

    def make(each: int = 8, **deeds: str) -> Path:
        folder = pictures(each=each)
        for name, deed in deeds.items():
            path = folder / name[0] / f"{name[1:]}.png"
            path.write_bytes(path.read_bytes() + deed.encode())
        return folder

    return make
