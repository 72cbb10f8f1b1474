"""Where a Croissant file is stored: the form of its identifiers and addresses."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pipeline.errors import one_line


def plain(text: str) -> str:
    """Returns a text of the source on one line, in valid UTF-8."""
    return one_line(text.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True)
class Place:
    """The folder of a Croissant file.

    Attributes:
        folder: the variant's folder; empty at the root of the output.
        address: the URL of the folder of a published output, with a slash at its end; empty if the output is not published.
        published: the fields of a published dataset: its page, its publisher and its date.
    """

    folder: str = ""
    address: str = ""
    published: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: dict[str, Any], folder: str = "") -> "Place":
        """Returns the place of the file of a folder, by default of the root."""
        publication = manifest.get("published")
        if publication is None:
            return cls(folder)
        page, revision = publication["url"], quote(publication["revision"], safe="")
        fields = {
            "url": f"{page}/tree/{revision}/{quote(folder)}" if folder else page,
            "publisher": {"@type": "sc:Organization", "name": publication["repository"].partition("/")[0]},
            "datePublished": publication["date"],
        }
        return cls(folder, f"{page}/resolve/{revision}/{quote(folder) + '/' if folder else ''}", fields)

    @property
    def at_root(self) -> bool:
        return not self.folder

    def path(self, name: str) -> str:
        """Returns the path of a file of the output, relative to this folder."""
        return name if self.at_root else name.removeprefix(f"{self.folder}/")

    def identifier(self, name: str) -> str:
        """Returns the ``@id`` of a file of the output, which must be an IRI."""
        return quote(self.path(name))

    def content_url(self, name: str) -> str:
        """Returns the address of a file: a URL if the output is published, else a path relative to this folder."""
        return self.address + quote(self.path(name)) if self.address else self.path(name)
