"""PNG files of one size out of a tar's bytes, many at once, by compiled loops and libdeflate."""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from pipeline.verification.listings import Sample
from pipeline.verification.shards import libdeflate, literals, png_loops, tar_loops
from pipeline.verification.shards.image import largest
from pipeline.verification.shards.stream import HashedStream

_PLACES = [tar_loops.START, tar_loops.LABEL, tar_loops.DATA]
_LARGE = 8192  # bytes of an image's rows from which on it is packed without matches as a rule
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


class PngDecoder:
    """Makes pixels of images' packed rows.

    Args:
        shape: (height, width) of every image.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._size = shape[0] * (1 + 3 * shape[1])
        self._lines = np.empty((literals.LANES, self._size + literals.SLACK), np.uint8)

    def decode(self, buffer: np.ndarray, spans: np.ndarray, pixels: np.ndarray) -> bool:
        """False where one of the images is not as it should be.

        Args:
            buffer: uint8, of the tar, with at least 64 bytes behind each image.
            spans: int64 (n, ``SPAN``), as ``tar_loops.samples`` fills it.
            pixels: uint8 (n, h, 3 w), filled.
        """
        functions = libdeflate.UNPACK, libdeflate.CRC32, libdeflate.ADLER32, libdeflate.decompressor()
        large = self._size > _LARGE
        step = literals.LANES if large else max(1, len(spans))
        for start in range(0, len(spans), step):
            part = spans[start : start + step]
            done = np.zeros(len(part), np.bool_)
            if large:
                starts, stops = part[:, tar_loops.DATA] + 2, part[:, tar_loops.DATA] + part[:, tar_loops.LENGTH] - 4
                literals.unpack(buffer, starts, stops, self._size, self._lines, done)
            read, of = 0, (*functions, self._lines, done, pixels[start : start + step])
            while (read := png_loops.decode(buffer, part, read, *of)) < len(part):
                if read < 0 or done[read] or not self._by_zlib(buffer, part[read], read):
                    return False
                done[read] = True
        return True

    def _by_zlib(self, buffer: np.ndarray, span: np.ndarray, place: int) -> bool:
        """Unpack one image into its line; False where it is not a stream of just as many bytes."""
        data, length, reader = int(span[tar_loops.DATA]), int(span[tar_loops.LENGTH]), zlib.decompressobj()
        try:
            rows = reader.decompress(buffer.data[data : data + length], self._size + 1)
        except zlib.error:
            return False
        if len(rows) != self._size or not reader.eof or reader.unused_data:
            return False
        self._lines[place % literals.LANES, : self._size] = np.frombuffer(rows, np.uint8)
        return True


class PngReader:
    """Reads samples in order.

    Args:
        shape: (height, width) of every image.
    """

    def __init__(self, stream: HashedStream, shape: tuple[int, int]) -> None:
        self._stream = stream
        header = b"IHDR" + struct.pack(">IIBBBBB", shape[1], shape[0], 8, 2, 0, 0, 0)
        head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        tail = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big")
        self._head, self._tail = np.frombuffer(head, np.uint8), np.frombuffer(tail, np.uint8)
        self._most = largest(shape, "png")
        self._spans = np.empty((0, tar_loops.SPAN), np.int64)  # of the samples read last
        self._decoder = PngDecoder(shape)
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
        if found != count or not self._decoder.decode(stream.buffer, spans, pixels):
            return False
        self._note(spans, names)
        return True

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
