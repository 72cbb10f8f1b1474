"""Finds arrays in a folder, in its folders of splits, or in an .npz archive."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources.arrays.layout import Layout, find_layout, joined
from pipeline.sources.arrays.npy import Array, open_array
from pipeline.sources.arrays.npz import open_npz
from pipeline.sources.class_list import CLASSNAMES, ClassList, read_class_list
from pipeline.sources.splits import folders_by_split, split_in
from pipeline.sources.tree import folders_beside, images_beside, list_folders, list_names

_CLASSES = ("classes.txt", CLASSNAMES)  # the first is what pipeline.export writes
_ADVICE = "--data-dir takes the folder that holds the arrays (.npy, .npz), or an .npz file"


def open_folder(data_dir: Path) -> tuple[Path, Layout, ClassList | None]:
    """Returns the folder of the arrays' files, their splits, and the class names.

    The arrays are directly in the folder, or in its only folder with arrays, or in one folder per split. Class names are
    in ``classes.txt`` or ``classnames.txt`` beside the arrays.

    Args:
        data_dir: a folder, or an .npz file.

    Raises:
        PipelineError: there are no arrays, or it is not clear what they are.
    """
    if data_dir.is_file() and data_dir.suffix == ".npz":
        return _of_npz(data_dir)
    if not data_dir.is_dir():
        fault = "is no .npz file" if data_dir.exists() else "does not exist"
        raise PipelineError(f"{data_dir} {fault}: {_ADVICE}")
    below = {name: data_dir / name for name in list_folders(str(data_dir)).names if _names(data_dir / name)}
    if _names(data_dir):
        folder, layout, classes = _of_folder(data_dir)
        beside = (*folders_beside([*below][:5], "arrays"), *images_beside(list_names(data_dir), "arrays"))
        return folder, layout._replace(left_out=(*layout.left_out, *beside)), classes
    if not below:
        raise PipelineError(f"{data_dir} holds no arrays: {_ADVICE}")
    if all(split_in(name) for name in below):
        return _of_splits(data_dir, below)
    if len(below) == 1:
        return _of_folder(*below.values())
    raise PipelineError(
        f"{data_dir} holds no arrays, but its folders {', '.join([*below][:5])} do: give one of them as --data-dir"
    )


def _names(folder: Path) -> list[str]:
    """Returns the names of the arrays and archives in a folder, bytewise sorted. Raises PipelineError."""
    return [name for name in list_names(folder) if name.endswith((".npy", ".npz")) and name[0] != "."]


def _of_folder(folder: Path) -> tuple[Path, Layout, ClassList | None]:
    names = _names(folder)
    archives = [name for name in names if name.endswith(".npz")]
    files = [name for name in names if name.endswith(".npy")]
    if archives and (files or len(archives) > 1):
        raise PipelineError(
            f"{folder} holds {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}: give the .npz file that is meant as "
            "--data-dir, or move it elsewhere"
        )
    if archives:
        return _of_npz(folder / archives[0])
    return folder, find_layout(str(folder), _arrays(folder, files)), _classes(folder)


def _arrays(folder: Path, files: list[str]) -> dict[str, Array]:
    return {name[:-4]: open_array(folder / name, str(folder / name)) for name in files}


def _of_npz(path: Path) -> tuple[Path, Layout, ClassList | None]:
    arrays = open_npz(path)
    roots = {array.path.parent for array in arrays.values()} or {path.parent}
    return roots.pop(), find_layout(str(path), arrays), _classes(path.parent)


def _of_splits(root: Path, below: dict[str, Path]) -> tuple[Path, Layout, ClassList | None]:
    folders = folders_by_split(root, {name: split_in(name) or "" for name in below})
    layouts = [(split, _layout_of(below[name])) for split, name in folders.items()]
    classes = [_classes(folder) for folder in (root, *(below[name] for name in folders.values()))]
    named = [names for names in classes if names]
    for names in named:
        if names.names != named[0].names:
            raise PipelineError(f"{named[0].origin} and {names.origin} name different classes")
    return root, joined(layouts), named[0] if named else None


def _layout_of(folder: Path) -> Layout:
    names = _names(folder)
    if archives := [name for name in names if name.endswith(".npz")]:
        raise PipelineError(
            f"{folder / archives[0]}: give an .npz archive itself as --data-dir, it holds all its splits"
        )
    return find_layout(str(folder), _arrays(folder, names))


def _classes(folder: Path) -> ClassList | None:
    for name in _CLASSES:
        if (folder / name).is_file():
            return read_class_list(folder / name)
    return None
