"""Where an output is to lie: a folder (``Path``), or a prefix in object storage (``str``, its URL)."""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline import console
from pipeline.errors import UsageError, nearest

Location = Path | str

PROTOCOLS = ("s3", "gs")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"
_SEGMENT = r"[A-Za-z0-9!_'()=+@,.-]+"  # what no tool takes for a wildcard, a version or an escape
_COPY = {"s3": "aws s3 sync {} {} --exclude '.build/*'", "gs": "gcloud storage rsync -r {} {}"}


def parse_url(key: str, text: str) -> str | None:
    """The URL that a text is meant as, without a slash at its end; None where the text is a path.

    Raises:
        UsageError: it is meant as a URL, and is none that can be an output.
    """
    meant = re.match(rf"({_SCHEME})://|({'|'.join(PROTOCOLS)})(?::|//)", text, re.ASCII)
    if not meant:
        return None
    scheme, rest = meant[1] or meant[2], text[meant.end() :]
    if "@" in rest.partition("/")[0] or ":" in rest.rpartition("@")[0]:
        raise UsageError(f"{key}: a URL carries no credentials; set them in the environment, as in AWS_ACCESS_KEY_ID")
    if scheme == "file":
        raise UsageError(f"{key}: a folder is written as its path, without file://")
    if scheme not in PROTOCOLS:
        hint = nearest(scheme.lower(), PROTOCOLS)
        raise UsageError(f"{key}: {text!r}: unknown protocol {scheme!r}{hint}; known: {', '.join(PROTOCOLS)}")
    if not meant[1]:
        likely = f"{scheme}://{rest.lstrip('/')}"
        raise UsageError(f"{key}: {text!r} is no URL, did you mean {likely!r}?")
    bucket, *segments = rest.rstrip("/").split("/")
    if not re.fullmatch(_BUCKET, bucket):
        raise UsageError(f"{key}: {text!r}: {bucket!r} is no name of a bucket; write {scheme}://bucket/prefix")
    if not segments:
        raise UsageError(f"{key}: {text!r} is a whole bucket; name a prefix in it, as in {scheme}://{bucket}/out")
    for segment in segments:
        if not re.fullmatch(_SEGMENT, segment) or segment in (".", ".."):
            raise UsageError(f"{key}: {text!r}: {segment!r} cannot be part of a prefix; use letters, digits, '-', '_'")
    return "/".join((f"{scheme}:/", bucket, *segments))


def protocol(url: str) -> str:
    return url.partition("://")[0]


def copy_command(url: str, folder: str) -> str:
    """The command line that copies an output from object storage into a folder."""
    return _COPY[protocol(url)].format(url, folder)


def local_output(task: str) -> Callable[[str], Path]:
    """Of argparse: an output's folder. Object storage is refused, with the command that copies it; ``task`` needs a copy."""

    def parse(text: str) -> Path:
        url = parse_url("OUT", text)
        if url:
            raise UsageError(f"{url} is in object storage; {task} a copy, as made by: {copy_command(url, 'COPY')}")
        return console.path("OUT")(text)

    return parse
