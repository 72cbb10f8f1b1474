"""Locations of outputs: a folder (``Path``), or a prefix in object storage (``str``, its URL)."""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline import console
from pipeline.errors import UsageError, nearest

Location = Path | str

PROTOCOLS = ("s3", "gs")
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"
_SEGMENT = r"[A-Za-z0-9!_'()=+@,.-]+"  # no tool treats these as a wildcard, a version or an escape
_COPY = {"s3": "aws s3 sync {} {} --exclude '.build/*'", "gs": "gcloud storage rsync -r {} {}"}


def parse_url(key: str, text: str) -> str | None:
    """Returns the URL in a text, without a slash at its end; None if the text is a path.

    Args:
        key: the option's name, for error messages.

    Raises:
        UsageError: the text looks like a URL, but no output can be stored there.
    """
    match = re.match(rf"({_SCHEME})://|({'|'.join(PROTOCOLS)})(?::|//)", text, re.ASCII)
    if not match:
        return None
    scheme, rest = match[1] or match[2], text[match.end() :]
    if "@" in rest.partition("/")[0] or ":" in rest.rpartition("@")[0]:
        raise UsageError(f"{key}: a URL carries no credentials; set them in the environment, as in AWS_ACCESS_KEY_ID")
    if scheme == "file":
        raise UsageError(f"{key}: a folder is written as its path, without file://")
    if scheme not in PROTOCOLS:
        hint = nearest(scheme.lower(), PROTOCOLS)
        raise UsageError(f"{key}: {text!r}: unknown protocol {scheme!r}{hint}; known: {', '.join(PROTOCOLS)}")
    if not match[1]:
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
    """Returns ``s3`` or ``gs``."""
    return url.partition("://")[0]


def copy_command(url: str, folder: str) -> str:
    """Returns the shell command that copies an output from object storage into a folder."""
    return _COPY[protocol(url)].format(url, folder)


def local_output(task: str) -> Callable[[str], Path]:
    """Returns the argparse type of an output's folder. It refuses a URL, with the command that copies the output.

    Args:
        task: the verb for the message, such as ``export``.
    """

    def parse(text: str) -> Path:
        url = parse_url("OUT", text)
        if url:
            raise UsageError(f"{url} is in object storage; {task} a copy, as made by: {copy_command(url, 'COPY')}")
        return console.path("OUT")(text)

    return parse
