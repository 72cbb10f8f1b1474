"""Names of what operating systems, archivers, file systems and cloud drives leave behind: never part of a dataset."""

_NAMES = frozenset(
    name.casefold()
    for name in (
        # macOS
        "__MACOSX",
        ".DS_Store",
        ".AppleDB",
        ".AppleDesktop",
        ".AppleDouble",
        ".DocumentRevisions-V100",
        ".Spotlight-V100",
        ".TemporaryItems",
        ".Trashes",
        ".fseventsd",
        ".localized",
        "Icon\r",
        "Network Trash Folder",
        "Temporary Items",
        # Windows
        "$RECYCLE.BIN",
        "RECYCLER",
        "RECYCLED",
        "System Volume Information",
        "FOUND.000",
        "Thumbs.db",
        "Thumbs.db:encryptable",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        # Linux and its file systems
        "lost+found",
        ".directory",
        ".snapshot",
        ".snapshots",
        ".zfs",
        "~snapshot",
        "aquota.group",
        "aquota.user",
        # network storage: Synology, QNAP
        "@eaDir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@Recycle",
        "@Recently-Snapshot",
        # cloud drives
        ".dropbox",
        ".dropbox.attr",
        ".dropbox.cache",
        ".tmp.drivedownload",
        ".tmp.driveupload",
        "OneDriveTemp",
        # notebooks and Python
        ".ipynb_checkpoints",
        "__pycache__",
    )
)
_BEGINNINGS = ("._", ".trash-", ".fuse_hidden", ".nfs0")  # AppleDouble, freedesktop's trash, FUSE and NFS


def is_system_file(name: str) -> bool:
    """Returns whether a file or folder of this name (not a path) belongs to a system, whatever its case."""
    name = name.casefold()
    return name in _NAMES or name.startswith(_BEGINNINGS)
