"""PNG files of one size out of a tar's bytes, many at once, by compiled loops and libdeflate."""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from pipeline.proof import libdeflate, png_loops, tar_loops
from pipeline.proof.image import largest
from pipeline.proof.samples import Sample
from pipeline.proof.stream import HashedStream

_PLACES = [tar_loops.START, tar_loops.LABEL, tar_loops.DATA]
_DIGITS = 10  # of a label: ``MAX_LABEL`` has as many


class Names(NamedTuple):
    """What some samples' members must be called and say, as ``tar_loops.samples`` takes it."""

    images: np.ndarray
    labels: np.ndarray
    texts: np.ndarray
    digits: np.ndarray


def names_of(samples: list[Sample]) -> Names:
    """Of samples whose keys are at most 96 bytes."""
    texts = [b"%d" % sample.label for sample in samples]
    return Names(
        _matrix([f"{sample.key}.png".encode().ljust(tar_loops.NAME, b"\0") for sample in samples]),
        _matrix([f"{sample.key}.cls".encode().ljust(tar_loops.NAME, b"\0") for sample in samples]),
        _matrix([text.ljust(_DIGITS) for text in texts]),
        np.array([len(text) for text in texts]),
    )


def _matrix(texts: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(texts), np.uint8).reshape(len(texts), -1)


class PngReader:
    """Reads samples in order.

    Args:
        shape: (height, width) of every image.
    """

    def __init__(self, stream: HashedStream, shape: tuple[int, int]) -> None:
        self._stream, (self._height, self._width) = stream, shape
        header = b"IHDR" + struct.pack(">IIBBBBB", shape[1], shape[0], 8, 2, 0, 0, 0)
        head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        tail = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
        self._head, self._tail = np.frombuffer(head, np.uint8), np.frombuffer(tail, np.uint8)
        self._most = largest(shape, "png")
        self._spans = np.empty((0, tar_loops.SPAN), np.int64)  # of the samples read last
        self._lines = np.empty(self._height * (1 + 3 * self._width), np.uint8)
        self._count, self._index = 0, [b""]  # samples that have been read, and their lines of an index

    def read(self, samples: list[Sample], names: Names, pixels: np.ndarray) -> bool:
        """The next samples; False where they are not as they should be in every respect.

        Args:
            pixels: uint8 (n, h, 3 w), filled.

        Raises:
            OSError: the file cannot be read.
        """
        stream, count = self._stream, len(samples)
        spans = np.empty((count, tar_loops.SPAN), np.int64)
        found, at = 0, stream.at
        while True:
            found, at = tar_loops.samples(
                stream.buffer, at, stream.end, found, *names, self._head, self._tail, self._most, spans
            )
            if found in (-1, count):
                break
            moved = stream.at
            if not stream.more():
                return False
            at -= moved
            spans[:found, _PLACES] -= moved
        stream.at = at
        self._spans = spans
        if found != count or not self._decode(spans, pixels):
            return False
        self._note(spans, names)
        return True

    def _decode(self, spans: np.ndarray, pixels: np.ndarray) -> bool:
        functions = libdeflate.UNPACK, libdeflate.CRC32, libdeflate.decompressor()
        return bool(png_loops.decode(self._stream.buffer, spans, *functions, self._lines, pixels))

    def _note(self, spans: np.ndarray, names: Names) -> None:
        lines = np.empty(len(spans) * tar_loops.LINE, np.uint8)
        end = tar_loops.index(spans, self._stream.offset, names.images, names.labels, names.digits, lines)
        self._index.append(lines[:end].tobytes())
        self._count += len(spans)

    def file(self, i: int) -> bytes:
        """A whole image file of the samples read last."""
        start, size = self._spans[i, : tar_loops.LABEL].tolist()
        return bytes(self._stream.buffer.data[start : start + size])

    def index(self) -> bytes:
        """The DALI index of all samples that have been read."""
        return b"".join([b"v1.2 %d\n" % self._count, *self._index])

    def at_end(self) -> bool:
        """Whether nothing follows but the end of the archive: two blocks of zeros. Raises OSError."""
        stream = self._stream
        while stream.end - stream.at <= 2 * tar_loops.BLOCK and stream.more():
            pass
        return stream.buffer[stream.at : stream.end].tobytes() == bytes(2 * tar_loops.BLOCK)
