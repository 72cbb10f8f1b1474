"""Reads text files that a user has put together or downloaded, such as lists of class names."""

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage.files import TooLong, read_regular
from pipeline.storage.pointers import pointer


def read_text(path: Path, most: int, remedy: str) -> str:
    """Returns the content of a file in UTF-8.

    Args:
        most: the largest size in bytes.
        remedy: what to do about a file that is no text, for the error.

    Raises:
        TooLong: the file has more than ``most`` bytes.
        PipelineError: it cannot be read, is no UTF-8 text, or stands for a file that was not downloaded.
    """
    try:
        content = read_regular(path, most)
        text = content.decode()
    except TooLong:
        raise
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path} is no UTF-8 text: {remedy}") from None
    if fault := pointer(content):
        raise PipelineError(f"{path} is {fault}")
    return text
