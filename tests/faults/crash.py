"""A model of a disk: what a power failure may leave of a sequence of operations if the file system guarantees only POSIX.

- The content of a file is safe after the file was synced. Before that it may be old, new or partly new. Its length may be
  new while its content is not (zeros: ext4 and XFS with delayed allocation).
- A name in a folder (made, replaced or removed) is safe after the folder was synced; syncing the file is not enough. Before
  that each name may be as it was, or as any later operation left it, independent of other names. A rename between two
  folders is two such changes.
"""

import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.faults.operations import CREATE, FSYNC, MKDIR, RENAME, RMDIR, TRUNCATE, UNLINK, WRITE, Operation

LOST, KEPT, MIXED = "all unsynced lost", "all unsynced kept", "unsynced at random"
Tree = dict[str, bytes | None]  # content by name; None for a folder


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.sure, self.now = content, content

    def sync(self) -> None:
        self.sure = self.now

    def write(self, at: int, data: bytes) -> None:
        self.now = self.now[:at].ljust(at, b"\0") + data + self.now[at + len(data) :]

    def after(self, how: str, chance: random.Random) -> bytes:
        if how != MIXED or self.sure == self.now:
            return self.sure if how == LOST else self.now
        cut = chance.randrange(len(self.now) + 1)
        torn = self.now[:cut]
        return chance.choice((self.sure, self.now, torn, torn.ljust(len(self.now), b"\0")))


class _Folder:
    def __init__(self) -> None:
        self.sure: dict[str, _File | _Folder] = {}
        self.now: dict[str, _File | _Folder] = {}
        self._changes: dict[str, list[_File | _Folder | None]] = defaultdict(list)  # by name, since the last sync

    def change(self, name: str, node: "_File | _Folder | None") -> None:
        if node is None:
            del self.now[name]
        else:
            self.now[name] = node
        self._changes[name].append(node)

    def sync(self) -> None:
        self.sure = dict(self.now)
        self._changes.clear()

    def after(self, how: str, chance: random.Random) -> Iterator[tuple[str, "_File | _Folder"]]:
        for name in sorted(self.sure.keys() | self._changes):
            states = [self.sure.get(name), *self._changes.get(name, ())]
            node = states[0] if how == LOST else states[-1] if how == KEPT else chance.choice(states)
            if node is not None:
                yield name, node


class FileSystem:
    """A folder, all of it safe at the beginning, and the operations on it.

    Args:
        initial: the folder; it is only read.
        root: the folder in which the operations happen.
    """

    def __init__(self, initial: Path, root: Path) -> None:
        self._root, self._top = root, _Folder()
        for name, content in read_tree(initial).items():
            self._parent(name).change(os.path.basename(name), _Folder() if content is None else _File(content))
        for folder in self._folders(self._top):
            folder.sync()

    def do(self, operation: Operation) -> None:
        path = os.path.relpath(operation.path, self._root)
        folder, name = self._parent(path), os.path.basename(path)
        if operation.kind in (CREATE, TRUNCATE):
            node = folder.now.get(name)
            if isinstance(node, _File):
                node.now = b""
            else:
                folder.change(name, _File())
        elif operation.kind == WRITE:
            node = folder.now[name]
            assert isinstance(node, _File)
            node.write(operation.at, operation.data)
        elif operation.kind == FSYNC:
            (self._top if path == "." else folder.now[name]).sync()
        elif operation.kind == RENAME:
            target = os.path.relpath(operation.to, self._root)
            self._parent(target).change(os.path.basename(target), folder.now[name])
            folder.change(name, None)
        else:
            folder.change(name, {MKDIR: _Folder(), UNLINK: None, RMDIR: None}[operation.kind])

    def after(self, how: str, chance: random.Random) -> Tree:
        """Returns a state that the next start may see. The model itself does not change."""
        contents: dict[int, bytes] = {}  # a file with two names has one content

        def walk(folder: _Folder, start: str) -> Iterator[tuple[str, bytes | None]]:
            for name, node in folder.after(how, chance):
                if isinstance(node, _File):
                    yield start + name, contents.setdefault(id(node), node.after(how, chance))
                else:
                    yield start + name, None
                    yield from walk(node, f"{start}{name}/")

        return dict(walk(self._top, ""))

    def _parent(self, path: str) -> _Folder:
        folder = self._top
        for part in path.split("/")[:-1]:
            node = folder.now[part]
            assert isinstance(node, _Folder)
            folder = node
        return folder

    def _folders(self, top: _Folder) -> Iterator[_Folder]:
        yield top
        for node in top.now.values():
            if isinstance(node, _Folder):
                yield from self._folders(node)


def read_tree(root: Path) -> Tree:
    """Returns all files and folders below a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def write_tree(tree: Mapping[str, bytes | None], root: Path) -> None:
    """Writes a tree to a new folder."""
    root.mkdir()
    for name, content in tree.items():
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)
